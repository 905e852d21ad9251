"""Consecutive windows of a long text as one text: what is encoded, and the greatest logit of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from transformers import PreTrainedTokenizerBase

from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch, spread
from trbert_env.tasks import Classification

FEATURES = Features({name: Value("string") for name in ("id", "text", "text_pair", "label")})
LAYOUT = Layout.from_lengths([3, 2, 4, 1], [2, 1, 1])


def records(*texts: str, pair: str | None = None) -> Dataset:
    rows = [{"id": f"r{index}", "text": text, "text_pair": None, "label": "ab"[index % 2]}
            for index, text in enumerate(texts)]  # fmt: skip
    rows[-1]["text_pair"] = pair
    return Dataset.from_list(rows, features=FEATURES)


def task(**settings: Any) -> Classification:
    made = Classification(head=settings.pop("head", "classes"), **settings)
    made.labels = ("a", "b") if made.head == "classes" else ()
    return made


@pytest.mark.parametrize("count", [0, 1, 13, 14, 15, 27, 28, 29, 41, 42, 43, 99])
def test_windows_follow_one_another(count: int, family: str, tokenizer: PreTrainedTokenizerBase) -> None:
    string = " ".join(["carts"] * count)
    (text,) = task(max_tokens=16, max_slices=3).encode(records(string), tokenizer)
    ids = tokenizer(string, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    windows = [ids[first : first + 14] for first in range(0, max(len(ids), 1), 14)][:3]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert text.input_ids.tolist() == [token for window in windows for token in (first, *window, last)]
    assert text.sequence_lengths == tuple(len(window) + 2 for window in windows)
    assert not text.token_type_ids.any()
    assert (text.text_id, text.target.tolist()) == ("r0", [0])
    assert max(text.sequence_lengths) <= 16
    assert len(text) <= task(max_tokens=16, max_slices=3).max_text_tokens == 48


def test_a_text_that_fits_is_what_it_is_without_slices(bert: PreTrainedTokenizerBase) -> None:
    data = records("", "Oslo lies by the sea.", "carts " * 14)
    for sliced, whole in zip(
        task(max_tokens=16, max_slices=4).encode(data, bert), task(max_tokens=16).encode(data, bert), strict=True
    ):
        assert sliced.input_ids.tolist() == whole.input_ids.tolist()
        assert sliced.sequence_lengths == whole.sequence_lengths


def test_pairs_are_not_sliced(bert: PreTrainedTokenizerBase) -> None:
    data = records("one", "two", pair="other")
    with pytest.raises(
        ValueError, match=r"record 'r1' is a pair of texts, and max_slices is 2: .* set max_slices to 1"
    ):
        task(max_slices=2).encode(data, bert)
    assert len(task(max_slices=1).encode(data, bert)) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_slices": 0}, "max_slices is 0: give the windows of a text, at least 1"),
        (
            {"max_slices": 2, "truncation": "head+tail"},
            "truncation 'head.tail' makes one sequence of a text, and max_slices is 2: set max_slices to 1",
        ),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classification(**settings)


def test_the_greatest_logit_of_each_class_counts_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 4, 2, generator=generator).unbind()
    targets = torch.tensor([[1], [0], [1]])
    sliced, whole = task(max_slices=2), task()
    flat = Layout.from_lengths([5, 4, 1], [1, 1, 1])

    def greatest(values: torch.Tensor) -> torch.Tensor:
        return torch.stack([values[:2].amax(0), values[2], values[3]])

    logits[:2] = torch.tensor([[2.0, -1.0], [0.5, 1.5]])  # the greatest of one class each
    likelihood = sliced.log_likelihood(logits, LAYOUT, targets)
    assert likelihood.equal(whole.log_likelihood(greatest(logits), flat, targets))
    divergence = sliced.divergence(logits, teacher, LAYOUT, targets, 2.0)
    assert divergence.equal(whole.divergence(greatest(logits), greatest(teacher), flat, targets, 2.0))
    output = sliced.model_output(logits, LAYOUT, torch.ones(3, 2, 4, dtype=torch.bool))
    assert output.logits is not None
    assert output.logits.equal(greatest(logits))
    data = records("x", "y", "z")
    pieces = [piece.numpy() for piece in sliced.split(logits, LAYOUT)]
    assert [len(piece) for piece in pieces] == [2, 1, 1]
    expected = {f"r{row}": "ab"[int(values.argmax())] for row, values in enumerate(greatest(logits))}
    assert sliced.predict([None] * 3, pieces, data) == expected  # type: ignore[list-item]


def test_a_single_logit_is_the_greatest_too() -> None:
    relevance = task(max_slices=2, head="relevance")
    pieces = [np.array([[-1.0], [2.0]], np.float32), np.array([[0.5]], np.float32), np.array([[-3.0]], np.float32)]
    assert relevance.predict([None] * 3, pieces, records("x", "y", "z")) == {  # type: ignore[list-item]
        "r0": 2.0, "r1": 0.5, "r2": -3.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[[1, 1], [1, 0]], [[0, 0], [1, 1]]], "row 1 of input_ids has no tokens: leave empty texts out"),
        ([[[1, 1], [0, 0]], [[0, 0], [0, 0]]], "row 1 of input_ids has no tokens: leave empty texts out"),
        ([[[1, 1, 1], [1, 0, 1]], [[1, 0, 0], [0, 0, 0]]], "attention_mask has a 0 between two 1s in row 1: pad on"),
        ([[[1, 0], [0, 0], [1, 1]]], "text 0 of input_ids has an empty sequence before another: put it last"),
    ],
)
def test_padded_texts_that_would_be_misread(mask: list[list[list[int]]], message: str) -> None:
    tensor = torch.tensor(mask)
    with pytest.raises(ValueError, match=message):
        TextBatch.from_padded(torch.full_like(tensor, 5), tensor)


def test_values_are_spread_to_where_their_tokens_stand() -> None:
    mask = torch.tensor([[[0, 1, 1], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]], dtype=torch.bool)
    values = torch.arange(12.0).view(6, 2).requires_grad_()
    found = spread(values, mask, -1.0)
    assert found.shape == (2, 2, 3, 2)
    assert found[mask].equal(values)
    assert bool((found[~mask] == -1.0).all())
    found.sum().backward()
    assert values.grad is not None
    assert bool((values.grad == 1.0).all())
