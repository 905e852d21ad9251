"""What readers are told of texts: parts, answers and own texts, of each kind of task, by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from trbert_env.data.records import CANDIDATES, CHOICES, LABELLED_TEXT, MULTI_HOP, SCORED_TEXT, SPAN_QA, records_of
from trbert_env.tasks.base import EncodedText, Task
from trbert_env.tasks.candidate_qa import CandidateQA
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.multi_hop_qa import MultiHopQA
from trbert_env.tasks.multiple_choice import MultipleChoice
from trbert_env.tasks.span_qa import SpanQA


@pytest.fixture
def tokenizer(bert: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    return bert


def told(
    task: Task, records: Any, logits: Callable[[EncodedText], Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, list[str]], list[str], list[str], Any]:
    """Tokens by part, tokens of the gold and of the predicted answer, and the prediction."""
    texts = list(task.encode(records, tokenizer))
    (text,) = texts
    values = np.asarray(logits(text), dtype=np.float32)
    (prediction,) = task.predict(texts, [values], records).values()
    notes = task.notes(text, values, records.with_format(None)[0], prediction, tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(text.input_ids.tolist())
    parts: dict[str, list[str]] = {}
    for token, part in zip(tokens, notes.parts, strict=True):
        parts.setdefault(part, []).append(token)

    def chosen(mask: Sequence[bool]) -> list[str]:
        return [token for token, marked in zip(tokens, mask, strict=True) if marked]

    return parts, chosen(notes.gold.tolist()), chosen(notes.predicted.tolist()), prediction


def words(tokenizer: PreTrainedTokenizerBase, text: EncodedText) -> list[str]:
    found: list[str] = tokenizer.convert_ids_to_tokens(text.input_ids.tolist())
    return found


SPAN = {
    "id": "q",
    "context": "Ada sold drums in Bern. Later Ada left.",
    "question": "Who sold drums?",
    "answers": {"text": ["Ada", "Ada"], "answer_start": [0, 30]},
}


def test_span(tokenizer: PreTrainedTokenizerBase) -> None:
    task = SpanQA()

    def logits(text: EncodedText) -> Any:
        values = np.zeros((len(text), 2))
        values[words(tokenizer, text).index("bern")] = 9
        return values

    records = records_of([SPAN], SPAN_QA)
    parts, gold, predicted, prediction = told(task, records, logits, tokenizer)
    assert parts["question"] == ["[CLS]", "who", "sold", "drums", "?", "[SEP]"]
    assert parts["passage"][:3] == ["ada", "sold", "drums"]
    assert (gold, predicted) == (["ada", "ada"], ["bern"])
    assert (task.gold_answer(SPAN), task.told_answer(prediction, SPAN)) == ("Ada", "Bern")
    assert task.record_score(prediction, records) == 0.0
    assert task.record_score("ada", records) == 100.0


def test_a_question_without_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    task, row = SpanQA(), {**SPAN, "answers": {"text": [], "answer_start": []}}

    def logits(text: EncodedText) -> Any:
        return np.where(np.arange(len(text))[:, None] == 0, [[9.0, 9.0]], 0.0)

    _, gold, predicted, prediction = told(task, records_of([row], SPAN_QA), logits, tokenizer)
    assert (gold, predicted) == ([], [])
    assert (task.gold_answer(row), task.told_answer(prediction, row)) == ("no answer", "no answer")


@pytest.mark.parametrize("pair", [None, "Two hours."])
def test_classes(pair: str | None, tokenizer: PreTrainedTokenizerBase) -> None:
    task = Classification(head="classes")
    task.labels = ("neg", "pos")
    row = {"id": "t", "text": "A fine film.", "text_pair": pair, "label": "pos"}
    parts, gold, predicted, prediction = told(
        task, records_of([row], LABELLED_TEXT), lambda text: [[2.0, 1.0]], tokenizer
    )
    if pair is None:
        assert list(parts) == ["text"]
    else:
        assert parts["first text"][1:-1] == ["a", "fine", "film", "."]
        assert parts["second text"][:-1] == ["two", "hours", "."]
    assert (gold, predicted) == ([], [])
    assert (task.gold_answer(row), task.told_answer(prediction, row)) == ("pos", "neg")
    assert task.record_score(prediction, records_of([row], LABELLED_TEXT)) == 0.0


def test_scores() -> None:
    row = {"id": "t", "text": "A", "text_pair": None, "label": 0.5}
    regression, relevance = Classification(head="regression"), Classification(head="relevance")
    assert (regression.gold_answer(row), regression.told_answer(1.234, row)) == ("0.5", "1.23")
    assert regression.record_score(0.5, records_of([row], SCORED_TEXT)) is None
    assert relevance.told_answer(0.0, row) == "0.50"
    assert Classification(head="relevance", names=("no", "yes")).told_answer(2.0, row) == "yes"


@pytest.mark.parametrize(("most", "width"), [(128, 512), (5, 11)])
def test_choices(most: int, width: int, tokenizer: PreTrainedTokenizerBase) -> None:
    task = MultipleChoice(max_tokens=width, max_question_tokens=most)
    row = {
        "id": "c", "group": "g", "article": "Ben lost it.", "question": "What was lost?",
        "options": ["a hat", "an old coat", "a dog"], "answer": 0,
    }  # fmt: skip
    records = records_of([row], CHOICES)
    parts, gold, predicted, prediction = told(task, records, lambda text: [[0.0], [3.0], [1.0]], tokenizer)
    whole = ["[CLS]", "ben", "lost", "it", ".", "[SEP]"]
    assert parts["article"] == (whole * 3 if most > 5 else ["[CLS]", "ben", "lost", "it", "[SEP]"] * 3)
    cut = "what was lost [SEP] what was [SEP] what was lost [SEP]"  # and no option is
    assert parts["question"] == (["what", "was", "lost", "?", "[SEP]"] * 3 if most > 5 else cut.split())
    assert gold == ["a", "hat"]
    assert predicted == ["an", "old", "coat"]
    assert (task.gold_answer(row), task.told_answer(prediction, row)) == ("a hat", "an old coat")


def test_an_option_in_the_blank_is_a_part_of_the_question(tokenizer: PreTrainedTokenizerBase) -> None:
    row = {
        "id": "c", "group": "g", "article": "Ben lost it.", "question": "Ben lost _ .", "options": ["a hat", "it"],
        "answer": 0,
    }  # fmt: skip
    task = MultipleChoice(fill_blanks=True)
    parts, gold, _, _ = told(task, records_of([row], CHOICES), lambda text: [[0.0], [3.0]], tokenizer)
    assert set(parts) == {"article", "question"}
    assert gold == []
    short = MultipleChoice(max_tokens=10, max_question_tokens=4, fill_blanks=True)
    parts, gold, _, _ = told(short, records_of([row], CHOICES), lambda text: [[0.0], [3.0]], tokenizer)
    assert gold == ["a", "hat"]


HOP = {
    "id": "h",
    "question": "Where was Ada born?",
    "paragraphs": {"title": ["Ada", "Bern"], "sentences": [["Ada was born in Bern.", " She sang."], ["A town."]]},
    "answer": "Bern",
    "kind": "span",
    "spans": {"paragraph": [0], "start": [16], "text": ["Bern"]},
    "supports": {"title": ["Ada"], "sentence": [0]},
    "subset": None,
}


@pytest.mark.parametrize("kind", ["span", "yes"])
def test_multi_hop(kind: str, tokenizer: PreTrainedTokenizerBase) -> None:
    task = MultiHopQA()

    def logits(text: EncodedText) -> Any:
        values = np.zeros((len(text), 5))
        values[0, 2 + ("span", "yes").index(kind)] = 9
        values[words(tokenizer, text).index("sang"), :2] = 9
        return values

    parts, gold, predicted, prediction = told(task, records_of([HOP], MULTI_HOP), logits, tokenizer)
    assert parts["question"] == ["[CLS]", "where", "was", "ada", "born", "?", "[SEP]"]
    assert [token for token in parts["title"] if not token.startswith("[")] == ["ada", "bern"]
    assert parts["paragraph"][:6] == ["ada", "was", "born", "in", "bern", "."]
    assert gold == ["bern"]
    assert (predicted, task.told_answer(prediction, HOP)) == ((["sang"], "sang") if kind == "span" else ([], "yes"))


def test_candidates(tokenizer: PreTrainedTokenizerBase) -> None:
    row = {
        "id": "w", "query": "country Bern", "candidates": ["France", "New Zealand", "Spain"],
        "supports": ["Bern is a town. " * 30], "answer": 2,
    }  # fmt: skip
    task = CandidateQA(max_tokens=64, max_slices=2)

    def logits(text: EncodedText) -> Any:
        values = np.zeros((len(text), 1))
        marks = text.target[text.target[:, 0] == 1, 1]
        assert len(marks) == 2  # one a slice
        values[marks] = 5
        return values

    parts, gold, predicted, prediction = told(task, records_of([row], CANDIDATES), logits, tokenizer)
    assert parts["query"] == ["[CLS]", "country", "bern", "[SEP]"] * 2
    assert [token for token in parts["candidate"] if not token.startswith("[")] == [
        "france", "new", "zealand", "spain",
    ] * 2  # fmt: skip
    assert [token for token in gold if not token.startswith("[")] == ["spain"] * 2
    assert [token for token in predicted if not token.startswith("[")] == ["new", "zealand"] * 2
    assert (task.gold_answer(row), task.told_answer(prediction, row)) == ("Spain", "New Zealand")


def with_labels(task: Classification, labels: tuple[str, ...]) -> Classification:
    task.labels = labels
    return task


OWN: list[tuple[Task, dict[str, str]]] = [
    (SpanQA(), {"question": "Who?", "context": "Ada."}),
    (with_labels(Classification(head="classes"), ("neg", "pos")), {"text": "A film."}),
    (Classification(head="relevance"), {"text": "A film.", "text_pair": "Fine."}),
    (Classification(head="regression"), {"text": "A film."}),
    (MultipleChoice(), {"article": "Ben.", "question": "Who?", "options": "Ben\n\nAda"}),
    (MultiHopQA(), {"question": "Who?", "paragraphs": "Ada\r\nA singer.\r\n\r\nBern\r\nA town."}),
    (CandidateQA(), {"query": "country Bern", "candidates": "Spain\nFrance", "supports": "Bern is a town."}),
]


@pytest.mark.parametrize(("task", "values"), OWN, ids=lambda value: type(value).__name__)
def test_own_texts_are_records_of_the_task(
    task: Task, values: dict[str, str], tokenizer: PreTrainedTokenizerBase
) -> None:
    (text,) = task.encode(task.own_records([values]), tokenizer)
    assert len(text) > 4
    assert {field.name for field in task.own_fields} >= values.keys()
    required = next(field for field in task.own_fields if field.required)
    with pytest.raises(ValueError, match=f"'{required.label}' is empty"):
        task.own_records([{**values, required.name: " \n"}])
    with pytest.raises(ValueError, match="no field 'colour'"):
        task.own_records([{**values, "colour": "red"}])
    with pytest.raises(ValueError, match="is no text"):
        task.own_records([{**values, required.name: 3}])  # type: ignore[dict-item]


def test_a_paragraph_needs_a_text() -> None:
    with pytest.raises(ValueError, match="'Ada' has one line"):
        MultiHopQA().own_records([{"question": "Who?", "paragraphs": "Ada"}])
