"""PackedObservation: what an agent sees of the tokens in play, without padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout


@dataclass(frozen=True)
class PackedObservation:
    """The tokens in play before a reduction, rows end to end; ``total`` is their number.

    It tells the same as the environment's observation and infos, which pad hidden states to ``max_tokens``. Scores
    and masks of single tokens are cheap to pad: :meth:`pad` and :meth:`gather` go from one form to the other.

    Attributes:
        states: Hidden states, ``(total, hidden)`` float32.
        layout: Layout of the tokens, one text a row.
        overlap: Lexical overlap, ``(total, NUM_FEATURES)`` float32.
        importance: Scores that ``info_scores`` asks for, ``(total,)`` float32; None without.
        reduction: The coming reduction, 0-based; T once the texts have ended.
        width: Tokens that :meth:`pad` pads a row to.
        text_ids: Id of each row's text.

    Example:
        >>> import gymnasium, trbert_env
        >>> envs = gymnasium.make_vec("TRBERT/Identity-v0", num_envs=2, array_type="torch").unwrapped
        >>> observation, _ = envs.reset(seed=0)
        >>> packed = envs.packed_observation
        >>> bool((packed.pad(packed.states) == observation["hidden_states"]).all())
        True
    """

    states: Tensor
    layout: Layout
    overlap: Tensor
    importance: Tensor | None
    reduction: int
    width: int
    text_ids: tuple[str, ...]

    @property
    def full_lengths(self) -> Tensor:
        """``(rows,)`` int64 tokens of each row's whole text."""
        return self.layout.text_lengths

    @property
    def free(self) -> Tensor:
        """``(total,)`` bool: True for tokens that may be skipped."""
        return ~self.layout.first_tokens

    @cached_property
    def in_play(self) -> Tensor:
        """``(rows, width)`` bool: True for tokens in play."""
        return self.pad(torch.ones_like(self.layout.first_tokens))

    @cached_property
    def forced(self) -> Tensor:
        """``(rows, width)`` bool: True for tokens that are kept in any case."""
        return self.pad(self.layout.first_tokens)

    def pad(self, values: Tensor) -> Tensor:
        """Spread values of tokens, ``(total, ...)``, to ``(rows, width, ...)``: each at its text position, else 0."""
        return self.layout.pad(values, self.width)

    def gather(self, padded: Tensor) -> Tensor:
        """Return the values of the tokens in play, ``(total, ...)``, from ``(rows, width, ...)``."""
        return self.layout.gather(padded)

    def padded(self) -> dict[str, Tensor]:
        """Return ``hidden_states``, ``token_mask`` and ``reduction``, as the environment's observation has them."""
        return {
            "hidden_states": self.pad(self.states),
            "token_mask": self.in_play.to(torch.int8),
            "reduction": torch.full((self.layout.num_texts,), self.reduction, device=self.layout.device),
        }

    def padded_infos(self) -> dict[str, Any]:
        """Return ``forced_tokens``, ``overlap``, ``text_id`` and, if asked for, ``importance``, as infos have them."""
        infos: dict[str, Any] = {
            "forced_tokens": self.forced,
            "overlap": self.pad(self.overlap),
            "text_id": np.array(self.text_ids),
        }
        if self.importance is not None:
            infos["importance"] = self.pad(self.importance)
        return infos
