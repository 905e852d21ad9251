"""The backend of a fast tokenizer without what its owner has set: it neither cuts nor pads."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase


def bare_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a copy of a fast tokenizer's backend that neither cuts nor pads; the same one for equal tokenizers.

    A copy, because the backend of the caller keeps every setting that it is given.

    Args:
        tokenizer: The tokenizer.

    Raises:
        ValueError: If the tokenizer is not a fast one.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"{type(tokenizer).__name__} is a slow tokenizer without offsets: load a fast one")
    return _bare(backend.to_str())


@lru_cache(maxsize=4)
def _bare(serialised: str) -> Tokenizer:
    """Kept, for a run asks for it at every split, and a vocabulary of 30,000 takes a tenth of a second to build."""
    copy: Tokenizer = Tokenizer.from_str(serialised)
    copy.no_truncation()
    copy.no_padding()
    return copy
