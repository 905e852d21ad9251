"""The readers on real data, where ``TRBERT_DATA`` names a folder of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trbert_env.data import load_examples
from trbert_env.data.readers import READERS

#: Taken before fixtures take it out of the environment.
DATA = os.environ.get("TRBERT_DATA")


@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for name, reader in READERS.items() for split in reader.splits]
)
def test_real_data(name: str, split: str) -> None:
    if not DATA:
        pytest.skip("TRBERT_DATA names no folder with real data")
    try:
        found = load_examples(name, split, "local", DATA)
    except FileNotFoundError as error:
        pytest.skip(f"no real data: {error}")
    form = READERS[name].form
    assert found.dataset.column_names == list(form.columns)
    left_out = sum(found.left_out.values())
    if (name, split) == ("hotpot_qa", "train"):  # pieces of it may lack paragraphs, as the whole does not
        assert left_out == _without_an_answer(Path(DATA) / "hotpot_qa" / "hotpot_train.json")
    else:
        assert left_out < 0.01 * len(found.dataset)
    if found.labels:
        assert set(found.dataset.unique("label")) == set(found.labels)


def _without_an_answer(file: Path) -> int:
    """How many answers stand in no supporting paragraph; where none was found, in no paragraph at all."""
    count = 0
    for question in json.loads(file.read_text()):
        titles = {title for title, _ in question["supporting_facts"]}
        supporting = [paragraph for paragraph in question["context"] if paragraph[0] in titles]
        paragraphs = ["".join(sentences) for _, sentences in supporting or question["context"]]
        is_span = question["answer"] not in ("yes", "no")
        count += is_span and not any(question["answer"] in paragraph for paragraph in paragraphs)
    return count
