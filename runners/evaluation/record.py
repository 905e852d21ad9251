"""EvaluationRecord: what an evaluation gave, in parts, and its flat form on disk.

``metrics.json`` is one flat record. The parts are told apart there by what stands before their metrics: nothing for the
reduced model, ``full_`` for the unreduced encoder that it is compared with, ``keep_all_`` for a jointly trained encoder
that skips nothing, ``holdout_`` for the reduced model on held-out training texts. No other module knows this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_FULL, _KEEP_ALL, _HOLDOUT = "full_", "keep_all_", "holdout_"
_LIKELIHOOD, _FLOPS, _KEPT = "log_likelihood", "flops_speedup", "kept_fraction_"
_CLOCK = ("wall_speedup_stock", "wall_speedup_packed")
_CONDITIONS = (
    *("env", "split", "data_source", "backbone", "num_examples", "num_texts", "dtype"),
    *("encoder_fingerprint", "tokenizer_fingerprint", "texts_fingerprint"),
)
#: Metrics that tables show beside a task's main one, where a record has them.
_ALSO_SHOWN = ("has_answer_f1", "mean_absolute_error")


@dataclass(frozen=True)
class Quality:
    """How well a model does on a split.

    Attributes:
        metrics: The task's metrics, the main one first.
        log_likelihood: Mean over texts, in nats.
    """

    metrics: Mapping[str, float]
    log_likelihood: float

    def flat(self) -> dict[str, float]:
        """Return all of it by name."""
        return {**self.metrics, _LIKELIHOOD: self.log_likelihood}


@dataclass(frozen=True)
class Savings:
    """What a model saves in FLOPs.

    Attributes:
        flops_speedup: Mean full cost over mean reduced cost, over texts.
        kept_fractions: Kept share of the full length at each reduction, over all tokens.
    """

    flops_speedup: float
    kept_fractions: tuple[float, ...] = ()

    def flat(self) -> dict[str, float]:
        """Return all of it by name."""
        kept = {f"{_KEPT}{index}": share for index, share in enumerate(self.kept_fractions, start=1)}
        return {_FLOPS: self.flops_speedup, **kept}


@dataclass(frozen=True)
class PassResult:
    """What one pass over a split gave.

    Attributes:
        quality: How well the model does.
        savings: What it saves.
    """

    quality: Quality
    savings: Savings

    def flat(self) -> dict[str, float]:
        """Return all of it by name."""
        return {**self.quality.flat(), **self.savings.flat()}


@dataclass(frozen=True)
class EvaluationRecord:
    """What an evaluation gave.

    Attributes:
        conditions: What it was made on: data set, split, source, encoder, numbers of records and texts, number
            format, fingerprints.
        full: Quality of the unreduced encoder that the model is compared with.
        reduced: Quality of the model; that of the encoder itself where nothing is reduced (stage 1).
        savings: What the model saves; None where nothing is reduced.
        clock: Wall speed-ups by name; empty where none was measured.
        keep_all: Quality of a jointly trained encoder that skips nothing; None where the encoder is as it was.
        holdout: The model on held-out training texts; None where none were held out.
        agent: Name of a heuristic or of an agent that is no model; empty for a model.
        identity: Further entries that tell what was measured, such as the model's fingerprint.
    """

    conditions: Mapping[str, Any]
    full: Quality
    reduced: Quality
    savings: Savings | None = None
    clock: Mapping[str, float] = field(default_factory=dict)
    keep_all: Quality | None = None
    holdout: PassResult | None = None
    agent: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def main_metric(self) -> str:
        """The first metric of the task."""
        return next(iter(self.full.metrics))

    @property
    def shown_metrics(self) -> tuple[str, ...]:
        """Metrics that tables and plots show."""
        return shown_metrics(self.main_metric, self.full.metrics)

    def flat(self) -> dict[str, Any]:
        """Return the record as ``metrics.json`` has it.

        Example:
            >>> quality = Quality({"accuracy": 90.0}, -0.2)
            >>> record = EvaluationRecord({"env": "IMDB"}, full=quality, reduced=quality, savings=Savings(2.0, (0.5,)))
            >>> list(record.flat())
            ['env', 'accuracy', 'log_likelihood', 'flops_speedup', 'kept_fraction_1', 'full_accuracy', ...]
        """
        return {
            **self.conditions,
            **({"agent": self.agent} if self.agent else {}),
            **self.reduced.flat(),
            **({} if self.savings is None else self.savings.flat()),
            **self.clock,
            **_prefixed(_FULL, self.full.flat()),
            **({} if self.keep_all is None else _prefixed(_KEEP_ALL, self.keep_all.flat())),
            **({} if self.holdout is None else _prefixed(_HOLDOUT, self.holdout.flat())),
            **self.identity,
        }

    @classmethod
    def of_flat(cls, values: Mapping[str, Any]) -> EvaluationRecord:
        """Read what :meth:`flat` wrote; entries of no part are taken for its identity.

        Args:
            values: A flat record.

        Raises:
            ValueError: It lacks the metrics of the unreduced encoder, or those of the model.
        """
        left = dict(values)
        conditions = {name: left.pop(name) for name in _CONDITIONS if name in left}
        names = [name.removeprefix(_FULL) for name in values if name.startswith(_FULL)]
        missing = [name for name in names if name not in values] if names else [_FULL + _LIKELIHOOD]
        if missing:
            raise ValueError(f"the record has no {missing[0]}: it is of no evaluation")
        return cls(
            conditions,
            full=_quality(left, _FULL, names),
            savings=_savings(left, ""),
            clock={name: left.pop(name) for name in _CLOCK if name in left},
            keep_all=_quality(left, _KEEP_ALL, names) if _KEEP_ALL + _LIKELIHOOD in left else None,
            holdout=_pass(left, _HOLDOUT, names) if _HOLDOUT + _LIKELIHOOD in left else None,
            reduced=_quality(left, "", names),
            agent=left.pop("agent", ""),
            identity=left,
        )

    def changes(self) -> list[tuple[str, float, float]]:
        """Return name, value unreduced and value reduced of every metric, the likelihood last."""
        full, reduced = self.full.flat(), self.reduced.flat()
        return [(name, full[name], reduced[name]) for name in full]


def shown_metrics(main: str, metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the metrics that tables and plots show: the main one, and what says more than it.

    Args:
        main: The main metric.
        metrics: All that there are.
    """
    known = set(metrics)
    return (main, *(name for name in _ALSO_SHOWN if name in known and name != main))


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _quality(left: dict[str, Any], prefix: str, names: Sequence[str]) -> Quality:
    """Take the metrics of one part out of what is left of a flat record."""
    found = {name: left.pop(prefix + name) for name in names if prefix + name in left}
    likelihood = found.pop(_LIKELIHOOD)
    return Quality(found, likelihood)


def _savings(left: dict[str, Any], prefix: str) -> Savings | None:
    if prefix + _FLOPS not in left:
        return None
    speedup = left.pop(prefix + _FLOPS)
    kept: list[float] = []
    while (name := f"{prefix}{_KEPT}{len(kept) + 1}") in left:
        kept.append(left.pop(name))
    return Savings(speedup, tuple(kept))


def _pass(left: dict[str, Any], prefix: str, names: Sequence[str]) -> PassResult:
    savings = _savings(left, prefix)
    return PassResult(_quality(left, prefix, names), Savings(1.0) if savings is None else savings)
