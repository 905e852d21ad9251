"""Stage 3: unfreeze the encoder, and train it and the policy at once on the masks that the policy samples."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from dataclasses import replace

import torch

from agents.distillation import Teacher
from runners.cli.display import print_end, progress
from runners.cli.options import EncoderOptions, resolve_device
from runners.cli.run import UserError, run
from runners.evaluation.passes import check_conditions, evaluate_model, evaluation_conditions, measure_keep_all
from runners.evaluation.record import EvaluationRecord, Identity
from runners.runs.files import replacing_folder
from runners.runs.models import is_token_reduced, load_model
from runners.runs.run_folder import RunFolder, earlier_record
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.joint import JointFinetuneOptions, JointTraining
from runners.training.layers import settled_layers
from runners.training.loading import Holdout, RunExamples
from runners.training.loop import train
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import Start, identity_facts
from trbert_env.data.backbones import Backbone, check_texts, move
from trbert_env.data.cache import cache_folder, check_cache
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.tasks.varied import check_lasting


def load_start(options: JointFinetuneOptions, examples: RunExamples) -> Start[JointFinetuneOptions]:
    """Load what stage 3 starts from: a run of stage 2, or a fine-tuned backbone alone."""
    if options.policy is not None:
        return Start.from_run(options.policy, options)
    backbone = examples.load_encoder(options.encoder)
    if not backbone.fine_tuned:
        raise UserError(
            f"backbone '{backbone.name}' is not fine-tuned for {options.data.env}: run runners/finetune.py first"
        )
    return Start(backbone, options)


def load_teacher(name: str | None, env: str, backbone: Backbone, examples: RunExamples) -> Backbone:
    """Load the unreduced model that is distilled from.

    Args:
        name: Folder of a model or of a run, or hub name; None for the encoder itself.
        env: Name of the data set.
        backbone: The encoder.
        examples: Records of the run.

    Raises:
        UserError: It is not fine-tuned, or reads other tokens than the student.
    """
    if name is None:
        return backbone
    if is_token_reduced(name):
        model, teacher = load_model(Path(name), "cpu")
        if model.config.env != env:
            raise UserError(f"teacher '{name}' was trained for {model.config.env}, not for {env}")
    else:
        teacher = examples.load_encoder(EncoderOptions(name))
    if not teacher.fine_tuned:
        raise UserError(f"teacher '{name}' is not fine-tuned for {env}: give one that is")
    if teacher.tokenizer.get_vocab() != backbone.tokenizer.get_vocab():
        raise UserError(f"teacher '{name}' has another vocabulary than the encoder: give one of the same")
    return teacher


def joint_finetune(options: JointFinetuneOptions) -> RunFolder:
    """Run stage 3 to its end; returns the run's folder."""
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        device = resolve_device(options.run.device)
        earlier = earlier_record(options.full_from)
        examples = RunExamples.load(options.data, Holdout(options.training.holdout_texts))
        start = load_start(options, examples)
        teacher_model = load_teacher(options.training.teacher, options.data.env, start.backbone, examples)
        splits = examples.encode(start.backbone, start.task_settings)
        check_texts(teacher_model, splits.train.texts, splits.train.task)
        encoder = settled_layers(start.options.encoder, splits.train, device)
        start = replace(start, options=replace(start.options, encoder=encoder))
        check_conditions(evaluation_conditions(splits.validation, evaluation_dtype(options.run.dtype)), earlier)
        dtype = training_dtype(options.run.dtype, device)
        teacher = Teacher(move(teacher_model.model, device, torch.float32).eval(), splits.train.task, dtype)
        training = JointTraining(start, splits, teacher, device)
        remembers = options.training.remember_teacher and options.joint.needs_teacher
        if remembers:
            check_lasting(splits.train.texts)
            check_cache(cache_folder() / "teachers" / "logits")
        facts = start.facts | {"dtype": dtype, "teacher": teacher_model.source}
        facts |= {"teacher_fingerprint": fingerprint_model(teacher_model.model)}
        facts |= identity_facts(splits)
        folder = session.begin(options.data.env, "joint", "unreduced" if options.unreduced else "reinforce", facts)
        if remembers:
            with progress("teacher's logits", len(splits.train.texts)) as bar:
                teacher.remember(splits.train.texts, cache_folder() / "teachers", bar.update)
        train(
            training,
            folder,
            label="joint training",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={"log_likelihood": "charts/log_likelihood", "speedup": "charts/flops_speedup"},
        )
        finish(training, folder, splits.validation, earlier)
        return folder


def finish(training: JointTraining, folder: RunFolder, validation: Workload, earlier: EvaluationRecord | None) -> None:
    """Save the model; evaluate it, and its encoder with keep-all; write and print the record."""
    options = training.options
    model = training.token_reduced_model()
    with replacing_folder(folder.model_dir) as partial:
        model.save_pretrained(partial)
        validation.backbone.tokenizer.save_pretrained(partial)
    dtype, device = evaluation_dtype(options.run.dtype), str(training.device)
    record = replace(
        evaluate_model(model, validation, dtype, device, earlier=earlier),
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
