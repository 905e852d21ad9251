"""Stage 1: fine-tune an encoder on a task, packed, and leave it where environments find it."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.distillation import computing_in
from agents.joint import warmup_decay
from runners.cli.display import announce
from runners.cli.options import (
    DataOptions,
    EncoderOptions,
    Group,
    RunOptions,
    refuse_unused,
    resolve_device,
)
from runners.cli.run import run
from runners.evaluation.passes import evaluation_conditions, measure_unreduced, print_quality
from runners.evaluation.record import EvaluationRecord, Measured
from runners.runs.files import replacing_folder
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession
from runners.runs.tracking import Tracker, track_end
from runners.training.loading import RunExamples, Splits
from runners.training.loop import train
from runners.training.precision import training_dtype
from runners.training.start import identity_facts
from trbert_env.data.backbones import (
    EMBEDDED_BACKBONE,
    check_cache,
    fine_tuned_folder,
    leave_fine_tuned,
    move,
)
from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.ranges import Range
from trbert_env.staged_model import StagedModel


@dataclass(frozen=True)
class FinetuneTrainingOptions:
    """The training of stage 1."""

    epochs: Annotated[float, Range(above=0, most=1_000_000)] | None = None
    """Passes over the training split; when not given, the data set's own number, or one for the small encoder, and as
    many as 250 steps take."""

    learning_rate: Annotated[float, Range(0)] | None = None
    """Peak learning rate of AdamW; when not given, the data set's own, or 3e-4 for the small encoder."""

    batch_size: Annotated[int, Range(1)] | None = None
    """Texts of one step; the data set's own number when not given."""

    dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Dropout of hidden states; attention has none, because packed kernels have none."""

    checkpoint_every: Annotated[int, Range(1)] = 500
    """Steps between two checkpoints."""


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of the runner of stage 1."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    training: Group[FinetuneTrainingOptions] = field(default_factory=FinetuneTrainingOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        refuse_unused(self, reduction_layers="stage 1 skips nothing, leave it out")


#: The small encoder wants larger and more steps than the presets' BERT-base: chosen on the embedded corpus.
SMALL_LEARNING_RATE, SMALL_BATCH_SIZE, SMALL_EPOCHS = 3e-4, 16, 1.0
#: Steps that it needs, however few the texts are.
SMALL_STEPS = 250


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps.
        batch_size: Texts of one step.
        learning_rate: The peak.
        warmup: Share of the steps over which the rate rises from 0.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: float

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0-based."""
        return self.learning_rate * warmup_decay(step / self.steps, (step + 1) / self.steps, self.warmup)


def make_schedule(options: FinetuneTrainingOptions, workload: Workload) -> Schedule:
    """Fill what the options leave open from the preset."""
    preset = workload.preset
    small = workload.backbone.name == EMBEDDED_BACKBONE
    default_rate = SMALL_LEARNING_RATE if small else preset.learning_rate
    rate = default_rate if options.learning_rate is None else options.learning_rate
    batch_size = options.batch_size or (SMALL_BATCH_SIZE if small else preset.batch_size)
    default_epochs = SMALL_EPOCHS if small else preset.epochs
    epochs = default_epochs if options.epochs is None else options.epochs
    steps = max(1, round(epochs * len(workload.texts) / batch_size))
    if small and options.epochs is None:
        steps = max(steps, SMALL_STEPS)
    return Schedule(steps, batch_size, rate, preset.warmup)


