"""Padded inputs: what tokenizers and programs hand to a model of transformers, as texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from trbert_env.encoder.texts import TextBatch, token_mask

CallT = TypeVar("CallT", bound=Callable[..., Any])

_LEAVE_OUT = "leave it out"
#: Inputs and options of stock models that a token-reduced model cannot take, each with the reason and what to do.
_REFUSED = {
    "inputs_embeds": ("the policy and the layout of texts are read off token ids", "give input_ids"),
    "head_mask": ("attention runs in fused kernels, which know no masks of heads", _LEAVE_OUT),
    "output_attentions": ("attention runs in fused kernels, which keep no probabilities", _LEAVE_OUT),
    "encoder_hidden_states": ("it is an encoder", _LEAVE_OUT),
    "encoder_attention_mask": ("it is an encoder", _LEAVE_OUT),
    "past_key_values": ("an encoder has no cache", _LEAVE_OUT),
    "use_cache": ("an encoder has no cache", _LEAVE_OUT),
    "position_ids": ("the graphs of an export count positions themselves", _LEAVE_OUT),
    "output_hidden_states": ("the graphs of an export give logits alone", _LEAVE_OUT),
    "labels": ("it learns where answers begin and end", "give start_positions and end_positions"),
    "start_positions": ("it has no start logits", "give labels"),
    "end_positions": ("it has no end logits", "give labels"),
}
#: Those of them that say what is right.
_LABELS = ("labels", "start_positions", "end_positions")


def not_compiled(call: CallT) -> CallT:
    """Let ``torch.compile`` leave a padded call as it is, so that a compiled model gives the same at the same speed.

    Lengths differ from call to call and from stage to stage. Compiled all the same, a call falls into dozens of graphs,
    which take minutes to make and then run slower than without (RESULTS.md).

    Args:
        call: The ``forward`` of a model.
    """
    return cast(CallT, torch.compiler.disable(call, reason="packed sequences change their lengths at every stage"))


def refuse(others: Mapping[str, Any], model: str, *, learns: bool = True) -> None:
    """Refuse inputs that a model cannot take, by name.

    Args:
        others: Inputs by their names; None and False ask for nothing.
        model: Name of the model's class.
        learns: False of a model that no labels are of use to.

    Raises:
        ValueError: One is known to transformers, and asked for.
        TypeError: One is known to nobody.

    Example:
        >>> refuse({"head_mask": None, "use_cache": False}, "TokenReducedModel")
    """
    for name, value in others.items():
        if name not in _REFUSED:
            raise TypeError(f"{model} knows no input {name!r}: {_LEAVE_OUT}")
        if value is not None and value is not False:
            reason, fix = _REFUSED[name]
            if not learns and name in _LABELS:
                reason, fix = "an export does not learn", _LEAVE_OUT
            raise ValueError(f"{model} does not support {name} ({reason}): {fix}")


@dataclass(frozen=True)
class PaddedInputs:
    """Texts that came padded.

    Attributes:
        batch: The texts, without padding.
        mask: Bool mask of their tokens among the padded token ids, of the shape of these.
    """

    batch: TextBatch
    mask: Tensor

    @classmethod
    def of(
        cls, input_ids: Tensor | None, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> PaddedInputs:
        """Take the padding out; see :meth:`~trbert_env.encoder.texts.TextBatch.from_padded`.

        Args:
            input_ids: Token ids.
            attention_mask: 1 for tokens, 0 for padding; all are tokens where it is None.
            token_type_ids: Token type ids; all 0 where it is None.

        Raises:
            ValueError: There are no token ids, or they cannot be read as texts.
        """
        if input_ids is None:
            raise ValueError("input_ids are missing: give token ids, as a tokenizer returns them")
        mask = token_mask(input_ids, attention_mask)
        return cls(TextBatch.from_padded(input_ids, mask, token_type_ids), mask)

    def check_tokens(self, vocabulary: int, types: float) -> None:
        """Refuse tokens that the encoder does not embed, as those of another tokenizer; those of padding do not count.

        Args:
            vocabulary: Number of token ids.
            types: Number of token type ids; infinite where the encoder reads none.

        Raises:
            ValueError: A token id or token type id is beyond them; the message names it.
        """
        named = {"input_ids": (self.batch.input_ids, "token id", vocabulary)}
        if types < math.inf:
            named["token_type_ids"] = (self.batch.token_type_ids, "token type id", int(types))
        bounds = torch.stack([bound for ids, _, _ in named.values() for bound in ids.aminmax()]).tolist()
        for number, (name, (_, what, known)) in enumerate(named.items()):
            least, most = bounds[2 * number : 2 * number + 2]
            if least < 0 or most >= known:
                raise ValueError(
                    f"{name} have the {what} {least if least < 0 else most}, and the encoder has {known}, from 0 to "
                    f"{known - 1}: use the tokenizer that was saved with it"
                )

    def check_positions(self, position_ids: Tensor, first: int) -> None:
        """Refuse positions other than those that the encoder reads: one after the other, from each first token on.

        Args:
            position_ids: Positions of the padded token ids, of their shape or one that broadcasts to it; those of
                padding do not count.
            first: Position of a sequence's first token.

        Raises:
            ValueError: They are others, or of a shape that does not fit.
        """
        shape = self.mask.shape
        # From the last dimension on, as torch broadcasts.
        fitting = [size in (1, wanted) for size, wanted in zip(position_ids.shape[::-1], shape[::-1], strict=False)]
        if position_ids.dim() > len(shape) or not all(fitting):
            raise ValueError(f"position_ids have the shape {tuple(position_ids.shape)}: give {tuple(shape)}")
        expected = self.batch.sequence_positions + first
        wrong = (position_ids.expand(shape)[self.mask] != expected).nonzero()
        if len(wrong):
            row = self.mask.nonzero()[wrong[0, 0]][0].item()
            raise ValueError(
                f"position_ids of row {row} are not supported: each row's tokens must count from {first} at its first "
                "token on; leave position_ids out"
            )
