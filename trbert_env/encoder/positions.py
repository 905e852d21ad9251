"""Positions of an encoder: how many tokens a sequence may have, and more of them where they are learned.

Encoders of the BERT kind have a table of learned absolute positions, which ends. BERT_L of the TR-BERT paper is such
an encoder with a longer table. Rotary encoders have no table, and reach as far as their configuration says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trbert_env.encoder.families import family_of

#: The most positions that a table is extended to; attention over a longer sequence fits no machine.
LONGEST = 65_536


def position_table(model: PreTrainedModel) -> nn.Embedding | None:
    """Return the table of learned positions; None where the encoder has none.

    Args:
        model: A stock encoder, with or without a head.
    """
    embeddings: Any = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    return table if isinstance(table, nn.Embedding) else None


def first_position(model: PreTrainedModel) -> int:
    """Return the row of the table that a sequence's first token reads: RoBERTa counts from behind its padding.

    Args:
        model: A stock encoder, with or without a head.
    """
    table = position_table(model)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def longest_sequence(model: PreTrainedModel) -> int:
    """Return the most tokens that a sequence may have, special tokens included.

    Args:
        model: A stock encoder, with or without a head.
    """
    table = position_table(model)
    return int(model.config.max_position_embeddings) if table is None else table.num_embeddings - first_position(model)


def extend_positions(model: PreTrainedModel, length: int, what: str) -> bool:
    """Let sequences have ``length`` tokens, by copies of the positions that there are, in their order.

    Encoders of relative positions alone need no copies: what is farther away than they tell apart counts as far.

    Positions that were there keep their values, so that sequences which fitted before have the same results. The
    extended model saves and loads as any other of its family.

    Args:
        model: A stock encoder, with or without a head; changed in place.
        length: Tokens of the longest sequence, special tokens included.
        what: The model's name in errors.

    Returns:
        True if the model was extended; False where sequences may have as many tokens already.

    Raises:
        ValueError: The encoder cannot be extended to so many.
    """
    known, table = longest_sequence(model), position_table(model)
    if length <= known:
        return False
    family = family_of(model.config)
    if table is None and not family.reaches_further:
        raise ValueError(
            f"{what} has no position embeddings to extend, and reaches {known} positions: give a length of at most "
            f"{known}, not {length}"
        )
    if length > LONGEST:
        raise ValueError(f"{what} cannot be extended to {length} positions: give a length of at most {LONGEST}")
    family.pin_positions(model.config)
    embeddings: Any = model.base_model.embeddings
    if table is None:
        model.config.max_position_embeddings = length
        embeddings.position_ids = torch.arange(length, device=embeddings.position_ids.device).expand(1, -1)
        return True
    offset = first_position(model)
    rows = torch.cat([torch.arange(offset), offset + torch.arange(length) % known])
    embeddings.position_embeddings = _table_of(table, rows)
    # Stock forwards read these where they are not given.
    embeddings.position_ids = torch.arange(len(rows), device=table.weight.device).expand(1, -1)
    if hasattr(embeddings, "token_type_ids"):
        embeddings.token_type_ids = torch.zeros_like(embeddings.position_ids)
    model.config.max_position_embeddings = len(rows)
    return True


def _table_of(table: nn.Embedding, rows: Tensor) -> nn.Embedding:
    """Return a table of these rows of another, ``(len(rows), hidden)``."""
    weight = table.weight.detach()
    frozen = not table.weight.requires_grad
    longer: nn.Embedding = nn.Embedding.from_pretrained(weight[rows.to(weight.device)], frozen, table.padding_idx)
    return longer


@contextmanager
def exact_frequencies(model: nn.Module) -> Iterator[None]:
    """Keep the frequencies of rotary positions through a cast of the model.

    Rounded to bfloat16 they are a whole turn off at a few thousand tokens. transformers keeps them in float32 where it
    loads a model in another number format, and not where a loaded model is cast.

    Args:
        model: A model that is moved or cast within the block.
    """
    kept = {name: buffer for name, buffer in model.named_buffers() if name.endswith("inv_freq") and not buffer.is_meta}
    yield
    for name, buffer in kept.items():
        place, _, own = name.rpartition(".")
        module = model.get_submodule(place)
        setattr(module, own, buffer.to(getattr(module, own).device))
