"""Stage 3: unfreeze the encoder, and train it and the policy at once on the masks that the policy samples."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from typing import Any

import torch
from datasets import Dataset

from agents.distillation import Teacher
from runners.cli.display import announce, progress
from runners.cli.options import resolve_device
from runners.cli.run import UserError, run
from runners.evaluation.passes import check_conditions, evaluate_model, evaluation_conditions, keep_all_figures
from runners.runs.files import replacing_folder
from runners.runs.models import load_model, model_type_in
from runners.runs.run_folder import RunFolder, earlier_record
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.joint import JointFinetuneOptions, JointTraining, Splits
from runners.training.loop import train
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.start import Start, identity_facts
from trbert_env.data.backbones import Backbone, cache_folder, check_cache, load_backbone, move
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.sources import hold_out
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedConfig
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task


def load_start(options: JointFinetuneOptions, data_source: str) -> Start[JointFinetuneOptions]:
    """What stage 3 starts from: a run of stage 2, or a fine-tuned backbone alone."""
    if options.policy is not None:
        return Start.from_run(options.policy, options)
    preset = get_preset(options.env)
    backbone = load_backbone(preset, make_task(preset), options.backbone, data_source)
    if not backbone.fine_tuned:
        raise UserError(
            f"backbone '{backbone.name}' is not fine-tuned for {options.env}: run runners/finetune.py first"
        )
    return Start(backbone, options)


def load_teacher(options: JointFinetuneOptions, backbone: Backbone, data_source: str) -> Backbone:
    """The unreduced model that is distilled from.

    Raises:
        UserError: It is not fine-tuned, or reads other tokens than the student.
    """
    if options.teacher is None:
        return backbone
    preset = get_preset(options.env)
    folder = Path(options.teacher)
    inside = folder / "model" if (folder / "model").is_dir() else folder
    if model_type_in(inside) == TokenReducedConfig.model_type:
        model, teacher = load_model(inside, "cpu")
        if model.config.env != options.env:
            raise UserError(f"teacher '{folder}' was trained for {model.config.env}, not for {options.env}")
    else:
        name = str(inside) if inside.is_dir() else options.teacher
        teacher = load_backbone(preset, make_task(preset), name, data_source)
    if not teacher.fine_tuned:
        raise UserError(f"teacher '{options.teacher}' is not fine-tuned for {options.env}: give one that is")
    if teacher.tokenizer.get_vocab() != backbone.tokenizer.get_vocab():
        raise UserError(f"teacher '{options.teacher}' has another vocabulary than the encoder: give one of the same")
    return teacher


def load_examples(options: JointFinetuneOptions) -> tuple[str, Dataset, Dataset, Dataset]:
    """Where examples really came from; those to train on, those held out, and those of the validation split."""
    found, _ = Workload.load_examples(options.env, "train", options.data_source, options.data_dir, None)
    announce(f"training data: {found.description}")
    rest, aside = hold_out(found.dataset, options.holdout_texts)
    if options.max_train_texts is not None:
        rest = rest.select(range(min(options.max_train_texts, len(rest))))
    _, validation = Workload.load_examples(
        options.env, "validation", found.source, options.data_dir, options.max_eval_texts
    )
    return found.source, rest, aside, validation


def joint_finetune(options: JointFinetuneOptions) -> RunFolder:
    """Run stage 3 to its end; returns the run's folder."""
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        device = resolve_device(options.device)
        earlier = earlier_record(options.full_from)
        source, rest, aside, held_out = load_examples(options)
        start = load_start(options, source)
        teacher_model = load_teacher(options, start.backbone, source)

        def encoded(examples: Dataset, split: str) -> Workload:
            return Workload.encode(get_preset(options.env), examples, start.backbone, split, source)

        splits = Splits(
            encoded(rest, "train"),
            encoded(aside, "holdout") if options.holdout_texts else None,
            encoded(held_out, "validation"),
        )
        check_conditions(evaluation_conditions(splits.validation, evaluation_dtype(options.dtype)), earlier)
        dtype = training_dtype(options.dtype, device)
        teacher = Teacher(move(teacher_model.model, device, torch.float32).eval(), splits.train.task, dtype)
        training = JointTraining(start, splits, teacher, device)
        remembers = options.remember_teacher and training.learner.needs_teacher
        if remembers:
            check_cache(cache_folder() / "teachers" / "logits")
        facts = start.facts | {"dtype": dtype, "teacher": teacher_model.source}
        facts |= {"teacher_fingerprint": fingerprint_model(teacher_model.model)}
        facts |= identity_facts(splits.train, splits.validation, splits.holdout)
        folder = session.begin("joint", "unreduced" if options.unreduced else "reinforce", facts)
        if remembers:
            with progress("teacher's logits", len(splits.train.texts)) as bar:
                teacher.remember(splits.train.texts, cache_folder() / "teachers", bar.update)
        train(
            training,
            folder,
            label="joint training",
            checkpoint_every=options.checkpoint_every,
            state=session.state,
            shown={"log_likelihood": "charts/log_likelihood", "speedup": "charts/flops_speedup"},
        )
        finish(training, folder, splits.validation, earlier)
        return folder


def finish(training: JointTraining, folder: RunFolder, validation: Workload, earlier: dict[str, Any] | None) -> None:
    """Save the model; evaluate it, and its encoder with keep-all; write and print the record."""
    options = training.options
    model = training.token_reduced_model()
    with replacing_folder(folder.model_dir) as partial:
        model.save_pretrained(partial)
        validation.backbone.tokenizer.save_pretrained(partial)
    identity = {"model_fingerprint": fingerprint_model(model)}
    dtype, device = evaluation_dtype(options.dtype), str(training.device)
    record = evaluate_model(model, validation, dtype, device, earlier=earlier)
    record |= keep_all_figures(model, validation, dtype, device)
    record |= training.holdout_figures(model) | identity
    track_end(folder.events_dir, options, record, training.total_texts)
    folder.write_metrics(record)


def main(options: JointFinetuneOptions) -> None:
    """Stage 3: unfreeze the encoder, and train it and the policy at once on the masks that the policy samples."""
    folder = joint_finetune(options)
    print(f"watch the curves: tensorboard --logdir {folder.path}")


if __name__ == "__main__":
    run(main, JointFinetuneOptions)
