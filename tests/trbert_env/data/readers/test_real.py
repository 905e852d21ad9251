"""The readers on real data, where ``TRBERT_DATA`` names a folder of them."""

from __future__ import annotations

import os

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
    assert sum(found.left_out.values()) < 0.01 * len(found.dataset)
    if found.labels:
        assert set(found.dataset.unique("label")) == set(found.labels)
