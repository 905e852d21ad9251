"""Training of a compared system: its options, its phases and its updates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.distillation import Teacher, computing_in
from agents.learning import warmup_decay
from baselines.base import ComparedSystem, Reference
from baselines.layers import run_with_states
from baselines.lesson import Lesson
from baselines.registry import system_class
from runners.cli.display import progress
from runners.evaluation.quality import measure_quality
from runners.evaluation.record import watched_curves
from runners.runs.tracking import Tracker
from runners.training.loading import Splits
from runners.training.loop import default_texts, milestones
from runners.training.options.baseline import TrainBaselineOptions
from runners.training.precision import training_dtype
from runners.training.supervised import set_dropout
from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.text_order import TextOrder
from trbert_env.tasks.varied import drawn_text

#: Texts of a run, where no number is given.
DEFAULT_TEXTS = 24_000
#: Training texts that a target speed-up is counted on.
AIMING_TEXTS = 1_000


def make_system(options: TrainBaselineOptions, workload: Workload) -> ComparedSystem[Any]:
    """Make the untrained system on the workload's model, which it trains in place.

    Args:
        options: Options of the run.
        workload: Training texts and the encoder.

    Raises:
        ValueError: The options do not fit the encoder or the task, or the speed-up cannot be reached.
    """
    kind, own = system_class(options.system), options.own_options()
    model, task = workload.backbone.model, workload.task
    if options.target_speedup is not None:
        texts = [workload.texts[index] for index in range(min(AIMING_TEXTS, len(workload.texts)))]
        own = kind.aimed(own, options.target_speedup, model, task, texts)
    return kind(model, task, own, Reference.of(model, workload.backbone.name))


class BaselineTraining:
    """A run of a compared system: what is trained, how far it is, and its checkpoints.

    Args:
        system: The system, on its device; trained in place.
        splits: Its texts.
        teacher: Teacher to distil from.
        options: Options of the run.
    """

    def __init__(
        self, system: ComparedSystem[Any], splits: Splits, teacher: Teacher, options: TrainBaselineOptions
    ) -> None:
        self.system, self.options = system, options
        self.workload, self.holdout = splits.train, splits.holdout
        self._teacher = teacher
        training, run = options.training, options.run
        self.device, self.dtype = system.device, training_dtype(run.dtype, system.device)
        self._order = TextOrder(len(self.workload.texts), "shuffle")
        self._generator = np.random.default_rng(run.seed)
        self.updates, self.phase = 0, 0
        default = default_texts(DEFAULT_TEXTS, len(self.workload.texts), training.texts_per_step)
        total = max(len(system.phases), round((training.total_texts or default) / training.texts_per_step))
        self._ends = phase_ends([phase.share for phase in system.phases], total)
        system.model.requires_grad_(True)
        set_dropout(system.model, 0.0)  # as in our own training
        torch.manual_seed(run.seed)
        self._optimizer: torch.optim.Optimizer | None = None
        self._peaks: list[float] = []

    @property
    def texts_seen(self) -> int:
        """Texts so far, repeats counted."""
        return self.updates * self.options.training.texts_per_step

    @property
    def total_texts(self) -> int:
        """Texts of the whole run."""
        return self._ends[-1] * self.options.training.texts_per_step

    def step(self) -> dict[str, float]:
        """One update; the first of a phase prepares it, and the last of all ends the training."""
        if self._optimizer is None:
            self._prepare()
            self._optimizer = self._make_optimizer()
        length = self._ends[self.phase] - self._first
        done = self.updates - self._first
        factor = warmup_decay(done / length, (done + 1) / length, self.options.learning.warmup)
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self._optimizer.zero_grad(set_to_none=True)
        self.system.train()
        loss = self._descend()
        norm = torch.nn.utils.clip_grad_norm_(self.system.weights, self.options.learning.max_encoder_norm)
        self._optimizer.step()
        self.system.constrain()
        self.system.eval()
        self.updates += 1
        if self.updates == self._ends[self.phase]:
            self.phase, self._optimizer = self.phase + 1, None
            if self.phase == len(self._ends):
                self._prepare()
        return {
            "losses/task_loss": loss,
            "losses/gradient_norm": float(norm),
            "charts/learning_rate": self.options.learning.peak_rate * factor,
            "charts/phase": float(self.phase),
        }

    def _descend(self) -> float:
        """Back-propagate the parts of the loss on the next texts; returns their sum."""
        numbers, _ = self._order.draw(self.options.training.texts_per_step, self._generator)
        lesson = self._lesson([drawn_text(self.workload.texts, number) for number in numbers])
        total = 0.0
        parts = self.system.losses(self.phase, lesson)
        while True:
            with computing_in(self.dtype, self.device):
                part = next(parts, None)
            if part is None:
                return total
            part.backward()
            total += float(part.detach())

    def _prepare(self) -> None:
        """Let the system measure what it needs before the phase, or behind the last one, on texts in random order."""
        self.system.eval()
        with computing_in("float32", self.device):  # for scores that are compared with thresholds
            self.system.begin(self.phase, self._lessons())
        if self.phase < len(self._ends) or not (size := self.system.search_size):
            return
        label = f"{self.system.name}: searching"
        with progress(label, size, unit="configurations") as bar, computing_in(self.dtype, self.device):
            self.system.search(self._lessons(), bar.update)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        rate = self.options.learning.peak_rate
        groups: list[dict[str, Any]] = [{"params": list(self.system.model.parameters()), "weight_decay": 0.01}]
        extra = self.system.extra_parameters(self._ends[self.phase] - self._first)
        groups += [{"params": [one], "weight_decay": 0.0} for one, _ in extra]
        self._peaks = [rate, *(peak for _, peak in extra)]
        return torch.optim.AdamW(groups, lr=rate, fused=True)

    @property
    def _first(self) -> int:
        """Updates before the phase."""
        return self._ends[self.phase - 1] if self.phase else 0

    def _lessons(self) -> Iterator[Lesson]:
        # What is chosen once training is over is chosen on texts that nothing has learned from, where there are any.
        over = self.phase == len(self._ends)
        texts = self.holdout.texts if over and self.holdout is not None else self.workload.texts
        order = np.random.default_rng([self.options.run.seed, self.phase]).permutation(len(texts))
        size = self.options.training.texts_per_step
        for first in range(0, len(order), size):
            yield self._lesson([drawn_text(texts, int(number)) for number in order[first : first + size]])

    def _lesson(self, texts: Sequence[EncodedText]) -> Lesson:
        batch, task, learning = TextBatch.from_texts(texts, self.device), self.workload.task, self.options.learning

        def show() -> list[Tensor]:
            with torch.no_grad(), computing_in(self.dtype, self.device):
                return run_with_states(self._teacher.encoder, batch)

        def teach(states: Tensor | None) -> Tensor:
            if states is None:
                return self._teacher.logits(texts)
            with torch.no_grad(), computing_in(self.dtype, self.device):
                return self._teacher.logits(texts, self._teacher.encoder.finish(states))

        targets = task.targets(texts).to(self.device)
        return Lesson(batch, task, targets, learning.distillation, learning.temperature, teach, show)

    def watch(self, tracker: Tracker) -> None:
        """Quality on the held-out texts, now and then."""
        if self.holdout is None or self.updates not in milestones(self._ends[-1], self.options.training.watch):
            return
        with computing_in(self.dtype, self.device):
            curves = watched_curves(None, measure_quality(self.system, self.holdout))
        tracker.log(curves, self.texts_seen)
        shown = "  ".join(f"{key.partition('/')[2]} {value:.2f}" for key, value in curves.items())
        print(f"held out, after {self.texts_seen:,} texts: {shown}", flush=True)

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """All parameters."""
        yield from self.system.named_parameters()

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        return {
            "updates": self.updates,
            "phase": self.phase,
            "settings": self.system.settings,
            "system": self.system.state_dict(),
            "optimizer": None if self._optimizer is None else self._optimizer.state_dict(),
            "order": self._order.state_dict(),
            "generator": self._generator.bit_generator.state,
            "torch": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.updates, self.phase = state["updates"], state["phase"]
        self.system.load_settings(state["settings"])
        self.system.load_state_dict(state["system"])
        if state["optimizer"] is not None:
            self._optimizer = self._make_optimizer()
            self._optimizer.load_state_dict(state["optimizer"])
        self._order.load_state_dict(state["order"])
        self._generator.bit_generator.state = state["generator"]
        torch.set_rng_state(state["torch"])


def phase_ends(shares: Sequence[float], updates: int) -> list[int]:
    """Return the update that each phase ends before, at least one a phase.

    Args:
        shares: Shares of the phases, which add up to 1.
        updates: Updates of the whole run, at least one a phase.

    Example:
        >>> phase_ends([0.5, 0.5], 9), phase_ends([0.01, 0.99], 3), phase_ends([1.0], 4)
        ([4, 9], [1, 3], [4])
    """
    ends, total = list[int](), 0.0
    for number, share in enumerate(shares):
        total += share
        left = len(shares) - number - 1
        lowest = (ends[-1] if ends else 0) + 1
        ends.append(updates if not left else min(updates - left, max(lowest, round(total * updates))))
    return ends