class Finetuner:
    """Trains all parameters of a task model on the gold answers.

    Args:
        workload: Texts and the model, which is trained in place.
        schedule: How long and how fast.
        device: Device to compute on.
        dtype: ``"float32"`` or ``"bfloat16"``: what autocast computes in; weights stay float32.
        dropout: Dropout of hidden states.
        seed: Fixes the order of the texts and the dropout.
    """

    def __init__(
        self, workload: Workload, schedule: Schedule, device: torch.device, dtype: str, dropout: float, seed: int
    ) -> None:
        self.workload, self.schedule, self.device = workload, schedule, device
        self.dtype, self.seed = dtype, seed
        self.model = move(workload.backbone.model, device, torch.float32).train()
        self.model.requires_grad_(True)
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        self.staged = StagedModel(self.model, workload.task)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=schedule.learning_rate, weight_decay=0.01)
        self.updates = 0
        torch.manual_seed(seed)

    @property
    def texts_seen(self) -> int:
        """Texts so far, repeats counted."""
        return self.updates * self.schedule.batch_size

    @property
    def total_texts(self) -> int:
        """Texts of the whole run."""
        return self.schedule.steps * self.schedule.batch_size

    def step(self) -> dict[str, float]:
        """One optimiser step; returns metrics to log."""
        rate = self.schedule.rate(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.loss(self._texts())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        metrics = {"losses/task_loss": float(loss.detach()), "losses/gradient_norm": float(norm)}
        return metrics | {"charts/learning_rate": rate}

    def watch(self, tracker: Tracker) -> None:
        """Nothing along the way."""

    def loss(self, texts: list[EncodedText]) -> Tensor:
        """Mean negative log-likelihood of the gold answers."""
        batch = TextBatch.from_texts(texts, self.device)
        task = self.workload.task
        with computing_in(self.dtype, self.device):
            logits = self.staged(batch)
        targets = task.targets(texts).to(self.device)
        return -task.log_likelihood(logits.float(), batch.layout, targets).mean()

    def _texts(self) -> list[EncodedText]:
        """The batch of this step: a slice of the epochs' shuffled order, which the seed fixes."""
        texts, size = self.workload.texts, self.schedule.batch_size
        first = self.updates * size
        batch = []
        for position in range(first, first + size):
            epoch, place = divmod(position, len(texts))
            order = self._epoch_order(epoch)
            batch.append(texts[order[place]])
        return batch

    def _epoch_order(self, epoch: int) -> Any:
        if getattr(self, "_order_epoch", None) != epoch:
            self._order_epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.workload.texts))
        return self._order

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """All parameters."""
        yield from self.model.named_parameters()

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.updates,
            "generator": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["step"]
        torch.set_rng_state(state["generator"])


def finetune(options: FinetuneOptions) -> Path | None:
    """Run stage 1; returns the folder of the fine-tuned backbone, None where a resumed run had ended already."""
    with RunSession(options) as session:
        if session.find_ended() is not None:
            return None
        options = session.options
        device = resolve_device(options.run.device)
        splits = load_splits(options)
        workload = splits.train
        key = options.data.request().cache_key(workload.data_source)
        target = fine_tuned_folder(workload.preset, workload.backbone.name, key)
        check_cache(target)
        dtype = training_dtype(options.run.dtype, device)
        facts = {"backbone": workload.backbone.source, "dtype": dtype}
        folder = session.begin("finetune", options.encoder.backbone or "default", facts | identity_facts(splits))
        schedule = make_schedule(options.training, workload)
        trainer = Finetuner(workload, schedule, device, dtype, options.training.dropout, options.run.seed)
        train(
            trainer,
            folder,
            label="fine-tuning",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={"loss": "losses/task_loss"},
        )
        return finish(trainer, folder, splits.validation, options)


def load_splits(options: FinetuneOptions) -> Splits:
    """Load the texts, for the encoder as it was before any fine-tuning of ours."""
    examples = RunExamples.load(options.data)
    torch.manual_seed(options.run.seed)  # a new task head draws its first weights
    backbone = examples.load_encoder(options.encoder, pretrained=True)
    if not backbone.fine_tuned:
        reason = backbone.unfit_head or f"backbone '{backbone.name}' has no task head for {options.data.env}"
        announce(f"{reason}: a new head is trained from random weights")
    return examples.encode(backbone)


def finish(trainer: Finetuner, folder: RunFolder, validation: Workload, options: FinetuneOptions) -> Path:
    """Save the model, leave it where environments look, and evaluate it; ``metrics.json`` comes last."""
    workload = trainer.workload
    backbone = workload.backbone
    with replacing_folder(folder.model_dir) as partial:
        backbone.model.save_pretrained(partial)
        backbone.tokenizer.save_pretrained(partial)
    key = options.data.request().cache_key(workload.data_source)
    target = leave_fine_tuned(folder.model_dir, workload.preset, backbone.name, key)
    validation = replace(validation, backbone=backbone.as_fine_tuned())
    quality = measure_unreduced(validation, "float32", str(trainer.device))
    conditions = evaluation_conditions(validation, "float32")
    record = EvaluationRecord(conditions, Measured(quality), full=quality).to_flat()
    track_end(folder.events_dir, options, record, trainer.total_texts)
    title = f"fine-tuned backbone on {conditions.env} {conditions.split}, {conditions.num_examples:,} examples"
    print_quality(title, quality)
    folder.write_metrics(record)
    return target


def main(options: FinetuneOptions) -> None:
    """Stage 1: fine-tune an encoder on a task, packed, and leave it where environments find it."""
    target = finetune(options)
    if target is not None:
        announce(f"environments with this backbone and data source now find the fine-tuned weights in {target}")


if __name__ == "__main__":
    run(main, FinetuneOptions)
