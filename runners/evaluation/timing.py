"""Clock times, as ratios of one run: the same weights, texts and batch size on every side."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from runners.evaluation.stock import stock_pass
from trbert_env.data.backbones import move
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Task

#: Texts that the clock is read on at the end of a training run; the benchmark takes its own number.
TIMED_TEXTS = 128
BATCH_SIZE = 32


@dataclass(frozen=True)
class Timing:
    """One side of a comparison.

    Attributes:
        name: What ran.
        seconds: Seconds of each round.
    """

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)


def measure(sides: dict[str, Callable[[], None]], rounds: int, device: str) -> dict[str, Timing]:
    """Time the sides in turns, so that what slows the machine slows them all, after one round to warm up.

    Args:
        sides: Name -> one whole pass over the texts.
        rounds: Rounds that count.
        device: What to wait for before reading the clock.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_index in range(rounds + 1):
        for name, one_pass in sides.items():
            _wait(device)
            started = time.perf_counter()
            one_pass()
            _wait(device)
            if round_index:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing(name, tuple(values)) for name, values in seconds.items()}


def keep_all_pass(
    model: PreTrainedModel, task: Task, texts: Sequence[EncodedText], batch_size: int, device: str
) -> Callable[[], None]:
    """Our packed encoder, unreduced."""
    staged = StagedModel(model, task)

    def run() -> None:
        with torch.inference_mode():
            for first in range(0, len(texts), batch_size):
                batch = TextBatch.from_texts(texts[first : first + batch_size], device)
                staged(batch)

    return run


def reduced_pass(
    model: TokenReducedModel, texts: Sequence[EncodedText], batch_size: int, device: str
) -> Callable[[], None]:
    """The token-reduced model, its policy included."""

    def run() -> None:
        with torch.inference_mode():
            for first in range(0, len(texts), batch_size):
                model.forward_packed(TextBatch.from_texts(texts[first : first + batch_size], device))

    return run


def model_flops_speedup(model: TokenReducedModel, texts: Sequence[EncodedText], device: str) -> float:
    """The FLOPs speed-up on just these texts."""
    full, reduced = 0.0, 0.0
    with torch.inference_mode():
        for first in range(0, len(texts), BATCH_SIZE):
            output = model.forward_packed(TextBatch.from_texts(texts[first : first + BATCH_SIZE], device))
            full += float(model.cost.full(output.layouts[0]).sum())
            reduced += float(model.cost.reduced(output.layouts).sum())
    return full / reduced


def wall_speedups(
    model: TokenReducedModel,
    decision: DecisionRule,
    texts: Sequence[EncodedText],
    dtype: torch.dtype,
    device: str,
    rounds: int = 3,
) -> dict[str, float]:
    """``wall_speedup_stock`` and ``wall_speedup_packed`` on a sample of the texts."""
    chosen = np.random.default_rng(0).permutation(len(texts))[:TIMED_TEXTS]
    sample = [texts[index] for index in chosen]
    timed = move(copy.deepcopy(model), device, dtype)
    timed.set_decision(decision)
    sides = {
        "stock": stock_pass(timed.backbone, timed.task, sample, BATCH_SIZE, device),
        "packed": keep_all_pass(timed.backbone, timed.task, sample, BATCH_SIZE, device),
        "reduced": reduced_pass(timed, sample, BATCH_SIZE, device),
    }
    timings = measure(sides, rounds, device)
    reduced = timings["reduced"].median
    return {
        "wall_speedup_stock": timings["stock"].median / reduced,
        "wall_speedup_packed": timings["packed"].median / reduced,
    }


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
