"""Residual importance, computed once for each text: the backbone is frozen, so it never changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.importance import residual_importance
from trbert_env.staged_model import StagedModel
from trbert_env.validation import are_indices, check_entries


class ImportanceCache:
    """Computes the residual importance of texts when first asked, and remembers it.

    Args:
        staged: The frozen model.
    """

    def __init__(self, staged: StagedModel) -> None:
        self._staged = staged
        self._known: dict[int, npt.NDArray[np.float32]] = {}

    def of_texts(self, indices: npt.NDArray[np.int64], texts: Sequence[EncodedText]) -> Tensor:
        """``(num_texts, T, longest)`` float32, 0 beyond a text's end.

        Args:
            indices: What the texts are remembered by.
            texts: The texts.
        """
        device = self._staged.device
        places = dict(zip(indices.tolist(), texts, strict=True))
        missing = {index: text for index, text in places.items() if index not in self._known}
        if missing:
            batch = TextBatch.from_texts(list(missing.values()), device)
            targets = self._staged.task.targets(list(missing.values())).to(device)
            scores = residual_importance(self._staged, batch, targets)
            pieces = scores.cpu().split([len(text) for text in missing.values()], dim=1)
            self._known.update({index: piece.numpy() for index, piece in zip(missing, pieces, strict=True)})
        found = [self._known[int(index)] for index in indices]
        padded = np.zeros((len(found), len(found[0]), max(scores.shape[1] for scores in found)), dtype=np.float32)
        for row, scores_of_text in enumerate(found):
            padded[row, :, : scores_of_text.shape[1]] = scores_of_text
        return torch.from_numpy(padded).to(device)

    def state_dict(self) -> dict[str, Any]:
        """What is known, flat, since a batch's composition moves the last bits of a score."""
        indices = np.array(sorted(self._known), dtype=np.int64)
        known = [self._known[int(index)] for index in indices]
        lengths = np.array([scores.shape[1] for scores in known], dtype=np.int64)
        empty = np.zeros((self._staged.num_reductions, 0), dtype=np.float32)
        return {"indices": indices, "lengths": lengths, "scores": np.concatenate([empty, *known], axis=1)}

    def load_state_dict(self, state: dict[str, Any], texts: Sequence[EncodedText]) -> None:
        """Go on from :meth:`state_dict`.

        Args:
            state: The saved state.
            texts: All texts of the split, which the indices count.

        Raises:
            ValueError: It is no such state, or of other texts; what is known then stays as it is.
        """
        check_entries("importance", state, ("indices", "lengths", "scores"))
        indices, lengths, scores = (np.asarray(state[name]) for name in ("indices", "lengths", "scores"))
        if indices.ndim != 1 or not are_indices(indices, len(texts)) or len(set(indices.tolist())) < len(indices):
            raise ValueError(f"the saved importance is not of different texts among the {len(texts)} of the split")
        known = indices.tolist()
        if lengths.tolist() != [len(texts[index]) for index in known]:
            raise ValueError("the saved importance is of texts of other lengths")
        shape = (self._staged.num_reductions, sum(lengths.tolist()))
        if scores.shape != shape or scores.dtype.kind != "f" or not np.isfinite(scores).all():
            raise ValueError(f"the saved importance is not {shape} finite numbers, one a token and reduction")
        pieces = np.split(scores.astype(np.float32), np.cumsum(lengths)[:-1], axis=1) if known else []
        self._known = dict(zip(known, pieces, strict=True))
