"""Stage 3: unfreeze the encoder, and train it and the policy at once on the masks that the policy samples."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from dataclasses import replace

import torch

from agents.distillation import Teacher
from runners.cli.display import print_end
from runners.cli.options import resolve_device
from runners.cli.run import run
from runners.evaluation.evaluations import evaluate_model
from runners.evaluation.passes import check_conditions, evaluation_conditions, measure_keep_all
from runners.evaluation.record import EvaluationRecord, Identity
from runners.runs.earlier import earlier_record
from runners.runs.models import save_model
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.joint import JointTraining
from runners.training.layers import WantedSpeed, settled_layers
from runners.training.loading import Holdout, RunExamples
from runners.training.loop import train
from runners.training.options.joint import JointFinetuneOptions, settled_stage3
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import Start, identity_facts
from runners.training.teaching import check_memory, check_temperature, load_fine_tuned, load_teacher, remember
from trbert_env.data.backbones import check_texts, move
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.folders import replacing_folder


def load_start(options: JointFinetuneOptions) -> tuple[Start[JointFinetuneOptions], RunExamples]:
    """Load what stage 3 starts from, a run of stage 2 or a fine-tuned backbone alone, and the texts."""
    holdout = Holdout(options.training.holdout_texts)
    if options.policy is not None:
        needs_budget = not (options.unreduced or options.target_speedup or options.speedup_range)
        start = Start.from_run(options.policy, options, needs_budget=needs_budget)
        return start, RunExamples.load(options.data, holdout, trained=start.trained)
    examples = RunExamples.load(options.data, holdout)
    return Start(load_fine_tuned(options.encoder, options.data.env, examples), options), examples


def joint_finetune(options: JointFinetuneOptions, *, read_clock: bool = True) -> RunFolder:
    """Run stage 3 to its end; returns the run's folder.

    Args:
        options: Options of the run.
        read_clock: False to leave the clock out of its record.
    """
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        device = resolve_device(options.run.device)
        earlier = earlier_record(options.full_from)
        start, examples = load_start(options)
        teacher_model = load_teacher(options.training.teacher, options.data.env, start.backbone, examples)
        splits = examples.encode(start.backbone, start.task_settings)
        session.options = options = settled_stage3(options, len(splits.train.texts))
        check_temperature(options, splits.train.task)
        check_texts(teacher_model, splits.train.texts, splits.train.task)
        fastest = max(options.speedup_range) if options.speedup_range else options.target_speedup
        speed = None if fastest is None else WantedSpeed(fastest, start.options.agent)
        encoder = settled_layers(start.options.encoder, splits.train, device, speed)
        loaded = replace(start.options, joint=options.joint, training=options.training)
        start = replace(start, options=replace(loaded, encoder=encoder))
        check_conditions(evaluation_conditions(splits.validation, evaluation_dtype(options.run.dtype)), earlier)
        dtype = training_dtype(options.run.dtype, device)
        teacher = Teacher(move(teacher_model.model, device, torch.float32).eval(), splits.train.task, dtype)
        training = JointTraining(start, splits, teacher, device)
        remembers = options.training.remember_teacher and options.joint.needs_teacher
        if remembers:
            check_memory(splits.train)
        facts = start.facts | {"dtype": dtype, "teacher": teacher_model.source}
        facts |= {"teacher_fingerprint": fingerprint_model(teacher_model.model)}
        facts |= identity_facts(splits)
        folder = session.begin(options.data.env, "joint", "unreduced" if options.unreduced else "reinforce", facts)
        if remembers:
            remember(teacher, splits.train, states=options.joint.states_weight > 0)
        train(
            training,
            folder,
            label="joint training",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={"log_likelihood": "charts/log_likelihood", "speedup": "charts/flops_speedup"},
        )
        finish(training, folder, splits.validation, earlier, read_clock)
        return folder


def finish(
    training: JointTraining,
    folder: RunFolder,
    validation: Workload,
    earlier: EvaluationRecord | None,
    read_clock: bool,
) -> None:
    """Save the model; evaluate it, and its encoder with keep-all; write and print the record."""
    options = training.options
    model = training.token_reduced_model()
    with replacing_folder(folder.model_dir) as partial:
        save_model(model, validation.backbone.tokenizer, partial)
    dtype, device = evaluation_dtype(options.run.dtype), str(training.device)
    record = replace(
        evaluate_model(model, validation, dtype, device, earlier=earlier, clock=read_clock),
        keep_all=measure_keep_all(model, validation, dtype, device),
        holdout=training.measure_holdout(model),
        identity=Identity(fingerprint_model(model)),
    )
    track_end(folder.events_dir, options, record.to_flat(), training.total_texts)
    folder.write_metrics(record.to_flat())


def main(options: JointFinetuneOptions) -> None:
    """Stage 3: unfreeze the encoder, and train it and the policy at once on the masks that the policy samples."""
    folder = joint_finetune(options)
    print_end(folder.path, folder.model_dir)


if __name__ == "__main__":
    run(main, JointFinetuneOptions)
