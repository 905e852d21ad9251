"""EvaluationRecord: what an evaluation found, and the flat ``metrics.json`` that keeps it.

This is the only module that knows the flat keys. The metrics of the task stand under their own names, and again
behind a prefix for other models and texts:

=============  =================================================================================
``full_``      the unreduced backbone, on the same texts
``keep_all_``  the model's own trained encoder with nothing skipped, on the same texts
``holdout_``   the reduced model, on the training texts that were held out
=============  =================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from runners.evaluation.certainty import Certainty

#: Keys that ``metrics.json`` has of every run that trains.
OF_TRAINING = ("env", "num_texts")
#: Keys that it has of every run that trains or evaluates on a task.
REQUIRED = (*OF_TRAINING, "full_log_likelihood")

_FULL, _KEEP_ALL, _HOLDOUT = "full_", "keep_all_", "holdout_"
_KEPT = re.compile(r"kept_fraction_(\d+)")


@dataclass(frozen=True)
class Conditions:
    """Texts, encoder and number format of an evaluation.

    A record of an older version may lack some of them, which are None then.

    Attributes:
        env: Name of the data set.
        split: Name of the split.
        data_source: ``"local"``, ``"hub"`` or ``"embedded"``.
        backbone: Name of the unreduced backbone.
        num_examples: Records of the split.
        num_texts: Texts of the split.
        dtype: Number format that the encoder computed in.
        encoder_fingerprint: Fingerprint of the unreduced backbone.
        tokenizer_fingerprint: Fingerprint of its tokenizer.
        texts_fingerprint: Fingerprint of the records and of how they were encoded.
        extended_from: Positions that the backbone had learned before it was extended; None where it was not.
    """

    env: str
    split: str | None
    data_source: str | None
    backbone: str | None
    num_examples: int | None
    num_texts: int
    dtype: str | None
    encoder_fingerprint: str | None
    tokenizer_fingerprint: str | None
    texts_fingerprint: str | None
    extended_from: int | None = None

    def to_flat(self) -> dict[str, Any]:
        """Return the head of ``metrics.json``."""
        return _without_none({name: getattr(self, name) for name in _CONDITIONS})

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> Conditions:
        """Read the head of ``metrics.json``."""
        values: dict[str, Any] = {name: flat.get(name) for name in _CONDITIONS}
        return cls(**values)

    @property
    def decisive(self) -> dict[str, Any]:
        """Conditions that two evaluations of the same have in common.

        An encoder's name is none of them where its fingerprint is known: it may be a path, given in another way.
        """
        flat = self.to_flat()
        return {name: value for name, value in flat.items() if name != "backbone" or "encoder_fingerprint" not in flat}

    def check_same(self, earlier: Conditions) -> None:
        """Check that metrics of the unreduced backbone can be taken from an earlier evaluation.

        Args:
            earlier: Conditions of that evaluation.

        Raises:
            ValueError: It is of other texts, another backbone or number format.
        """
        for name, value in self.decisive.items():
            if getattr(earlier, name) != value:
                raise ValueError(
                    f"the earlier record has {name} {getattr(earlier, name)!r}, this evaluation {value!r}: "
                    "name one of the same, or leave --full-from out"
                )


@dataclass(frozen=True)
class Quality:
    """Quality of one model on one split.

    Attributes:
        metrics: Metrics of the task, 0 to 100, NaN for what is no number; the first is the main one.
        log_likelihood: Mean log-likelihood of the gold answers, nats, over the texts that have one.
    """

    metrics: Mapping[str, float]
    log_likelihood: float

    def to_flat(self) -> dict[str, float]:
        """Return the metrics and ``log_likelihood``, by name."""
        return {**self.metrics, "log_likelihood": self.log_likelihood}

    def __getitem__(self, name: str) -> float:
        """Return a metric of the task, or ``log_likelihood``.

        Raises:
            KeyError: There is no such metric.
        """
        return self.log_likelihood if name == "log_likelihood" else self.metrics[name]


@dataclass(frozen=True)
class Savings:
    """FLOPs that a reduction saved.

    Attributes:
        flops_speedup: Mean full cost over mean reduced cost, over texts.
        kept_fractions: Kept share of the full length at each reduction, over all tokens; empty where nothing is
            skipped.
    """

    flops_speedup: float
    kept_fractions: tuple[float, ...] = ()

    def to_flat(self) -> dict[str, float]:
        """Return ``flops_speedup`` and ``kept_fraction_<t>``."""
        kept = {f"kept_fraction_{index}": value for index, value in enumerate(self.kept_fractions, start=1)}
        return {"flops_speedup": self.flops_speedup, **kept}


@dataclass(frozen=True)
class Measured:
    """Quality and savings of one pass over a split.

    Attributes:
        quality: Quality of the pass.
        savings: Savings of the pass; None where nothing was to be saved.
    """

    quality: Quality
    savings: Savings | None = None

    def to_flat(self) -> dict[str, float]:
        """Return metrics, ``log_likelihood``, ``flops_speedup`` and ``kept_fraction_<t>``, by name."""
        return self.quality.to_flat() | ({} if self.savings is None else self.savings.to_flat())


@dataclass(frozen=True)
class Clock:
    """Wall speed-ups of a reduced model; see :func:`runners.evaluation.timing.read_clock`.

    Attributes:
        wall_speedup_stock: Time of stock transformers over time of the reduced model.
        wall_speedup_packed: Time of our packed encoder with keep-all over time of the reduced model.
    """

    wall_speedup_stock: float
    wall_speedup_packed: float

    def to_flat(self) -> dict[str, float]:
        """Return both, by name."""
        return {"wall_speedup_stock": self.wall_speedup_stock, "wall_speedup_packed": self.wall_speedup_packed}


@dataclass(frozen=True)
class SliceCost:
    """FLOPs against the same unreduced encoder over slices of the texts.

    Attributes:
        slice_tokens: Tokens of a slice.
        slices_full_speedup: FLOPs of the slices over those of the unreduced encoder on the texts as they are.
        slices_speedup: FLOPs of the slices over those of what was evaluated.
    """

    slice_tokens: int
    slices_full_speedup: float
    slices_speedup: float

    def to_flat(self) -> dict[str, float]:
        """Return all of it, by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


