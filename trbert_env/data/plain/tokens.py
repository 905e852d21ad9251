"""Tokens of documents on the disk, so that texts of any size are tokenised once and never held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from trbert_env.data.bare_tokenizer import bare_backend
from trbert_env.data.cache import cache_folder, make_once
from trbert_env.data.faults import Faults
from trbert_env.data.fingerprints import fingerprint_tokenizer
from trbert_env.data.plain.documents import Census, Document, PlainTexts

#: Characters that are tokenised at once.
_BATCH = 1 << 21
_IDS, _ENDS = "ids.bin", "ends.npy"


@dataclass(frozen=True)
class DocumentTokens:
    """Token ids of documents, laid end to end, without special tokens.

    Attributes:
        ids: ``(total_tokens,)`` int32, mapped from the disk.
        ends: ``(num_documents,)`` int64: the end of each document, which has at least one token.
    """

    ids: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        texts: PlainTexts,
        census: Census,
        tokenizer: PreTrainedTokenizerBase,
        advance: Callable[[int], None] = lambda documents: None,
    ) -> DocumentTokens:
        """Tokenise documents, or read what an earlier run left of the same in the cache.

        Args:
            texts: The documents.
            census: Their census by :meth:`PlainTexts.census`.
            tokenizer: A fast tokenizer.
            advance: Told how many documents are done, each time some are.

        Raises:
            OSError: The cache cannot be written.
            ValueError: Its file is damaged, or no document has a token.
        """
        folder = cache_folder() / "tokens" / f"{census.fingerprint}-{fingerprint_tokenizer(tokenizer)}"
        backend = bare_backend(tokenizer)
        make_once(folder, lambda new: _write(new, texts.documents(Faults(texts.skip_bad_records)), backend, advance))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> DocumentTokens:
        """Open what :meth:`of` left.

        Raises:
            ValueError: It is damaged.
        """
        ends = np.load(folder / _ENDS, allow_pickle=False)
        size, found = 4 * int(ends[-1]), (folder / _IDS).stat().st_size
        if size != found:
            raise ValueError(f"{folder / _IDS} has {found} bytes instead of {size}: delete {folder}")
        return cls(np.memmap(folder / _IDS, np.int32, "r"), ends)

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.ends)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(num_documents,)`` int64: tokens of each document."""
        return np.diff(self.ends, prepend=0)

    def slice(self, document: int, first: int, count: int) -> npt.NDArray[np.int32]:
        """Return up to ``count`` tokens of a document from its token ``first`` on, ``(n,)``.

        Args:
            document: Index of the document.
            first: Index of a token within it.
            count: The most tokens.
        """
        start = int(self.ends[document - 1]) if document else 0
        return np.array(self.ids[start + first : min(start + first + count, int(self.ends[document]))])


def _write(folder: Path, documents: Iterator[Document], backend: Tokenizer, advance: Callable[[int], None]) -> None:
    """Write the tokens of documents; what becomes no token leaves its document out."""
    lengths: list[int] = []
    try:
        with (folder / _IDS).open("wb") as file:
            for batch in _batches(documents):
                encodings = backend.encode_batch_fast([piece for _, piece in batch], add_special_tokens=False)
                known = len(lengths)
                lengths += [0] * (batch[-1][0] + 1 - known)
                for (document, _), encoding in zip(batch, encodings, strict=True):
                    ids = np.array(encoding.ids, np.int32)
                    lengths[document] += len(ids)
                    file.write(ids.tobytes())
                advance(len(lengths) - known)
        counts = np.array(lengths, np.int64)
        if not counts.any():
            raise ValueError("the texts have no token that the encoder knows: give other texts, or another encoder")
        np.save(folder / _ENDS, np.cumsum(counts[counts > 0]))
    except OSError as error:
        raise OSError(
            f"{folder.parent} cannot be written ({error.strerror or error}): make room, or set TRBERT_CACHE"
        ) from error


def _batches(documents: Iterator[Document]) -> Iterator[list[tuple[int, str]]]:
    """Pieces with the number of their document, as many as are tokenised at once."""
    held: list[tuple[int, str]] = []
    size = 0
    for number, document in enumerate(documents):
        for piece in document:
            held.append((number, piece))
            size += len(piece)
            if size >= _BATCH:
                yield held
                held, size = [], 0
    if held:
        yield held
