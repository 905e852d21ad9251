"""Clock times, as ratios of one run: the same weights, texts and batch size on every side."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from runners.cli.display import progress
from runners.evaluation.machine import Load, LoadWatch
from runners.evaluation.quality import text_order
from runners.evaluation.record import Clock
from trbert_env.data.backbones import move
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.staged_model import StagedModel
from trbert_env.system import ReducedSystem, StockSystem, System, UnreducedSystem

#: Texts that the clock is read on at the end of a training run; the benchmark takes its own number.
TIMED_TEXTS = 128
BATCH_SIZE = 32
#: Rounds that count there.
ROUNDS = 3


@dataclass(frozen=True)
class Timing:
    """One side of a comparison.

    Attributes:
        name: Name of the side.
        seconds: Seconds of each round, by the clock.
        cpu_seconds: CPU time of each round in seconds, over all threads of the process; NaN where the system, which may
            count it by ticks, counted none for a short pass, so that nothing is told by it.
    """

    name: str
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        """Take a CPU time of nothing for one that is not known."""
        object.__setattr__(self, "cpu_seconds", tuple(seconds or math.nan for seconds in self.cpu_seconds))

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)

    @property
    def cpu_median(self) -> float:
        """Median CPU time of a round; on a machine that others use too, it tells sides apart where the clock fails."""
        return float(np.median(self.cpu_seconds))  # NaN where one is

    @property
    def spread(self) -> float:
        """Interquartile range of the seconds over their median; 0 where one round counts."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(high - low) / self.median


@dataclass(frozen=True)
class Ratio:
    """A ratio of times of several rounds.

    Attributes:
        median: Ratio of the median times.
        least: Least ratio of a round.
        most: Greatest.
        rounds: Number of rounds.
    """

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, above: Timing, below: Timing) -> Ratio:
        """Return how many times as long the one took as the other, in rounds that took turns."""
        return cls._of(above.median, below.median, above.seconds, below.seconds)

    @classmethod
    def by_cpu(cls, above: Timing, below: Timing) -> Ratio:
        """Return how many times as much CPU time the one took as the other, in the same rounds."""
        return cls._of(above.cpu_median, below.cpu_median, above.cpu_seconds, below.cpu_seconds)

    @classmethod
    def _of(cls, above: float, below: float, each_above: Sequence[float], each_below: Sequence[float]) -> Ratio:
        rounds = [one / other for one, other in zip(each_above, each_below, strict=True)]
        return cls(above / below, float(np.min(rounds)), float(np.max(rounds)), len(rounds))

    def __str__(self) -> str:
        """Return the median and the range as text."""
        return f"{self.median:.2f}x ({self.least:.2f}x to {self.most:.2f}x in {self.rounds} rounds)"


