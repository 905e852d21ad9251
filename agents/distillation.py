"""The teacher of joint training: soft targets from the unreduced model."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch, full_layout
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.base import Task
from trbert_env.tasks.varied import check_lasting

#: Entries of a configuration that decide nothing of what a model computes.
_OF_ORIGIN = frozenset({"_name_or_path", "architectures", "dtype", "transformers_version"})


class Teacher:
    """Logits of a frozen, unreduced model.

    They cost a third of an unreduced training step each time they are asked for; where several runs or
    epochs ask for the same, :meth:`remember` computes them once.

    Args:
        model: The task model; left as it is.
        task: Its task.
        autocast: ``"bfloat16"`` or ``"float32"``: what it computes in.
    """

    def __init__(self, model: PreTrainedModel, task: Task, autocast: str = "float32") -> None:
        self._staged, self._autocast = StagedModel(model, task), autocast
        self._known: dict[str, Tensor] = {}
        self._known_states: dict[str, Tensor] = {}

    @property
    def encoder(self) -> StagedEncoder:
        """The model's encoder."""
        return self._staged.encoder

    def logits(self, texts: Sequence[EncodedText], states: Tensor | None = None) -> Tensor:
        """The task's logits, float32, texts laid end to end, on the model's device; remembered ones where all are.

        Args:
            texts: The texts.
            states: Result of :meth:`states` for them, to be read where nothing is remembered; None to run the encoder.
        """
        if self._known and all(text.text_id in self._known for text in texts):
            return torch.cat([self._known[text.text_id] for text in texts]).to(self._staged.device)
        if states is None:
            return self._compute(texts)
        with torch.no_grad(), computing_in(self._autocast, self._staged.device):
            return self._staged.task.logits(self._staged.model, states, full_layout(texts, states.device)).float()

    @property
    def reads_first_tokens(self) -> bool:
        """True where its head reads each sequence's first token alone."""
        return self._staged.reads_first_tokens

    def logits_and_read_states(self, texts: Sequence[EncodedText]) -> tuple[Tensor, Tensor]:
        """Return the logits, as :meth:`logits`, and the last states that the task head reads, float32.

        Args:
            texts: The texts.

        Returns:
            ``(rows, num_logits)``, texts laid end to end, as the task gives them, and ``(rows, hidden)``: one row a
            sequence where :attr:`reads_first_tokens`, else one a token.
        """
        if self._known_states:
            states = torch.cat([self._known_states[text.text_id] for text in texts])
            return self.logits(texts), states.to(self._staged.device)
        states = self.states(texts)
        return self.logits(texts, states), self._read(states, texts)

    def _read(self, states: Tensor, texts: Sequence[EncodedText]) -> Tensor:
        """Those of the states that the task head reads."""
        if not self.reads_first_tokens:
            return states
        return states[full_layout(texts, states.device).first_tokens]

    def states(self, texts: Sequence[EncodedText]) -> Tensor:
        """Return the last states, ``(total_tokens, hidden)`` float32, as far as they are read; never remembered."""
        batch = TextBatch.from_texts(texts, self._staged.device)
        with torch.no_grad(), computing_in(self._autocast, self._staged.device):
            return self._staged.encoder.run_unreduced(batch).states.float()

    def remember(
        self,
        texts: Sequence[EncodedText],
        folder: Path,
        advance: Callable[[int], None] | None = None,
        *,
        states: bool = False,
    ) -> None:
        """Compute the logits of texts, or read them from an earlier call's file, and answer from them from now on.

        Args:
            texts: All that will be asked for.
            folder: Folder of the file, under a name that weights, number format and texts decide.
            advance: Told how many texts are done, each time some are.
            states: True to remember the states that the head reads too, where it reads first tokens alone: those of all
                tokens of a large data set fit no memory.

        Raises:
            ValueError: The texts vary from pass to pass.
        """
        check_lasting(texts)
        counts = self._staged.task.row_counts(full_layout(texts)).tolist()
        shapes = {"logits": (sum(counts), self._staged.task.num_logits)}
        if states and self.reads_first_tokens:
            shapes["states"] = (sum(counts), self.encoder.hidden_size)
        path = folder / f"{self._fingerprint(texts)}{'-states' if 'states' in shapes else ''}.safetensors"
        found = _read(path, shapes)
        if found is None:
            found = self._compute_all(texts, tuple(shapes), advance)
            _write(found, path)
        elif advance is not None:
            advance(len(texts))
        by_text = {
            name: dict(zip([text.text_id for text in texts], values.split(counts), strict=True))
            for name, values in found.items()
        }
        self._known, self._known_states = by_text["logits"], by_text.get("states", {})

    def _compute_all(
        self, texts: Sequence[EncodedText], names: Sequence[str], advance: Callable[[int], None] | None
    ) -> dict[str, Tensor]:
        """Logits, or logits and states, of all texts, on the CPU."""
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        size = pass_rows(self._staged.device)
        for first in range(0, len(texts), size):
            rows = texts[first : first + size]
            values = self.logits_and_read_states(rows) if "states" in names else (self._compute(rows),)
            for name, value in zip(names, values, strict=True):
                found[name].append(value.cpu())
            if advance is not None:
                advance(len(rows))
        return {name: torch.cat(values) for name, values in found.items()}

    def _compute(self, texts: Sequence[EncodedText]) -> Tensor:
        batch = TextBatch.from_texts(texts, self._staged.device)
        with torch.no_grad(), computing_in(self._autocast, self._staged.device):
            return self._staged(batch).float()

    @property
    def _configuration(self) -> str:
        """The model's configuration, without what says where it came from."""
        config = self._staged.model.config.to_dict()
        return json.dumps({name: config[name] for name in sorted(config.keys() - _OF_ORIGIN)}, default=str)

    def _fingerprint(self, texts: Sequence[EncodedText]) -> str:
        """What decides the logits: configuration, weights, number format, and the texts in their order."""
        digest = hashlib.sha256(self._autocast.encode())
        digest.update(self._configuration.encode())
        for name, values in sorted(self._staged.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        for text in texts:
            digest.update(text.text_id.encode())
            digest.update(repr(text.sequence_lengths).encode())
            for ids in (text.input_ids, text.token_type_ids):
                digest.update(np.ascontiguousarray(ids).tobytes())
        return digest.hexdigest()[:32]


def _read(path: Path, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Tensor] | None:
    """Return what an earlier call found; None where there is nothing, or where its file is damaged."""
    if not path.exists():
        return None
    try:
        found = load_file(path)
    except SafetensorError as error:
        reason = str(error)
    else:
        reasons = [_fault(name, found.get(name), shape) for name, shape in shapes.items()]
        if not any(reasons):
            return {name: found[name] for name in shapes}
        reason = next(filter(None, reasons))
    warnings.warn(f"{path} is damaged ({reason}): its {' and '.join(shapes)} are computed again", stacklevel=3)
    return None


def _fault(name: str, values: Tensor | None, shape: tuple[int, int]) -> str:
    """What is wrong with values; empty where nothing is."""
    if values is None:
        return f"it holds no {name}"
    if tuple(values.shape) != shape:
        return f"its {name} have the shape {tuple(values.shape)}, not {shape}"
    return "" if bool(torch.isfinite(values).all()) else f"its {name} are not finite"


def _write(found: dict[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: another run may be at the same.
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file(found, partial)
    except SafetensorError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written ({error}): make room, or set TRBERT_CACHE") from error
    partial.replace(path)


def computing_in(dtype: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in ``"bfloat16"`` or ``"float32"``; weights and reductions stay float32."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, torch.bfloat16)
