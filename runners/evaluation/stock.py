"""Stock transformers: the model as people run it, on padded batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.tasks import Task


def stock_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy that knows nothing of packing."""
    stock = copy.deepcopy(model)
    stock.eval()
    cast(PreTrainedModel, stock.base_model).set_attn_implementation("sdpa")
    return stock


def stock_logits(
    stock: PreTrainedModel, task: Task, texts: Sequence[EncodedText], device: str, width: int | None = None
) -> Tensor:
    """Run a batch, padded on the right, and return the task's logits, texts end to end.

    Args:
        stock: Made by :func:`stock_model`.
        task: Its task.
        texts: The batch.
        device: The device of the model.
        width: Tokens that sequences are padded to; the longest one's where it is None.
    """
    layout = TextBatch.from_texts(texts).layout
    return task.stock_logits(stock_outputs(stock, task, texts, device, width), layout)


def stock_outputs(
    stock: PreTrainedModel, task: Task, texts: Sequence[EncodedText], device: str, width: int | None = None
) -> Any:
    """Run a batch and return what the stock model returns; see :func:`stock_logits`."""
    inputs = _padded(texts, width, device)
    if stock.config.model_type == "distilbert":
        del inputs["token_type_ids"]
    with torch.inference_mode():
        return stock(**task.stock_inputs(inputs))


def stock_pass(
    model: PreTrainedModel,
    task: Task,
    texts: Sequence[EncodedText],
    batch_size: int,
    device: str,
    width: int | None = None,
) -> Callable[[], None]:
    """Return one pass of stock transformers with SDPA: sorted by length, padded to the batch's longest sequence.

    Args:
        model: The task model.
        task: Its task.
        texts: All texts of the pass.
        batch_size: Texts that run together.
        device: The device of the model.
        width: Tokens that sequences are padded to instead.
    """
    stock = stock_model(model)
    ordered = sorted(texts, key=len)
    batches = [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)]

    def run() -> None:
        for batch in batches:
            stock_outputs(stock, task, batch, device, width)

    return run


def _padded(texts: Sequence[EncodedText], width: int | None, device: str) -> dict[str, Tensor]:
    """Sequences of the texts, ``(num_sequences, width)`` each."""
    lengths = [length for text in texts for length in text.sequence_lengths]
    ends = np.cumsum(lengths)[:-1]
    ids = np.split(np.concatenate([text.input_ids for text in texts]), ends)
    types = np.split(np.concatenate([text.token_type_ids for text in texts]), ends)
    shape = (len(lengths), max(lengths) if width is None else width)
    padded = {name: np.zeros(shape, dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, (own_ids, own_types) in enumerate(zip(ids, types, strict=True)):
        padded["input_ids"][row, : len(own_ids)] = own_ids
        padded["attention_mask"][row, : len(own_ids)] = 1
        padded["token_type_ids"][row, : len(own_ids)] = own_types
    return {name: torch.from_numpy(values).to(device) for name, values in padded.items()}
