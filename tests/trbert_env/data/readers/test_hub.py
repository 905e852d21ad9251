"""What readers ask the hub for, the conversion branch, and data sets without an embedded corpus."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset

from trbert_env.data import embedded, hub, load_examples
from trbert_env.data.readers import READERS, race

SCRIPT = "Dataset scripts are no longer supported, but found race.py\nmore"
ROWS = {"text": ["a", "b"], "label": [0, 1]}


def stand_in(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[tuple[Any, ...]]:
    """A hub that gives or raises one answer after another; returns what it is asked for."""
    asked: list[tuple[Any, ...]] = []
    left = list(answers)

    def load(*names: str, **options: Any) -> Any:
        asked.append((*names, options))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(hub, "load_dataset", load)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return asked


def test_the_conversion_branch_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch, RuntimeError(SCRIPT), Dataset.from_dict(ROWS))
    found = load_examples("imdb", "train", "hub")
    assert found.source == "hub"
    assert found.description == "imdb train, 2 examples from stanfordnlp/imdb on the hub"
    name = "stanfordnlp/imdb"
    assert asked == [(name, {"split": "train"}), (name, {"split": "train", "revision": "refs/convert/parquet"})]


def test_then_the_message_says_where_to_get_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch, RuntimeError(SCRIPT), ConnectionError("no route"), RuntimeError("other"))
    with pytest.raises(
        FileNotFoundError, match=r"of ehovy/race \(high\) from the hub \(no route\).*aclImdb|RACE/"
    ) as e:
        load_examples(race("high"), "train", "hub")
    assert "\n" not in str(e.value)
    assert asked[0] == ("ehovy/race", "high", {"split": "train"})
    with pytest.raises(FileNotFoundError, match=r"from the hub \(other\)"):
        load_examples("imdb", "train", "hub")
    assert len(asked) == 3, "another error does not lead to the conversion branch"


def test_names_configurations_and_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stand_in(monkeypatch, *[ConnectionError("down")] * len(READERS))
    for name, reader in READERS.items():
        with pytest.raises(FileNotFoundError):
            load_examples(name, next(reversed(reader.splits)), "hub")
    assert asked == [
        ("rajpurkar/squad_v2", {"split": "validation"}),
        ("mrqa-workshop/mrqa", "plain_text", {"split": "validation", "filters": [("subset", "==", "NewsQA")]}),
        (
            "mrqa-workshop/mrqa",
            "plain_text",
            {"split": "validation", "filters": [("subset", "==", "NaturalQuestionsShort")]},
        ),
        ("ehovy/race", "all", {"split": "test"}),
        ("Yelp/yelp_review_full", {"split": "test"}),
        ("SetFit/20_newsgroups", {"split": "test"}),
        ("stanfordnlp/imdb", {"split": "test"}),
        ("SemEvalWorkshop/hyperpartisan_news_detection", "byarticle", {"split": "train"}),
        ("hotpotqa/hotpot_qa", "distractor", {"split": "validation"}),
        ("mandarjoshi/trivia_qa", "rc.wikipedia", {"split": "validation"}),
        ("community-datasets/qangaroo", "wikihop", {"split": "validation"}),
    ]


def test_embedded_corpora_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"id": ["a"], "text": ["fine"], "text_pair": [None], "label": ["pos"]}
    monkeypatch.setattr(embedded, "EMBEDDED", {"imdb": lambda split: Dataset.from_dict(columns)})
    found = load_examples("imdb", "test", "embedded")
    assert (found.source, found.labels) == ("embedded", ("neg", "pos"))
    with pytest.warns(UserWarning, match="imdb train comes from the EMBEDDED corpus"):
        assert load_examples("imdb", "train").source == "embedded"
    with pytest.raises(ValueError, match="no embedded corpus for race: give --data-dir or --data-source hub"):
        load_examples("race", "test", "embedded")
    with pytest.raises(
        FileNotFoundError, match=r"^race test cannot be loaded: no data folder .* HF_HUB_OFFLINE is set"
    ):
        load_examples("race", "test")
