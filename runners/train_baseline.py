"""Train a compared system from the same start, by the same teacher and on the same texts as ours, and measure it."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import copy
from dataclasses import replace

import torch

from agents.distillation import Teacher
from baselines.registry import system_class
from baselines.saving import SystemRecord, save_system
from runners.cli.display import print_end
from runners.cli.options import resolve_device
from runners.cli.run import run
from runners.evaluation.evaluations import evaluate_system, measure_system
from runners.evaluation.passes import check_conditions, evaluation_conditions
from runners.evaluation.record import EvaluationRecord, Identity
from runners.runs.earlier import earlier_record
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.baseline import BaselineTraining, make_system
from runners.training.loading import Holdout, RunExamples
from runners.training.loop import train
from runners.training.options.baseline import TrainBaselineOptions
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import identity_facts
from runners.training.teaching import check_memory, check_temperature, load_fine_tuned, load_teacher, remember
from trbert_env.data.backbones import check_texts, move
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.folders import replacing_folder


def train_baseline(options: TrainBaselineOptions) -> RunFolder:
    """Train and measure a compared system; returns the run's folder."""
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        session.options = options = with_rate(session.options)
        device = resolve_device(options.run.device)
        earlier = earlier_record(options.full_from)
        examples = RunExamples.load(options.data, Holdout(options.training.holdout_texts))
        start = load_fine_tuned(options.encoder, options.data.env, examples)
        teacher_model = load_teacher(options.training.teacher, options.data.env, start, examples)
        splits = examples.encode(start)
        check_temperature(options, splits.train.task)
        check_texts(teacher_model, splits.train.texts, splits.train.task)
        check_conditions(evaluation_conditions(splits.validation, evaluation_dtype(options.run.dtype)), earlier)
        model = move(copy.deepcopy(start.model), device, torch.float32).eval()
        system = make_system(options, replace(splits.train, backbone=replace(start, model=model)))
        system.check_teacher(teacher_model.model)
        taught_by = move(copy.deepcopy(teacher_model.model), device, torch.float32).eval()
        teacher = Teacher(taught_by, splits.train.task, training_dtype(options.run.dtype, device))
        if options.training.remember_teacher:
            check_memory(splits.train)
        facts = start.facts | {"teacher": teacher_model.source, "teacher_fingerprint": fingerprint_model(taught_by)}
        facts |= {"dtype": training_dtype(options.run.dtype, device), "system": system.settings}
        folder = session.begin(options.data.env, "baseline", options.system, facts | identity_facts(splits))
        if options.training.remember_teacher:
            remember(teacher, splits.train)
        training = BaselineTraining(system, splits, teacher, options)
        train(
            training,
            folder,
            label=f"training {system.name}",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={"loss": "losses/task_loss", "phase": "charts/phase"},
        )
        finish(training, folder, splits.validation, earlier)
        return folder


def with_rate(options: TrainBaselineOptions) -> TrainBaselineOptions:
    """Return the options with the encoder's rate that the run has, for its record; as they are where it has none.

    Args:
        options: Options of the run.
    """
    if "encoder_rate" in system_class(options.system).unread(options.own_options()):
        return options
    return replace(options, learning=replace(options.learning, encoder_rate=options.learning.peak_rate))


def finish(
    training: BaselineTraining, folder: RunFolder, validation: Workload, earlier: EvaluationRecord | None
) -> None:
    """Save the system and evaluate it; ``metrics.json`` comes last."""
    system, options, start = training.system, training.options, validation.backbone
    record = SystemRecord.of(system, options.data.env, start.source, fingerprint_model(start.model))
    with replacing_folder(folder.model_dir) as partial:
        save_system(system, start.tokenizer, partial, record)
    dtype, device, holdout = evaluation_dtype(options.run.dtype), str(system.device), training.holdout
    found = replace(
        evaluate_system(system, validation, dtype, device, earlier),
        holdout=None if holdout is None else measure_system(system, holdout, dtype, device),
        identity=Identity(fingerprint_model(system.model)),
    ).to_flat()
    track_end(folder.events_dir, options, found, training.total_texts)
    folder.write_metrics(found)


def main(options: TrainBaselineOptions) -> None:
    """Train a compared system from the same start, by the same teacher and on the same texts as ours."""
    folder = train_baseline(options)
    print_end(folder.path, folder.model_dir, loader="baselines.saving.load_system")


if __name__ == "__main__":
    run(main, TrainBaselineOptions)
