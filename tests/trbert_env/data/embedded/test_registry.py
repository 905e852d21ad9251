"""What all embedded corpora promise: their form, their seeds, and splits that share nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from random import Random
from typing import Any

import pytest
from datasets import Dataset

from trbert_env.data.embedded import candidates, choices, classification, mrqa, multihop, pairs, trivia
from trbert_env.data.embedded.registry import DESCRIPTIONS, EMBEDDED
from trbert_env.data.embedded.tables import ValueSampler
from trbert_env.data.records import CANDIDATES, LABELLED_TEXT, MRQA, MULTI_HOP, RACE, SCORED_TEXT, SQUAD_V2
from trbert_env.data.schema import Schema, checked_dataset

FORMS: dict[str, Schema] = {
    "squad_v2": SQUAD_V2,
    "imdb": LABELLED_TEXT,
    "yelp_review_full": LABELLED_TEXT,
    "20_newsgroups": LABELLED_TEXT,
    "hyperpartisan_news_detection": LABELLED_TEXT,
    "race": RACE,
    "mrqa_newsqa": MRQA,
    "mrqa_naturalqa": MRQA,
    "hotpot_qa": MULTI_HOP,
    "trivia_qa": MRQA,
    "wikihop": CANDIDATES,
    "scored pairs": SCORED_TEXT,
    "labelled pairs": LABELLED_TEXT,
}
GENERATORS = {
    **EMBEDDED,
    "scored pairs": pairs.embedded_scored_pairs,
    "labelled pairs": pairs.embedded_labelled_pairs,
}
NEW = [name for name in GENERATORS if name != "squad_v2"]
#: Kinds of names whose words are all of one part of the name tables, but for words such as "New".
NAMED = ("person", "place", "ship", "river")


@cache
def generated(name: str, split: str) -> Dataset:
    """A corpus with the default seed, made once for all tests."""
    return GENERATORS[name](split)


def words(name: str, split: str) -> set[str]:
    """The capitalised words of a corpus."""
    return set(re.findall(r"\b[A-Z][a-z]+", json.dumps(generated(name, split).to_list())))


def name_words(names: str) -> set[str]:
    """Words that names of one part of the tables are made of."""
    sampler = ValueSampler(names, Random(0))
    return {sampler.draw(kind).split()[-1] for kind in NAMED for _ in range(2000)}


def digest(dataset: Dataset) -> str:
    """A fingerprint of every byte of a corpus."""
    return hashlib.sha256(json.dumps(dataset.to_list()).encode()).hexdigest()


def strings(row: dict[str, Any]) -> tuple[str, ...]:
    """What makes a row a row, whatever its form: its texts without the id."""
    return tuple(json.dumps(value) for name, value in row.items() if name not in ("id", "group"))


def test_every_corpus_is_tested() -> None:
    assert set(FORMS) == set(GENERATORS)


@pytest.mark.parametrize("name", GENERATORS)
def test_rows_have_their_form(name: str) -> None:
    for split in ("train", "validation"):
        table = checked_dataset(generated(name, split), FORMS[name], f"embedded {name}")
        assert table.num_rows == len(generated(name, split))


@pytest.mark.parametrize("name", NEW)
def test_sizes(name: str) -> None:
    assert 4000 <= len(generated(name, "train")) <= 15000
    assert 500 <= len(generated(name, "validation")) <= 700
    assert 500 <= len(generated(name, "test")) <= 700


@pytest.mark.parametrize("name", NEW)
def test_same_seed_same_corpus(name: str) -> None:
    assert digest(GENERATORS[name]("validation")) == digest(generated(name, "validation"))


def test_same_seed_same_corpus_in_another_process() -> None:
    code = (
        "import hashlib, json; from trbert_env.data.embedded.registry import EMBEDDED;"
        "dumps = [json.dumps(make('validation').to_list()) for make in EMBEDDED.values()];"
        "print(*[hashlib.sha256(dump.encode()).hexdigest() for dump in dumps])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(generated(name, "validation")) for name in EMBEDDED]


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: classification.embedded_labelled_texts("imdb", "validation", seed),
        lambda seed: choices.embedded_race("validation", seed),
        lambda seed: mrqa.embedded_newsqa("validation", seed),
        lambda seed: multihop.embedded_hotpotqa("validation", seed),
        lambda seed: trivia.embedded_triviaqa("validation", seed),
        lambda seed: candidates.embedded_wikihop("validation", seed),
        lambda seed: pairs.embedded_scored_pairs("validation", seed),
    ],
)
def test_another_seed_gives_another_corpus(make: Any) -> None:
    first, second = make(0), make(1)
    assert not set(first["id"]) & set(second["id"])
    assert not {strings(row) for row in first} & {strings(row) for row in second}


@pytest.mark.parametrize("name", NEW)
def test_splits_share_no_row(name: str) -> None:
    rows = {split: {strings(row) for row in generated(name, split)} for split in ("train", "validation", "test")}
    assert not rows["train"] & rows["validation"]
    assert not rows["train"] & rows["test"]
    assert not rows["validation"] & rows["test"]
    assert len(rows["train"]) == len(generated(name, "train"))


@pytest.mark.parametrize("name", NEW)
def test_held_out_texts_share_no_name_with_training_texts(name: str) -> None:
    training, held_out = name_words("train"), name_words("validation")
    assert len(words(name, "train") & training) > 50
    assert not words(name, "train") & (held_out - training)
    for split in ("validation", "test"):
        assert not words(name, split) & (training - held_out)


@pytest.mark.parametrize("name", NEW)
def test_unknown_split_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"'dev'.*train, validation, test"):
        GENERATORS[name]("dev")


@pytest.mark.parametrize("description", [*DESCRIPTIONS.values(), pairs.DESCRIPTION])
def test_the_corpus_says_what_it_is(description: str) -> None:
    for word in ("synthetic", "generated", "seeded", "not natural text"):
        assert word in description


def test_every_corpus_is_described() -> None:
    assert set(DESCRIPTIONS) == set(EMBEDDED)