def measure(sides: Mapping[str, Callable[[], None]], rounds: int, device: str) -> dict[str, Timing]:
    """Time the sides in turns, so that what slows the machine slows them all, after one round to warm up.

    Args:
        sides: Name -> one whole pass over the texts.
        rounds: Rounds that count.
        device: Device to wait for before the clock is read.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with progress("reading the clock", rounds + 1, unit="rounds") as bar:
        for round_index in range(rounds + 1):
            for name, one_pass in sides.items():
                _wait(device)
                started = time.perf_counter(), time.process_time()
                one_pass()
                _wait(device)
                if round_index:
                    found[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
            bar.update()
    return {name: Timing(name, *zip(*values, strict=True)) for name, values in found.items()}


def system_pass(system: System, texts: Sequence[EncodedText], batch_size: int) -> Callable[[], None]:
    """Return one whole pass of a system, for :func:`measure`.

    Args:
        system: System that runs.
        texts: All texts of the pass.
        batch_size: Texts that run together.
    """
    return ordered_pass(system, [texts[place] for place in text_order(system, texts)], batch_size)


def ordered_pass(system: System, texts: Sequence[EncodedText], batch_size: int) -> Callable[[], None]:
    """Return one whole pass of a system in the order that the texts have; see :func:`system_pass`.

    Args:
        system: System that runs.
        texts: All texts of the pass.
        batch_size: Texts that run together.
    """
    batches = [texts[first : first + batch_size] for first in range(0, len(texts), batch_size)]

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                system.run(TextBatch.from_texts(batch, system.device))

    return run


def time_systems(
    systems: Mapping[str, System], texts: Sequence[EncodedText], batch_size: int, rounds: int
) -> dict[str, Timing]:
    """Time systems in turns on the same texts; see :func:`measure`.

    Args:
        systems: Systems by name, all on one device.
        texts: All texts of a round.
        batch_size: Texts that run together.
        rounds: Rounds that count.
    """
    passes = {name: system_pass(system, texts, batch_size) for name, system in systems.items()}
    return measure(passes, rounds, str(next(iter(systems.values())).device))


def model_systems(model: TokenReducedModel) -> dict[str, System]:
    """Return the three systems that wall speed-ups are ratios of, by ``"stock"``, ``"packed"`` and ``"reduced"``."""
    return against(model.backbone, ReducedSystem(model))


def against(model: PreTrainedModel, system: System) -> dict[str, System]:
    """Return a system and the unreduced ones that it is timed against; see :func:`read_clock`.

    Args:
        model: The unreduced task model.
        system: The system.
    """
    return {
        "stock": StockSystem(model, system.task),
        "packed": UnreducedSystem(StagedModel(model, system.task)),
        "reduced": system,
    }


def timed_model(model: TokenReducedModel, decision: DecisionRule, dtype: torch.dtype, device: str) -> TokenReducedModel:
    """Return a copy of a model to be timed, all of it in one number format.

    Args:
        model: Model; left as it is.
        decision: Decision rule to apply.
        dtype: Number format.
        device: Device.
    """
    timed = move(copy.deepcopy(model), device, dtype)
    timed.set_decision(decision)
    return timed


def system_flops_speedup(system: System, texts: Sequence[EncodedText]) -> float:
    """Return the FLOPs speed-up of a system on just these texts, over its reference."""
    full, spent = 0.0, 0.0
    with torch.inference_mode():
        for first in range(0, len(texts), BATCH_SIZE):
            output = system.run(TextBatch.from_texts(texts[first : first + BATCH_SIZE], system.device))
            full += float(output.full_flops.sum())
            spent += float(output.flops.sum())
    return full / spent


def placed_reduced(model: TokenReducedModel, device: str, dtype: torch.dtype) -> TokenReducedModel:
    """Return a model whose encoder computes in a number format, its policy in float32: a copy where it does not fit.

    Args:
        model: Model; left as it is.
        device: Device that is wanted.
        dtype: Number format of the encoder.
    """
    model.eval()  # type: ignore[no-untyped-call]
    wanted = torch.device(device)
    fits = (
        model.device == wanted
        and model.backbone.dtype == dtype
        and next(model.policy.parameters()).dtype == torch.float32
    )
    if fits:
        return model
    copied = move(copy.deepcopy(model), wanted, torch.float32)
    move(copied.backbone, wanted, dtype)
    return copied


@dataclass(frozen=True)
class ClockReading:
    """Speed-ups of a system by the clock and by CPU time.

    Attributes:
        wall: Speed-ups by the clock, over ``"stock"`` transformers and over the ``"packed"`` encoder.
        cpu: The same by CPU time, where it is known; empty on a GPU, where it tells nothing.
        load: Work of other processes meanwhile.
    """

    wall: Mapping[str, Ratio]
    cpu: Mapping[str, Ratio]
    load: Load

    @property
    def clock(self) -> Clock:
        """The wall speed-ups alone."""
        return Clock(self.wall["stock"].median, self.wall["packed"].median)


def read_clock(systems: Mapping[str, System], texts: Sequence[EncodedText], rounds: int = ROUNDS) -> ClockReading:
    """Measure the speed-ups of a system on a sample of the texts.

    Args:
        systems: Systems to time in turns, by ``"stock"``, ``"packed"`` and ``"reduced"``; all of one number format and
            on one device.
        texts: Texts to take the sample from.
        rounds: Rounds that count.
    """
    watch = LoadWatch()
    with watch:
        timings = time_sample(systems, texts, rounds)
    reduced, sides = timings["reduced"], ("stock", "packed")
    by_cpu = {name: Ratio.by_cpu(timings[name], reduced) for name in sides if systems["reduced"].device.type == "cpu"}
    return ClockReading(
        {name: Ratio.of(timings[name], reduced) for name in sides},
        {name: ratio for name, ratio in by_cpu.items() if not math.isnan(ratio.median)},
        watch.load,
    )


def time_sample(systems: Mapping[str, System], texts: Sequence[EncodedText], rounds: int) -> dict[str, Timing]:
    """Time systems in turns on a sample of the texts; see :func:`time_systems`.

    Args:
        systems: Systems by name, all of one number format and on one device.
        texts: Texts to take the sample of :data:`TIMED_TEXTS` from.
        rounds: Rounds that count.
    """
    chosen = np.random.default_rng(0).permutation(len(texts))[:TIMED_TEXTS]
    return time_systems(systems, [texts[index] for index in chosen], BATCH_SIZE, rounds)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
