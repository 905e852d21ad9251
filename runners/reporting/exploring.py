"""Texts for the explorer of a report: each token with the layer at which it stopped, its class and the answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset

from agents.trained import TrainedPolicy
from runners.cli.display import announce, progress
from runners.cli.options import DataOptions
from runners.evaluation.text_rendering import PlayedText, last_layers, play_text, tokens_of
from runners.evaluation.timing import placed_reduced
from runners.reporting.token_classes import SPECIAL, kinds_of
from runners.runs.models import load_model
from runners.training.loading import TrainedOn, request_for
from trbert_env.data.backbones import Backbone
from trbert_env.data.sampling import sample
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.rendering import Piece, pieces_of
from trbert_env.tasks import Task

#: Characters that no space stands before, and after; what tokenizers make of a contraction.
_CLOSING, _OPENING = frozenset(".,;:!?)]}%…”"), frozenset("([{“")
_APOSTROPHES, _CONTRACTED = frozenset("'’"), frozenset(["s", "t", "d", "m", "ll", "re", "ve"])


@dataclass(frozen=True)
class Token:
    """A token as the page shows it.

    Attributes:
        text: Its characters.
        spaced: True if a space stands before it.
        stop: Reduction that it stopped at, the number of reductions where it ran to the end.
        part: Part of the text that it belongs to.
        kind: Class of the token; see :mod:`runners.reporting.token_classes`.
        gold: True if it belongs to the gold answer.
        predicted: True if it belongs to the predicted answer.
    """

    text: str
    spaced: bool
    stop: int
    part: str
    kind: str
    gold: bool
    predicted: bool


@dataclass(frozen=True)
class ExploredText:
    """A record as the model reads it.

    Attributes:
        record_id: Id of the record.
        sequences: Tokens of each sequence: windows, slices or options.
        gold: Gold answer in words; None for a text of a reader's own.
        predicted: Answer of the reduced model.
        unreduced: Answer of the same encoder with all tokens kept.
        score: Main metric of the record, from 0 to 100; None where it has none.
        flops_speedup: FLOPs of all layers on all tokens over those of the reduced pass.
    """

    record_id: str
    sequences: Sequence[Sequence[Token]]
    gold: str | None
    predicted: str
    unreduced: str
    score: float | None
    flops_speedup: float

    @property
    def tokens(self) -> list[Token]:
        """Tokens of all sequences."""
        return [token for sequence in self.sequences for token in sequence]


class Explorer:
    """Runs the model of one run on texts, and tells what became of each token.

    Args:
        model: The model.
        backbone: Its encoder and tokenizer.
        run: Folder of its run.
    """

    def __init__(self, model: TokenReducedModel, backbone: Backbone, run: Path) -> None:
        self.model, self.tokenizer, self.run = model, backbone.tokenizer, run
        self._policy = TrainedPolicy(model.policy, model.decision)

    @classmethod
    def load(cls, run: Path, device: str, dtype: torch.dtype) -> Explorer:
        """Load the model of a run.

        Args:
            run: Folder of the run.
            device: Device to compute on.
            dtype: Number format of the encoder.

        Raises:
            FileNotFoundError: There is no model.
            ValueError: It is of another kind, or damaged.
        """
        model, backbone = load_model(run, device)
        return cls(placed_reduced(model, device, dtype), backbone, run)

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.model.task

    @property
    def cuts(self) -> tuple[float, ...]:
        """Cuts of the model; see :mod:`trbert_env.encoder.cuts`."""
        return self.model.encoder.reduction_layers

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layer, counted from 1, that made the last state of tokens that stop at each reduction, or at none."""
        return last_layers(self.model.encoder)

    def sample(self, data: DataOptions, split: str | None, num_texts: int, seed: int) -> Dataset:
        """Return a random sample of records, in random order.

        Args:
            data: Source of the records.
            split: Name of the split; the one that results are reported on where it is None.
            num_texts: Number of records.
            seed: Seed of the sample.
        """
        request = request_for(data, TrainedOn.of(self.model, self.run))
        found = request.load(split or request.preset.evaluation_split)
        announce(f"explored texts: {found.description}")
        return sample(found.dataset, num_texts, seed)

    def explore(self, records: Dataset) -> list[ExploredText]:
        """Run records, one text at a time.

        Args:
            records: The records.
        """
        texts = self.task.encode(records, self.tokenizer)
        played: list[PlayedText] = []
        unreduced: list[npt.NDArray[np.float32]] = []
        staged, width = self.model.staged, self.task.max_text_tokens
        with progress("exploring", len(texts)) as bar, torch.inference_mode():
            for text in texts:
                played.append(play_text(self._policy, staged, text, width))
                unreduced.append(_array(staged(TextBatch.from_texts([text], staged.device))))
                bar.update()
        logits = [_array(one.logits) for one in played]
        answers = self.task.predict(texts, logits, records)
        compared = self.task.predict(texts, unreduced, records)
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(text.record_id, []).append(place)
        found = []
        for number, record in enumerate(records.with_format(None)):
            key = record["id"]
            own = [(texts[place], played[place], logits[place]) for place in places[key]]
            found.append(self._explored(record, own, answers[key], compared[key], records.select([number])))
        return found

    def explore_own(self, values: Mapping[str, str]) -> ExploredText:
        """Run a text of a reader's own; see :attr:`~trbert_env.tasks.base.Task.own_fields`.

        Args:
            values: Values of the fields, by name.

        Raises:
            ValueError: A value is missing, or the text cannot be read.
        """
        (found,) = self.explore(self.task.own_records([{name: value.strip() for name, value in values.items()}]))
        sequences = [[replace(token, gold=False) for token in sequence] for sequence in found.sequences]
        return replace(found, sequences=sequences, gold=None, score=None)

    def _explored(
        self,
        record: Mapping[str, Any],
        played: Sequence[tuple[EncodedText, PlayedText, npt.NDArray[np.float32]]],
        answer: Any,
        unreduced: Any,
        alone: Dataset,
    ) -> ExploredText:
        sequences = [
            sequence
            for text, found, logits in played
            for sequence in self._sequences(text, found, logits, record, answer)
        ]
        score = self.task.record_score(answer, alone)
        full, reduced = (
            sum(getattr(found, name) for _, found, _ in played) for name in ("full_flops", "reduced_flops")
        )
        return ExploredText(
            record["id"],
            sequences,
            self.task.gold_answer(record),
            self.task.told_answer(answer, record),
            self.task.told_answer(unreduced, record),
            None if score is None or math.isnan(score) else score,
            full / reduced,
        )

    def _sequences(
        self,
        text: EncodedText,
        played: PlayedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        answer: Any,
    ) -> list[list[Token]]:
        """The sequences of a text, token by token."""
        notes = self.task.notes(text, logits, record, answer, self.tokenizer)
        names = tokens_of(text, self.tokenizer)
        special = set(self.tokenizer.all_special_tokens)
        kinds, pieces = kinds_of(names, special), pieces_of(names)
        spaces = spaces_before(pieces, [kind == SPECIAL for kind in kinds])
        columns_of = (pieces, spaces, played.stops, notes.parts, kinds, notes.gold.tolist(), notes.predicted.tolist())
        tokens = [
            Token(piece.text, spaced, stop, SPECIAL if kind == SPECIAL else part, kind, gold, predicted)
            for piece, spaced, stop, part, kind, gold, predicted in zip(*columns_of, strict=True)
        ]
        bounds = np.cumsum((0, *text.sequence_lengths)).tolist()
        return [tokens[first:last] for first, last in itertools.pairwise(bounds)]


def spaces_before(pieces: Sequence[Piece], special: Sequence[bool]) -> list[bool]:
    """Return whether a space stands before each token, as people write: wordpiece tokens do not tell.

    Args:
        pieces: The tokens as pieces of words.
        special: Which of them are special tokens.

    Example:
        >>> shown = [Piece(text, True) for text in ("Ada", "'", "s", "drum", "(", "red", ")", ".")]
        >>> spaces = spaces_before(shown, [False] * 8)
        >>> "".join((" " if spaced else "") + piece.text for piece, spaced in zip(shown, spaces))
        "Ada's drum (red)."
    """
    texts = [piece.text for piece in pieces]
    found = []
    for place, piece in enumerate(pieces):
        before = texts[place - 1] if place else ""
        after = texts[place + 1] if place + 1 < len(texts) else ""
        contracted = piece.text in _APOSTROPHES and after in _CONTRACTED
        glued = piece.text in _CLOSING or before in _OPENING or contracted
        glued = glued or (before in _APOSTROPHES and piece.text in _CONTRACTED)
        beside = special[place] or (place > 0 and special[place - 1])
        found.append(place > 0 and (beside or (piece.begins and not glued)))
    return found


def _array(logits: torch.Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = logits.float().cpu().numpy()
    return found
