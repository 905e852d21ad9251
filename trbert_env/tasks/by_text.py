"""Rows of logits, put together by the texts that they belong to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trbert_env.encoder.packing import Layout


def pad_by_text(rows: Tensor, counts: Tensor, fill: float = -torch.inf) -> tuple[Tensor, Tensor]:
    """Lay the rows of each text side by side.

    Args:
        rows: ``(sum of counts, ...)``, texts end to end.
        counts: ``(num_texts,)`` int64, rows of each text.
        fill: Value of the entries beyond a text's rows.

    Returns:
        ``(num_texts, most rows, ...)`` float32, and which entries are real, ``(num_texts, most rows)`` bool.

    Raises:
        ValueError: The counts do not sum to the number of rows.

    Example:
        >>> padded, real = pad_by_text(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 1]))
        >>> padded.tolist(), real.tolist()
        ([[1.0, 2.0], [3.0, -inf]], [[True, True], [True, False]])
    """
    if int(counts.sum()) != len(rows):
        raise ValueError(f"the lengths of texts sum to {int(counts.sum())} for {len(rows)} logits: they must agree")
    most = int(counts.max()) if len(counts) else 0
    real = torch.arange(most, device=rows.device) < counts.to(rows.device)[:, None]
    shape = (len(counts), most, *rows.shape[1:])
    padded = torch.full(shape, fill, dtype=torch.float32, device=rows.device)
    mask = real.view(*real.shape, *[1] * (rows.dim() - 1))
    return padded.masked_scatter(mask, rows.float()), real


def log_softmax_by_text(logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax over the rows of each text; see :func:`pad_by_text` for shapes.

    Raises:
        ValueError: The counts do not sum to the number of rows.
    """
    padded, real = pad_by_text(logits, counts)
    return padded.log_softmax(1), real


def divergence_by_text(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities over the rows of each text.

    Args:
        student: Log-probabilities of the student, ``(num_texts, most rows, ...)``.
        teacher: Log-probabilities of the teacher, of the same shape.
        real: ``(num_texts, most rows)`` bool.

    Returns:
        ``(num_texts, ...)``, in nats.
    """
    real = real.view(*real.shape, *[1] * (student.dim() - 2))
    # Padding has probability 0 on both sides: take it out before 0 times infinity is formed.
    student, teacher = (values.masked_fill(~real, 0.0) for values in (student, teacher))
    return (teacher.exp() * (teacher - student)).masked_fill(~real, 0.0).sum(1)


def yes_no_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of decisions that are single logits, in nats, of the shape of both.

    Args:
        student: Logits of yes.
        teacher: Logits of yes, of the same shape.

    Example:
        >>> yes_no_divergence(torch.zeros(1), torch.tensor([3.0]).log()).item()  # 3/4 against 1/2
        0.13081...
    """
    yes = logsigmoid(teacher).exp() * (logsigmoid(teacher) - logsigmoid(student))
    no = logsigmoid(-teacher).exp() * (logsigmoid(-teacher) - logsigmoid(-student))
    return yes + no


def max_over_sequences(logits: Tensor, layout: Layout) -> Tensor:
    """Return the greatest of each logit over the sequences of a text, ``(num_texts, num_logits)``.

    Args:
        logits: ``(num_sequences, num_logits)``.
        layout: The layout of the texts.

    Example:
        >>> layout = Layout.from_lengths([3, 2, 4], [2, 1])
        >>> max_over_sequences(torch.tensor([[1.0, -2.0], [0.5, 3.0], [7.0, 8.0]]), layout).tolist()
        [[1.0, 3.0], [7.0, 8.0]]
    """
    if layout.num_texts == len(logits):
        return logits
    text = torch.repeat_interleave(layout.sequences_per_text).to(logits.device)
    least = logits.new_full((layout.num_texts, logits.shape[1]), -torch.inf)
    return least.scatter_reduce(0, text[:, None].expand_as(logits), logits, "amax")
