"""Losses of padded calls: those of the stock heads, so that a shipped model can be trained further as they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from trbert_env.encoder.packing import Layout
from trbert_env.tasks import Classification, Task

#: Label of a text that does not count, as in torch.
_IGNORED = -100


def classification_loss(task: Classification, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a stock sequence classifier, by its ``problem_type``.

    Args:
        task: The task, which tells what the logits are.
        logits: ``(num_texts, num_logits)`` float32.
        labels: ``(num_texts,)``: classes as integers, -100 for a text that does not count; or numbers where there is
            one logit, from 0 to 1 for relevance.

    Raises:
        ValueError: There is not one label a text, or one is no class.
    """
    labels = _one_a_text(labels, len(logits)).to(logits.device)
    if task.head == "classes":
        return _of_classes(logits, labels)
    plain = task.head == "regression" and not task.bounded
    loss = mse_loss if plain else binary_cross_entropy_with_logits
    return loss(logits.squeeze(1), labels.float())


def choice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a stock multiple-choice model.

    Args:
        logits: ``(num_texts, options)`` float32, minus infinity where a text has no such option.
        labels: ``(num_texts,)`` int64: the right options.

    Raises:
        ValueError: There is not one label a text, or one is no option of its text.
    """
    return cross_entropy(logits, checked_choices(logits, labels), ignore_index=_IGNORED)


def checked_choices(logits: Tensor, labels: Tensor) -> Tensor:
    """Return labels of options, ``(num_texts,)`` int64 on the device of the logits.

    Args:
        logits: As for :func:`choice_loss`.
        labels: As for :func:`choice_loss`; -100 for a text that does not count.

    Raises:
        ValueError: There is not one label a text, or one is no option of its text.
    """
    labels = _checked_classes(logits, _one_a_text(labels, len(logits)).to(logits.device))
    chosen = logits.detach().gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
    if bool((torch.isinf(chosen) & (labels != _IGNORED)).any()):
        raise ValueError("labels name an option that a text does not have: count its options from 0")
    return labels


def span_loss(start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor) -> Tensor:
    """Return the loss of a stock question-answering model: the mean of start's and end's.

    Padding has no probability, so that a text's loss does not depend on its batch.

    Args:
        start_logits: ``(num_texts, width)`` or ``(num_texts, sequences, width)`` float32, minus infinity on padding.
        end_logits: The same, of ends.
        start_positions: ``(num_texts,)`` int64: places of answers' first tokens in the padded row; of a text of several
            sequences, counted over all of them (``sequence * width + place``). Places behind the row do not count, as
            in stock models.
        end_positions: The same, of last tokens.

    Raises:
        ValueError: There is not one position a text, or one is on padding.
    """
    losses = []
    for name, logits, places in (
        ("start_positions", start_logits.flatten(1), start_positions),
        ("end_positions", end_logits.flatten(1), end_positions),
    ):
        behind = logits.shape[1]
        places = _one_a_text(places, len(logits), name).to(logits.device).long().clamp(0, behind)
        loss = cross_entropy(logits, places, ignore_index=behind)
        if bool(torch.isinf(loss)):
            raise ValueError(f"{name} names a place on padding: count from the beginning of the padded row")
        losses.append(loss)
    return torch.stack(losses).mean()


def task_loss(task: Task, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
    """Return minus the mean log-likelihood of the gold answers: the loss where no stock head has one.

    Args:
        task: The task.
        logits: As :meth:`Task.logits` gives them.
        layout: The layout of the full texts.
        targets: As :meth:`Task.targets` gives them.
    """
    return -task.log_likelihood(logits, layout, targets).mean()


def task_loss_of_counted(task: Task, logits: Tensor, layout: Layout, labels: Tensor) -> Tensor:
    """Return :func:`task_loss` over the texts whose label is not -100; NaN where none counts, as of stock models.

    Args:
        task: The task.
        logits: As :meth:`Task.logits` gives them.
        layout: The layout of the full texts.
        labels: ``(num_texts,)`` int64, checked.
    """
    likelihood = task.log_likelihood(logits, layout, labels.clamp(min=0)[:, None])
    return -likelihood[labels != _IGNORED].mean()


def _of_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy; see :func:`_checked_classes`."""
    return cross_entropy(logits, _checked_classes(logits, labels), ignore_index=_IGNORED)


def _checked_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Labels as int64.

    Raises:
        ValueError: A label is no class.
    """
    if labels.is_floating_point():
        raise ValueError(f"labels are {labels.dtype}, and classes are counted: give integers")
    wrong = labels[(labels != _IGNORED) & ((labels < 0) | (labels >= logits.shape[1]))]
    if len(wrong):
        raise ValueError(f"labels hold {wrong[0].item()}, and there are {logits.shape[1]} classes: count from 0")
    return labels.long()


def _one_a_text(values: Tensor, count: int, name: str = "labels") -> Tensor:
    if values.shape not in ((count,), (count, 1)):
        raise ValueError(f"{name} have the shape {tuple(values.shape)}: give ({count},), one a text")
    return values.reshape(count)