@dataclass(frozen=True)
class Identity:
    """Identity of the model or agent beyond its name; None for what has no meaning.

    Attributes:
        model_fingerprint: Fingerprint of the token-reduced model.
        threshold: Threshold that it was measured at, where another than its own.
        keep_fractions: Keep fractions of a heuristic.
        reduction_layers: Cuts of a heuristic.
        backend: Runtime of an export.
        export_precision: Number format of an export.
    """

    model_fingerprint: str | None = None
    threshold: float | None = None
    keep_fractions: tuple[float, ...] | None = None
    reduction_layers: tuple[float, ...] | None = None
    backend: str | None = None
    export_precision: str | None = None

    def to_flat(self) -> dict[str, Any]:
        """Return what is known, by name, as JSON values."""
        values = {name: getattr(self, name) for name in _IDENTITY}
        return _without_none({name: list(v) if isinstance(v, tuple) else v for name, v in values.items()})

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> Identity:
        """Read it from the flat record."""
        values: dict[str, Any] = {name: flat.get(name) for name in _IDENTITY}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**values)


_CONDITIONS = tuple(entry.name for entry in fields(Conditions))
_IDENTITY = tuple(entry.name for entry in fields(Identity))
_CERTAINTY = tuple(entry.name for entry in fields(Certainty))
#: Keys of what the clock said, in which runs with the same seeds differ.
CLOCK_KEYS = frozenset({entry.name for entry in fields(Clock)} | set(_CERTAINTY)) - {
    "loss_half_width",
    "flops_speedup_half_width",
    "processors",
}


