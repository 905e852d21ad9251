"""Logits of raw texts, which are read as they were in training: their windows, or their beginning and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trbert_env.data.records import records_of
from trbert_env.deploy.raw_texts import logits_of, strings, tokenizer_of
from trbert_env.tasks import Classification

if TYPE_CHECKING:
    from trbert_env.deploy.export.model import ExportedModel
    from trbert_env.deploy.model import TokenReducedModel


class ScoresTexts:
    """Methods that classifiers, rerankers and regression models share with their exports."""

    def score(
        self,
        texts: str | Sequence[str],
        text_pairs: str | Sequence[str] | None = None,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> Tensor:
        """Return the logits of texts; see :func:`~trbert_env.deploy.scoring.score`."""
        return score(cast("TokenReducedModel | ExportedModel", self), texts, text_pairs, tokenizer=tokenizer)


def score(
    model: TokenReducedModel | ExportedModel,
    texts: str | Sequence[str],
    text_pairs: str | Sequence[str] | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Tensor:
    """Return the logits of texts or pairs, each read as evaluations read it.

    A tokenizer cuts a text that does not fit behind its beginning. Models of ``truncation=head+tail`` have learned the
    end as well, those of ``max_slices`` have learned windows, of which the greatest logit counts.

    Args:
        model: A classifier, reranker or regression model, on any device, or its export.
        texts: A text, or many.
        text_pairs: The second text of each, or one for all; None where texts stand alone.
        tokenizer: The fast tokenizer that was saved with the model; None to load it from where the model is from.

    Returns:
        ``(number of texts, number of logits)`` float32, on the CPU; without the first axis where single strings are
        given.

    Raises:
        TypeError: They are no strings.
        ValueError: The model is of another task, there is not one second text for each, or no tokenizer is known.

    Example:
        >>> score(model, ["A fine film.", "Two hours of my life."]).argmax(1)  # doctest: +SKIP
        tensor([1, 0])
    """
    task = model.task
    if not isinstance(task, Classification):
        raise ValueError(f"the model's task is {type(task).__name__}: give a model that was trained on classification")
    firsts = strings("texts", texts)
    seconds = None if text_pairs is None else strings("text_pairs", text_pairs)
    if seconds is not None:
        firsts = firsts * len(seconds) if isinstance(texts, str) else firsts
        seconds = seconds * len(firsts) if isinstance(text_pairs, str) else seconds
        if len(firsts) != len(seconds):
            raise ValueError(f"{len(firsts)} texts but {len(seconds)} text_pairs: give one second text for each")
    if not firsts:
        return torch.zeros(0, task.num_logits)
    encoded = task.encode(_records(task, firsts, seconds), tokenizer_of(model) if tokenizer is None else tokenizer)
    found = torch.from_numpy(np.stack([rows.max(0) for rows in logits_of(model, encoded)]))
    alone = isinstance(texts, str) and (text_pairs is None or isinstance(text_pairs, str))
    return found[0] if alone else found


def _records(task: Classification, texts: Sequence[str], text_pairs: Sequence[str] | None) -> Dataset:
    """Records of texts just as they are given: empty ones and white space around them too."""
    alike = task.own_row({"text": "", "text_pair": ""})
    pairs = [None] * len(texts) if text_pairs is None else text_pairs
    rows = [{**alike, "text": text, "text_pair": pair} for text, pair in zip(texts, pairs, strict=True)]
    return records_of([{"id": str(number), **row} for number, row in enumerate(rows)], task.own_form)
