"""What the card of a model tells to do is what the model was trained to read."""

from __future__ import annotations

from typing import Any, cast

import pytest
from datasets import Dataset

from runners.faster.usage import usage
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.presets import get_preset
from trbert_env.tasks import Classification, MultipleChoice

#: Inputs of a question by the form that the model was trained on.
FORMS = [
    (False, "_ sold drums.", ["_ sold drums. Ada", "_ sold drums. The sea"]),
    (True, "_ sold drums.", ["Ada sold drums.", "The sea sold drums."]),
    (True, "So ____ sold my_drums_?", ["So Ada sold my_drums_?", "So The sea sold my_drums_?"]),
    (True, "Who sold drums?", ["Who sold drums? Ada", "Who sold drums? The sea"]),
]


@pytest.mark.parametrize(("fill_blanks", "question", "expected"), FORMS)
def test_options_are_given_as_they_were_read(fill_blanks: bool, question: str, expected: list[str]) -> None:
    task = MultipleChoice(fill_blanks=fill_blanks)
    workload = Workload(get_preset("RACE"), task, cast(Backbone, None), cast(Dataset, None), [], "train", "local")
    (block,) = usage(workload)
    lines = [line for line in block.splitlines() if line.startswith(("import re", "blank = ", "choices = "))]
    found: dict[str, Any] = {"question": question, "options": ["Ada", "The sea"]}
    exec("\n".join(lines), found)
    assert found["choices"] == expected


@pytest.mark.parametrize(
    ("settings", "scores"),
    [({}, False), ({"truncation": "head+tail"}, True), ({"max_slices": 4}, True)],
)
@pytest.mark.parametrize(("pair", "head"), [(None, "classes"), ("two", "classes"), ("two", "relevance")])
def test_texts_are_not_cut_otherwise_than_they_were_read(
    settings: dict[str, Any], scores: bool, pair: str | None, head: Any
) -> None:
    task = Classification(head=head, **settings)
    rows = Dataset.from_list([{"id": "0", "text": "one", "text_pair": pair, "label": "a"}])
    preset = get_preset("TextClassification")
    workload = Workload(preset, task, cast(Backbone, None), rows, [], "train", "local")
    code = "".join(usage(workload))
    assert ("model.score(" in code) == scores
    assert ("truncation=True" in code) != scores
    assert ("CrossEncoder" in code) == (head == "relevance" and not scores)
