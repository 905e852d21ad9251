"""Fingerprints: short digests that say whether an encoder, a tokenizer or texts are the same as before.

A path does not say so: the file at the path may have been replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from trbert_env.data.bare_tokenizer import bare_backend

#: Hexadecimal digits of a fingerprint.
LENGTH = 16


def fingerprint(pieces: Iterable[bytes]) -> str:
    """Return the fingerprint of byte strings in their order.

    Args:
        pieces: Byte strings; where one ends and the next begins counts too.

    Example:
        >>> fingerprint([b"ab", b"c"]) == fingerprint([b"a", b"bc"])
        False
    """
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()[:LENGTH]


def fingerprint_file(file: Path) -> str:
    """Return the fingerprint of a file's bytes.

    Args:
        file: The file.
    """
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:LENGTH]


def fingerprint_path(path: Path) -> str:
    """Return the fingerprint of a file, or of the names and bytes of all files in a folder.

    Args:
        path: The file or folder.
    """
    if path.is_file():
        return fingerprint_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return fingerprint(f"{file.relative_to(path)} {fingerprint_file(file)}".encode() for file in files)


def fingerprint_model(*modules: nn.Module) -> str:
    """Return the fingerprint of models: names, types and values of all that they save.

    Args:
        modules: Models, on any device.
    """

    def pieces() -> Iterable[bytes]:
        for module in modules:
            for name, values in sorted(module.state_dict().items()):
                yield f"{name} {values.dtype} {tuple(values.shape)}".encode()
                flat = values.detach().cpu().contiguous().reshape(-1)
                yield flat.view(torch.uint8).numpy().tobytes()

    return fingerprint(pieces())


def fingerprint_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the fingerprint of a tokenizer's vocabulary and rules; what it cuts and pads at does not count.

    Args:
        tokenizer: A fast tokenizer, or any other, of which the vocabulary alone counts.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return fingerprint(f"{token} {index}".encode() for token, index in sorted(tokenizer.get_vocab().items()))
    return fingerprint([bare_backend(tokenizer).to_str().encode()])


def fingerprint_records(records: Dataset, settings: Mapping[str, Any]) -> str:
    """Return the fingerprint of a split: its records in their order, and how a task encodes them.

    With the tokenizer's own fingerprint, it tells whether texts are the same, without encoding any.

    Args:
        records: The records, gold answers included.
        settings: Settings of the task, JSON values.
    """

    def pieces() -> Iterable[bytes]:
        yield json.dumps(settings, sort_keys=True).encode()
        for batch in records.with_format("arrow").iter(batch_size=4096):
            for name in batch.column_names:
                yield name.encode()
                yield repr(batch.column(name).to_pylist()).encode()

    return fingerprint(pieces())
