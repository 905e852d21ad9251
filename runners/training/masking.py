"""Masked-language modelling: which tokens are masked, and what stands in their place (Devlin et al. 2019, 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trbert_env.encoder.texts import EncodedText, TextBatch

#: Share of a text's tokens that are to be told.
MASKED = 0.15
#: Shares of those that the mask stands in for, and that a random token stands in for; the rest stay.
BY_MASK, BY_RANDOM = 0.8, 0.1


@dataclass(frozen=True)
class MaskedText:
    """A text some of whose tokens are to be told.

    Attributes:
        text: The text as the encoder sees it.
        places: ``(num_masked,)`` int64, rising: the tokens to tell.
        tokens: ``(num_masked,)`` int64: what they are.
    """

    text: EncodedText
    places: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]


@dataclass(frozen=True)
class MaskedBatch:
    """Masked texts, packed.

    Attributes:
        texts: The texts as the encoder sees them.
        places: ``(num_masked,)`` int64: the packed tokens to tell.
        tokens: ``(num_masked,)`` int64: what they are.
    """

    texts: TextBatch
    places: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, masked: Sequence[MaskedText], device: torch.device | str = "cpu") -> MaskedBatch:
        """Lay masked texts end to end on ``device``.

        Raises:
            ValueError: There is none.
        """
        batch = TextBatch.from_texts([one.text for one in masked], device)
        starts = np.cumsum([0, *(len(one.text) for one in masked[:-1])])
        places = np.concatenate([start + one.places for start, one in zip(starts, masked, strict=True)])
        tokens = np.concatenate([one.tokens for one in masked])
        return cls(batch, torch.from_numpy(places).to(device), torch.from_numpy(tokens).to(device))


class Masker:
    """Chooses the tokens to tell, among all but special ones, and hides them.

    Args:
        tokenizer: A tokenizer with a mask token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._mask = tokenizer.mask_token_id
        self._special = np.array(tokenizer.all_special_ids)
        known = np.array(sorted(tokenizer.get_vocab().values()))
        self._ordinary = known[~np.isin(known, self._special)]

    def mask(self, text: EncodedText, generator: np.random.Generator) -> MaskedText:
        """Mask a text; one of special tokens alone has no tokens to tell.

        Args:
            text: The text.
            generator: Decides the tokens, and what stands in their place.
        """
        free = np.flatnonzero(~np.isin(text.input_ids, self._special))
        count = min(len(free), max(1, round(MASKED * len(free))))
        places = np.sort(generator.choice(free, count, replace=False))
        tokens = text.input_ids[places].astype(np.int64)
        chance, random = generator.random(count), generator.choice(self._ordinary, count)
        hidden = np.where(chance < BY_MASK, self._mask, np.where(chance < BY_MASK + BY_RANDOM, random, tokens))
        input_ids = text.input_ids.copy()
        input_ids[places] = hidden
        return MaskedText(replace(text, input_ids=input_ids), places, tokens)
