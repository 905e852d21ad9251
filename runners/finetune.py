"""Stage 1: fine-tune an encoder on a task, packed, and leave it where environments find it."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from agents.distillation import computing_in
from runners.cli.display import announce
from runners.cli.flags import command_line, refuse_unused
from runners.cli.options import DataOptions, EncoderOptions, Group, RunOptions, resolve_device
from runners.cli.run import run
from runners.evaluation.passes import evaluation_conditions, measure_unreduced, print_quality
from runners.evaluation.record import EvaluationRecord, Measured
from runners.runs.earlier import data_of_run
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession
from runners.runs.tracking import Tracker, track_end
from runners.training.loading import RunExamples, Splits
from runners.training.loop import train
from runners.training.precision import training_dtype
from runners.training.start import identity_facts
from runners.training.supervised import Schedule, SupervisedTraining, set_dropout
from trbert_env.data.backbones import move
from trbert_env.data.cache import check_cache, fine_tuned_folder, leave
from trbert_env.data.checkpoints import EMBEDDED_BACKBONE
from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import TextBatch
from trbert_env.folders import replacing_folder
from trbert_env.ranges import Range
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.varied import drawn_text


@dataclass(frozen=True)
class FinetuneTrainingOptions:
    """The training of stage 1."""

    epochs: Annotated[float, Range(above=0, most=1_000_000)] | None = None
    """Passes over the training split; when not given, the data set's own number, or one for the small encoder, and as
    many as 250 steps take."""

    learning_rate: Annotated[float, Range(0)] | None = None
    """Peak learning rate of AdamW; when not given, the data set's own, or for the small encoder 1e-4, on embedded data
    3e-4."""

    batch_size: Annotated[int, Range(1)] | None = None
    """Texts of one step; the data set's own number when not given."""

    dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Dropout of hidden states; attention has none, because packed kernels have none."""

    checkpoint_every: Annotated[int, Range(1)] = 500
    """Steps between two checkpoints."""


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of the runner of stage 1."""

    #: Flags that other stages have, and what to give here.
    withdrawn: ClassVar[dict[str, str]] = {
        "--total-texts": "stage 1 counts epochs in place of --total-texts: give --epochs 0.5, or --max-train-texts 1000"
    }

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    training: Group[FinetuneTrainingOptions] = field(default_factory=FinetuneTrainingOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        refuse_unused(self, reduction_layers="stage 1 skips nothing, leave it out")


#: The small encoder wants larger and more steps than the presets' BERT-base.
SMALL_BATCH_SIZE, SMALL_EPOCHS = 16, 1.0
#: Its learning rate on the embedded corpora, on which it was chosen, and on real text, where IMDB diverged by it.
EMBEDDED_RATE, REAL_RATE = 3e-4, 1e-4
#: Steps that it needs, however few the texts are.
SMALL_STEPS = 250


def make_schedule(options: FinetuneTrainingOptions, workload: Workload, num_texts: int | None = None) -> Schedule:
    """Fill what the options leave open from the preset.

    Args:
        options: Options of the training.
        workload: Training texts and the encoder.
        num_texts: Number of training texts; those of the workload where it is None.
    """
    split = len(workload.texts) if num_texts is None else num_texts
    preset = workload.preset
    small = workload.backbone.name == EMBEDDED_BACKBONE
    small_rate = EMBEDDED_RATE if workload.data_source == "embedded" else REAL_RATE
    default_rate = small_rate if small else preset.learning_rate
    rate = default_rate if options.learning_rate is None else options.learning_rate
    batch_size = options.batch_size or (SMALL_BATCH_SIZE if small else preset.batch_size)
    default_epochs = SMALL_EPOCHS if small else preset.epochs
    epochs = default_epochs if options.epochs is None else options.epochs
    steps = max(1, round(epochs * split / batch_size))
    if small and options.epochs is None:
        steps = max(steps, SMALL_STEPS)
    return Schedule(steps, batch_size, rate, preset.warmup)


class Finetuner(SupervisedTraining):
    """Trains all parameters of a task model on the gold answers.

    Args:
        workload: Texts and the model, which is trained in place.
        schedule: Steps, batch size and learning rate.
        device: Device to compute on.
        dtype: ``"float32"`` or ``"bfloat16"``: what autocast computes in; weights stay float32.
        dropout: Dropout of hidden states.
        seed: Fixes the order of the texts and the dropout.
    """

    loss_key = "losses/task_loss"

    def __init__(
        self, workload: Workload, schedule: Schedule, device: torch.device, dtype: str, dropout: float, seed: int
    ) -> None:
        self.workload, self.device, self.dtype = workload, device, dtype
        model = move(workload.backbone.model, device, torch.float32).train()
        set_dropout(model, dropout)
        self.staged = StagedModel(model, workload.task)
        super().__init__(model, schedule, len(workload.texts), seed)

    def losses(self, numbers: list[int]) -> Iterator[Tensor]:
        """Yield the mean negative log-likelihood of the gold answers; see :meth:`SupervisedTraining.losses`."""
        texts = [drawn_text(self.workload.texts, number) for number in numbers]
        batch = TextBatch.from_texts(texts, self.device)
        task = self.workload.task
        with computing_in(self.dtype, self.device):
            logits = self.staged(batch)
        targets = task.targets(texts).to(self.device)
        yield -task.log_likelihood(logits.float(), batch.layout, targets).mean()

    def watch(self, tracker: Tracker) -> None:
        """Nothing along the way."""


def finetune(options: FinetuneOptions) -> RunFolder:
    """Run stage 1 to its end; returns the run's folder. The fine-tuned backbone is left in the cache too."""
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        device = resolve_device(options.run.device)
        splits = load_splits(options)
        workload = splits.train
        key = options.data.request().cache_key(workload.data_source)
        target = fine_tuned_folder(workload.preset, workload.backbone.name, key, workload.backbone.extended_to)
        check_cache(target)
        dtype = training_dtype(options.run.dtype, device)
        facts = {**workload.backbone.facts, "dtype": dtype}
        named = options.encoder.backbone or "default"
        folder = session.begin(options.data.env, "finetune", named, facts | identity_facts(splits))
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
        finish(trainer, folder, splits.validation, target, options)
        announce(f"environments with this backbone and data source now find the fine-tuned weights in {target}")
        return folder


def load_splits(options: FinetuneOptions) -> Splits:
    """Load the texts, for the encoder as it was before any fine-tuning of ours."""
    examples = RunExamples.load(options.data)
    torch.manual_seed(options.run.seed)  # a new task head draws its first weights
    backbone = examples.load_encoder(options.encoder, pretrained=True)
    if not backbone.fine_tuned:
        reason = backbone.unfit_head or f"backbone '{backbone.name}' has no task head for {options.data.env}"
        announce(f"{reason}: a new head is trained from random weights")
    return examples.encode(backbone)


def finish(trainer: Finetuner, folder: RunFolder, validation: Workload, target: Path, options: FinetuneOptions) -> None:
    """Save the model, leave it where environments look, and evaluate it; ``metrics.json`` comes last."""
    backbone = trainer.workload.backbone
    with replacing_folder(folder.model_dir) as partial:
        backbone.model.save_pretrained(partial)
        backbone.tokenizer.save_pretrained(partial)
    leave(folder.model_dir, target, {"texts": len(trainer.workload.texts), "updates": trainer.schedule.steps})
    validation = replace(validation, backbone=backbone.as_fine_tuned())
    quality = measure_unreduced(validation, "float32", str(trainer.device))
    conditions = evaluation_conditions(validation, "float32")
    record = EvaluationRecord(conditions, Measured(quality), full=quality).to_flat()
    track_end(folder.events_dir, options, record, trainer.total_texts)
    title = f"fine-tuned backbone on {conditions.env} {conditions.split}, {conditions.num_examples:,} examples"
    print_quality(title, quality)
    folder.write_metrics(record)


def main(options: FinetuneOptions) -> None:
    """Stage 1: fine-tune an encoder on a task, packed, and leave it where environments find it."""
    folder = finetune(options)
    run_dir = shlex.quote(str(folder.path))
    print(f"watch the curves: tensorboard --logdir {run_dir}")
    print(f"use the encoder: --backbone {run_dir} of other runners, or as a model of transformers, {folder.model_dir}")
    print(f"make it faster: python runners/make_faster.py --model {run_dir} --target-speedup 2 {read_alike(folder)}")


def read_alike(folder: RunFolder) -> str:
    """Return the options by which another runner reads the texts as a run of stage 1 did, as words of a command line.

    Args:
        folder: Folder of the run.
    """
    data, read = data_of_run(folder.path, DataOptions()), folder.read_options(FinetuneOptions).data
    data = replace(data, env=DataOptions().env, task_options=read.task_options, max_length=read.max_length)
    return shlex.join(["--env", read.env, *command_line(FinetuneOptions(data=data))])


if __name__ == "__main__":
    run(main, FinetuneOptions)