@dataclass(frozen=True)
class EvaluationRecord:
    """What an evaluation found.

    Attributes:
        conditions: Texts, encoder and number format.
        reduced: Quality and savings of what was evaluated.
        full: Quality of the unreduced backbone on the same texts.
        agent: Name of the heuristic or agent; None for a token-reduced model.
        clock: Wall speed-ups; None where the clock was not read.
        keep_all: Quality of the model's own trained encoder with keep-all; None where it is the backbone.
        holdout: Quality and savings on held-out training texts; None where none were held out.
        slices: FLOPs against slices; None where these were not asked for.
        identity: Identity of the model or agent.
        certainty: Intervals, ranges and conditions of the clock.
        extra: Further keys of the flat record, of one runner or another version.

    Example:
        >>> flat = {"env": "SQuAD2", "num_texts": 2, "f1": 58.0, "log_likelihood": -1.5, "flops_speedup": 2.0}
        >>> record = EvaluationRecord.from_flat(flat | {"full_f1": 60.0, "full_log_likelihood": -1.0})
        >>> record.reduced.quality["f1"], record.full["f1"], record.reduced.savings.flops_speedup
        (58.0, 60.0, 2.0)
    """

    conditions: Conditions
    reduced: Measured
    full: Quality
    agent: str | None = None
    clock: Clock | None = None
    keep_all: Quality | None = None
    holdout: Measured | None = None
    slices: SliceCost | None = None
    identity: Identity = field(default_factory=Identity)
    certainty: Certainty = field(default_factory=Certainty)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_flat(self) -> dict[str, Any]:
        """Return the flat record of ``metrics.json``: JSON values; what is no finite number is None."""
        flat = self.conditions.to_flat()
        flat |= {} if self.agent is None else {"agent": self.agent}
        flat |= self.reduced.to_flat()
        flat |= {} if self.clock is None else self.clock.to_flat()
        flat |= _prefixed(_FULL, self.full.to_flat())
        flat |= {} if self.keep_all is None else _prefixed(_KEEP_ALL, self.keep_all.to_flat())
        flat |= {} if self.holdout is None else _prefixed(_HOLDOUT, self.holdout.to_flat())
        flat |= {} if self.slices is None else self.slices.to_flat()
        flat |= self.identity.to_flat() | self.certainty.to_flat()
        return {name: _plain(value) for name, value in (flat | dict(self.extra)).items()}

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> EvaluationRecord:
        """Read the flat record of ``metrics.json``; keys that are unknown here end in :attr:`extra`.

        Raises:
            ValueError: It lacks one of :data:`REQUIRED`.
        """
        if missing := [name for name in REQUIRED if name not in flat]:
            raise ValueError(f"it has no {missing[0]}")
        full = _read_quality(_without_prefix(_FULL, flat))
        keep_all, holdout = _without_prefix(_KEEP_ALL, flat), _without_prefix(_HOLDOUT, flat)
        # Only the metrics that the unreduced backbone has too: what else stands there is not known here.
        own = {name: flat[name] for name in flat if name in full.metrics or name in _PASS or _KEPT.fullmatch(name)}
        clock = {entry.name: flat[entry.name] for entry in fields(Clock) if entry.name in flat}
        slices = {entry.name: flat[entry.name] for entry in fields(SliceCost) if entry.name in flat}
        record = cls(
            Conditions.from_flat(flat),
            _read_measured(own),
            full,
            agent=flat.get("agent"),
            clock=Clock(**_numbers(clock)) if len(clock) == len(fields(Clock)) else None,
            keep_all=_read_quality(keep_all) if keep_all else None,
            holdout=_read_measured(holdout) if holdout else None,
            slices=SliceCost(**slices) if len(slices) == len(fields(SliceCost)) else None,
            identity=Identity.from_flat(flat),
            certainty=Certainty.of(flat),
        )
        known = record.to_flat().keys() | {*_CONDITIONS, *_IDENTITY, *_CERTAINTY, "agent"}
        extra = {name: value for name, value in flat.items() if name not in known}
        return cls(**{entry.name: getattr(record, entry.name) for entry in fields(cls)} | {"extra": extra})


#: Keys of a pass beside the metrics of the task.
_PASS = ("log_likelihood", "flops_speedup")


def watched_curves(keep_all: Quality | None, reduced: Measured | None) -> dict[str, float]:
    """Return the TensorBoard curves of the held-out texts while a run goes on.

    Args:
        keep_all: Quality of the encoder as it now is, with keep-all; None where nothing keeps all.
        reduced: Quality and savings of its reduced self; None where nothing is skipped.
    """
    curves = {} if keep_all is None else _prefixed(_KEEP_ALL, keep_all.to_flat())
    curves |= {} if reduced is None else reduced.to_flat()
    return _prefixed("holdout/", curves)


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _without_prefix(prefix: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries behind a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}


def _read_quality(values: Mapping[str, Any]) -> Quality:
    numbers = _numbers(values)
    likelihood = numbers.pop("log_likelihood", math.nan)
    return Quality(numbers, likelihood)


def _read_measured(values: Mapping[str, Any]) -> Measured:
    kept = {name: value for name, value in values.items() if _KEPT.fullmatch(name)}
    in_order = sorted(kept, key=lambda name: int(name.rpartition("_")[2]))
    quality = _read_quality({name: values[name] for name in values if name not in kept and name != "flops_speedup"})
    if "flops_speedup" not in values:
        return Measured(quality)
    fractions = tuple(_numbers(kept)[name] for name in in_order)
    return Measured(quality, Savings(_numbers(values)["flops_speedup"], fractions))


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among the values; JSON has null for what was no number."""
    numbers = {name: math.nan if value is None else value for name, value in values.items()}
    return {name: value for name, value in numbers.items() if isinstance(value, (int, float))}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
