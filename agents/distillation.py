"""The teacher of joint training: soft targets from the unreduced model."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
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

    @property
    def encoder(self) -> StagedEncoder:
        """The model's encoder."""
        return self._staged.encoder

    def logits(self, texts: Sequence[EncodedText], states: Tensor | None = None) -> Tensor:
        """The task's logits, float32, texts laid end to end, on the model's device.

        Args:
            texts: The texts.
            states: What :meth:`states` gave for them, to be read where nothing is remembered; None to run the encoder.
        """
        if self._known:
            return torch.cat([self._known[text.text_id] for text in texts]).to(self._staged.device)
        if states is None:
            return self._compute(texts)
        with torch.no_grad(), computing_in(self._autocast, self._staged.device):
            return self._staged.task.logits(self._staged.model, states, full_layout(texts, states.device)).float()

    def states(self, texts: Sequence[EncodedText]) -> Tensor:
        """Return the last states of all tokens, ``(total_tokens, hidden)`` float32; they are never remembered."""
        batch = TextBatch.from_texts(texts, self._staged.device)
        with torch.no_grad(), computing_in(self._autocast, self._staged.device):
            return self._staged.encoder.run_unreduced(batch).states.float()

    def remember(
        self, texts: Sequence[EncodedText], folder: Path, advance: Callable[[int], None] | None = None
    ) -> None:
        """Compute the logits of texts, or read them from an earlier call's file, and answer from them from now on.

        Args:
            texts: All that will be asked for.
            folder: Folder of the file, under a name that weights, number format and texts decide.
            advance: Told how many texts are done, each time some are.

        Raises:
            ValueError: The texts vary from pass to pass.
        """
        check_lasting(texts)
        path = folder / f"{self._fingerprint(texts)}.safetensors"
        counts = self._staged.task.row_counts(full_layout(texts)).tolist()
        shape = (sum(counts), self._staged.task.num_logits)
        logits = _read(path, shape)
        if logits is None:
            found = []
            size = pass_rows(self._staged.device)
            for first in range(0, len(texts), size):
                rows = texts[first : first + size]
                found.append(self._compute(rows).cpu())
                if advance is not None:
                    advance(len(rows))
            logits = torch.cat(found)
            folder.mkdir(parents=True, exist_ok=True)
            # A name of its own: another run may be at the same.
            partial = path.with_suffix(f".{os.getpid()}.partial")
            try:
                save_file({"logits": logits}, partial)
            except SafetensorError as error:
                partial.unlink(missing_ok=True)
                raise OSError(f"{path} could not be written ({error}): make room, or set TRBERT_CACHE") from error
            partial.replace(path)
        elif advance is not None:
            advance(len(texts))
        pieces = logits.split(counts)
        self._known = {text.text_id: piece for text, piece in zip(texts, pieces, strict=True)}

    def _compute(self, texts: Sequence[EncodedText]) -> Tensor:
        batch = TextBatch.from_texts(texts, self._staged.device)
        with torch.no_grad(), computing_in(self._autocast, self._staged.device):
            return self._staged(batch).float()

    def _fingerprint(self, texts: Sequence[EncodedText]) -> str:
        """What decides the logits: weights, number format, and the texts in their order."""
        digest = hashlib.sha256(self._autocast.encode())
        for name, values in sorted(self._staged.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        for text in texts:
            digest.update(text.text_id.encode())
            digest.update(np.ascontiguousarray(text.input_ids).tobytes())
        return digest.hexdigest()[:32]


def _read(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """Return the logits of an earlier call; None where there are none, or where their file is damaged."""
    if not path.exists():
        return None
    try:
        found = load_file(path)
    except SafetensorError as error:
        reason = str(error)
    else:
        logits = found.get("logits")
        if logits is None:
            reason = "it holds no logits"
        elif tuple(logits.shape) != shape:
            reason = f"its logits have the shape {tuple(logits.shape)}, not {shape}"
        elif not bool(torch.isfinite(logits).all()):
            reason = "its logits are not finite"
        else:
            return logits
    warnings.warn(f"{path} is damaged ({reason}): its logits are computed again", stacklevel=3)
    return None


def computing_in(dtype: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in ``"bfloat16"`` or ``"float32"``; weights and reductions stay float32."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, torch.bfloat16)
