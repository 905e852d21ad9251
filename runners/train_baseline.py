"""Train a compared system from the same start, by the same teacher and on the same texts as ours, and measure it."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import copy
from dataclasses import replace
from typing import Any

import torch

from agents.distillation import Teacher
from baselines.base import ComparedSystem
from baselines.saving import SystemRecord, save_system
from runners.cli.display import print_end, progress
from runners.cli.options import resolve_device
from runners.cli.run import UserError, run
from runners.evaluation.passes import check_conditions, evaluate_system, evaluation_conditions, measure_system
from runners.evaluation.record import EvaluationRecord, Identity
from runners.joint_finetune import load_teacher
from runners.runs.files import replacing_folder
from runners.runs.run_folder import RunFolder, earlier_record
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.baseline import BaselineTraining, TrainBaselineOptions, make_system
from runners.training.loading import Holdout, RunExamples
from runners.training.loop import train
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import identity_facts
from trbert_env.data.backbones import Backbone, check_texts, move
from trbert_env.data.cache import cache_folder, check_cache
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.varied import check_lasting


def load_start(options: TrainBaselineOptions, examples: RunExamples) -> Backbone:
    """Load the fine-tuned encoder that the system starts from.

    Raises:
        UserError: It is not fine-tuned.
    """
    backbone = examples.load_encoder(options.encoder)
    if not backbone.fine_tuned:
        raise UserError(
            f"backbone '{backbone.name}' is not fine-tuned for {options.data.env}: run runners/finetune.py first"
        )
    return backbone


def train_baseline(options: TrainBaselineOptions) -> RunFolder:
    """Train and measure a compared system; returns the run's folder."""
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        device = resolve_device(options.run.device)
        earlier = earlier_record(options.full_from)
        examples = RunExamples.load(options.data, Holdout(options.training.holdout_texts))
        start = load_start(options, examples)
        teacher_model = load_teacher(options.training.teacher, options.data.env, start, examples)
        splits = examples.encode(start)
        check_texts(teacher_model, splits.train.texts, splits.train.task)
        check_conditions(evaluation_conditions(splits.validation, evaluation_dtype(options.run.dtype)), earlier)
        model = move(copy.deepcopy(start.model), device, torch.float32).eval()
        system = make_system(options, replace(splits.train, backbone=replace(start, model=model)))
        taught_by = move(copy.deepcopy(teacher_model.model), device, torch.float32).eval()
        teacher = Teacher(taught_by, splits.train.task, training_dtype(options.run.dtype, device))
        if options.training.remember_teacher:
            check_lasting(splits.train.texts)
            check_cache(cache_folder() / "teachers" / "logits")
        facts = start.facts | {"teacher": teacher_model.source, "teacher_fingerprint": fingerprint_model(taught_by)}
        facts |= {"dtype": training_dtype(options.run.dtype, device), "system": system.settings}
        folder = session.begin(options.data.env, "baseline", options.system, facts | identity_facts(splits))
        if options.training.remember_teacher:
            with progress("teacher's logits", len(splits.train.texts)) as bar:
                teacher.remember(splits.train.texts, cache_folder() / "teachers", bar.update)
        shown = StagedModel(taught_by, splits.train.task)
        training = BaselineTraining(system, splits, teacher, shown, options)
        train(
            training,
            folder,
            label=f"training {system.name}",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={"loss": "losses/task_loss", "phase": "charts/phase"},
        )
        finish(system, options, folder, splits.validation, splits.holdout, earlier)
        return folder


def finish(
    system: ComparedSystem[Any],
    options: TrainBaselineOptions,
    folder: RunFolder,
    validation: Workload,
    holdout: Workload | None,
    earlier: EvaluationRecord | None,
) -> None:
    """Save the system and evaluate it; ``metrics.json`` comes last."""
    start = validation.backbone
    record = SystemRecord.of(system, options.data.env, start.source, fingerprint_model(start.model))
    with replacing_folder(folder.model_dir) as partial:
        save_system(system, start.tokenizer, partial, record)
    dtype, device = evaluation_dtype(options.run.dtype), str(system.device)
    found = replace(
        evaluate_system(system, validation, dtype, device, earlier),
        holdout=None if holdout is None else measure_system(system, holdout, dtype, device),
        identity=Identity(fingerprint_model(system.model)),
    )
    track_end(folder.events_dir, options, found.to_flat(), 0)
    folder.write_metrics(found.to_flat())


def main(options: TrainBaselineOptions) -> None:
    """Train a compared system from the same start, by the same teacher and on the same texts as ours."""
    folder = train_baseline(options)
    print_end(folder.path, folder.model_dir)


if __name__ == "__main__":
    run(main, TrainBaselineOptions)
