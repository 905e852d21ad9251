"""Raw strings as models read them: the tokenizer beside a model, and passes over encoded texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from trbert_env.data.checkpoints import load_tokenizer
from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.texts import EncodedText, TextBatch

if TYPE_CHECKING:
    from trbert_env.deploy.export.model import ExportedModel
    from trbert_env.deploy.model import TokenReducedModel


#: Options of ``from_pretrained`` that say where a checkpoint's files are.
_PLACE_OPTIONS = ("cache_dir", "local_files_only", "proxies", "revision", "subfolder", "token")
#: Those of them that are not to be written anywhere.
_SECRETS = frozenset({"proxies", "token"})


@dataclass(frozen=True)
class TokenizerPlace:
    """Where the tokenizer of a model is loaded from.

    Attributes:
        source: A folder or a hub name.
        options: Options of ``from_pretrained`` that say where in it the files are, such as ``revision``.
    """

    source: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave secrets out of what is pickled with the model."""
        return TokenizerPlace, (self.source, {name: self.options[name] for name in self.options.keys() - _SECRETS})

    @classmethod
    def of(cls, source: str, options: Mapping[str, Any]) -> TokenizerPlace:
        """Return the place beside a model that these options have loaded.

        Args:
            source: A folder or a hub name.
            options: Options of the model's ``from_pretrained``.
        """
        given = {name: options[name] for name in _PLACE_OPTIONS if options.get(name) is not None}
        if "cache_dir" in given:
            given["cache_dir"] = str(Path(given["cache_dir"]).absolute())  # the working folder may change
        return cls(source, given)


def strings(name: str, given: str | Iterable[str]) -> list[str]:
    """Return one string or many as a list.

    Args:
        name: Name of the parameter, for messages.
        given: The string or strings.

    Raises:
        TypeError: They are no strings.
    """
    found = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    for place, one in enumerate(found):
        if not isinstance(one, str):
            which = name if one is given else f"{name}[{place}]"
            raise TypeError(f"{which} is {one!r:.80}: give a string, or a list of strings")
    return found


def tokenizer_of(model: TokenReducedModel | ExportedModel) -> PreTrainedTokenizerBase:
    """Return the tokenizer beside a model, loaded once.

    Args:
        model: The model, or its export.

    Raises:
        ValueError: The model was loaded from nowhere, or there is no tokenizer.
    """
    place = model.tokenizer_place or TokenizerPlace(str(model.name_or_path))
    if not place.source:
        raise ValueError("the model was not loaded from a folder, so that its tokenizer is not known: give tokenizer")
    known: tuple[TokenizerPlace, PreTrainedTokenizerBase] | None = model.__dict__.get("_own_tokenizer")
    if known is None or known[0] != place:
        known = place, load_tokenizer(place.source, f"model '{place.source}'", **place.options)
        model.__dict__["_own_tokenizer"] = known
    return known[1]


def logits_of(model: TokenReducedModel | ExportedModel, texts: Sequence[EncodedText]) -> list[npt.NDArray[np.float32]]:
    """Return the logits of each text, ``(rows, outputs)``: of its tokens, or of its sequences; without dropout.

    Args:
        model: The model, or its export.
        texts: The texts.
    """
    found: list[npt.NDArray[np.float32]] = []
    rows = pass_rows(model.device)
    with torch.inference_mode(), _without_dropout(model):
        for first in range(0, len(texts), rows):
            batch = TextBatch.from_texts(texts[first : first + rows], model.device)
            logits = model.forward_packed(batch).logits.float().cpu()
            found += [piece.numpy() for piece in model.task.split(logits, batch.layout)]
    return found


@contextmanager
def _without_dropout(model: TokenReducedModel | ExportedModel) -> Iterator[None]:
    """Run a model as in use, and leave it as it was: transformers' ``Trainer`` ends in training mode."""
    training = [part for part in model.modules() if part.training] if isinstance(model, nn.Module) else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
