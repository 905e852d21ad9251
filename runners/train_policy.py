"""Stage 2: train a policy that keeps or skips tokens, with the encoder frozen."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import shlex
from dataclasses import replace

from agents.policy_agent import DEFAULT_KEEP_FRACTIONS
from runners.cli.display import announce, print_end
from runners.cli.items import spelled_out
from runners.cli.options import EncoderOptions, resolve_device
from runners.cli.run import run
from runners.evaluation.evaluations import evaluate_agent, evaluate_model
from runners.evaluation.layer_probe import planned_cuts
from runners.evaluation.passes import check_conditions, evaluation_conditions
from runners.evaluation.record import EvaluationRecord, Identity
from runners.finetune import FinetuneOptions, finetune
from runners.runs.earlier import earlier_record
from runners.runs.models import save_model
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.layers import WantedSpeed, settled_layers
from runners.training.loading import RunExamples, Splits
from runners.training.loop import train
from runners.training.options.policy import TrainPolicyOptions, few_updates
from runners.training.policy import PolicyTraining
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.reach import check_reach
from runners.training.start import Start, identity_facts
from runners.training.unlabelled import UnlabelledExamples, warn_of_one_class
from trbert_env.data.backbones import Backbone
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.folders import replacing_folder


def fine_tuned_backbone(options: TrainPolicyOptions, examples: RunExamples) -> Backbone:
    """Load the backbone; where it is not fine-tuned, stage 1 runs first and says so.

    Raises:
        ValueError: The options do not fit the backbone, or the target speed-up is out of its reach.
    """
    backbone = examples.load_encoder(options.encoder)
    encoder = StagedEncoder(backbone.model, planned_cuts(options.encoder.layers, backbone.model))
    fractions = options.agent.fractions(encoder.num_reductions)
    if options.agent.keep_fractions is None and len(fractions) != len(DEFAULT_KEEP_FRACTIONS):
        announce(
            f"tokens stop at {encoder.num_reductions} cuts of {encoder.num_layers} layers: --keep-fractions "
            f"{' '.join(map(str, fractions))} where no others are given"
        )
    if backbone.fine_tuned:
        return backbone
    check_reach(options, examples.encode_some(backbone))
    announce(f"backbone '{backbone.name}' is not fine-tuned for {options.data.env}: stage 1 runs first")
    named = EncoderOptions(backbone.name)
    finetune(FinetuneOptions(data=options.data, encoder=named, run=options.run))
    return examples.load_encoder(named)


def prepare(options: TrainPolicyOptions) -> tuple[Start[TrainPolicyOptions], Splits]:
    """Load what the run starts from, and its texts, so that a fault of any is known before the work begins."""
    if options.policy is None:
        examples = RunExamples.load(options.data)
        unlabelled = UnlabelledExamples.load(options, examples)
        start = Start(fine_tuned_backbone(options, examples), options)
    else:
        start = Start.from_run(options.policy, options, needs_budget=options.target_speedup is None)
        examples = RunExamples.load(options.data, trained=start.trained)
        unlabelled = UnlabelledExamples.load(options, examples)
    splits = examples.encode(start.backbone, start.task_settings)
    if unlabelled is not None:
        splits = unlabelled.beside(splits, trained=start.model is not None)
    options = start.options.for_workload(splits.train, splits.practice)
    encoder = _settled_cuts(options, splits)
    return replace(start, options=replace(options, encoder=encoder)), splits


def measured_encoder(options: TrainPolicyOptions) -> EncoderOptions:
    """Return the encoder's options of nested runs, with the cuts that all of them take; stage 1 runs first if it must.

    Args:
        options: Options of one of the runs.

    Raises:
        ValueError: The options do not fit the backbone.
    """
    examples = RunExamples.load(options.data)
    unlabelled = UnlabelledExamples.load(options, examples)  # their faults are told before stage 1
    return measured_on(options, examples, fine_tuned_backbone(options, examples), unlabelled)


def measured_on(
    options: TrainPolicyOptions,
    examples: RunExamples,
    backbone: Backbone,
    unlabelled: UnlabelledExamples | None = None,
) -> EncoderOptions:
    """Return the encoder's options with the cuts named, measured on the texts of a run where they are to be.

    Args:
        options: Options of a run.
        examples: Records of the run.
        backbone: The fine-tuned encoder.
        unlabelled: Texts that the policy learns from in place of the training texts; None for those.
    """
    if options.encoder.layers is not None:
        return options.encoder
    splits = examples.encode(backbone)
    if unlabelled is not None:
        splits = unlabelled.beside(splits, trained=False)
    return _settled_cuts(options.for_workload(splits.train), splits)


def _settled_cuts(options: TrainPolicyOptions, splits: Splits) -> EncoderOptions:
    speed = None if options.target_speedup is None else WantedSpeed(options.target_speedup, options.agent)
    return settled_layers(
        options.encoder, splits.train, resolve_device(options.run.device), speed, practice=splits.unlabelled
    )


def train_policy(options: TrainPolicyOptions, *, read_clock: bool = True) -> RunFolder:
    """Run stage 2 to its end; returns the run's folder.

    Args:
        options: Options of the run.
        read_clock: False to leave the clock out of its record.
    """
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        own = spelled_out("--agent-options", options.algorithm.agent_options)
        options = replace(options, algorithm=replace(options.algorithm, agent_options=own))
        session.options = options
        device = resolve_device(options.run.device)
        earlier = earlier_record(options.full_from)
        start, splits = prepare(options)
        check_conditions(evaluation_conditions(splits.validation, evaluation_dtype(options.run.dtype)), earlier)
        training = PolicyTraining(start, splits, str(device))
        if (note := few_updates(start.options)) is not None:
            announce(note)
        warn_of_one_class(splits, device)
        facts = {
            "dtype": training_dtype(options.run.dtype, device),
            "budget_scope": start.options.agent.budget_scope,  # which the options may leave to the encoder's head
        }
        folder = session.begin(
            options.data.env, "policy", options.algorithm.agent, start.facts | facts | identity_facts(splits)
        )
        train(
            training,
            folder,
            label="training",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={
                "log_likelihood": "charts/log_likelihood",
                **({} if splits.unlabelled is None else {"divergence": "charts/divergence"}),
                "speedup": "charts/flops_speedup",
            },
        )
        evaluate_and_report(options, training, folder, splits.validation, earlier, read_clock)
        return folder


def evaluate_and_report(
    options: TrainPolicyOptions,
    training: PolicyTraining,
    folder: RunFolder,
    validation: Workload,
    earlier: EvaluationRecord | None,
    read_clock: bool,
) -> None:
    """Save the model, if there is one, evaluate, print the table, log the record; ``metrics.json`` comes last."""
    model = training.model()
    dtype, device = evaluation_dtype(options.run.dtype), str(resolve_device(options.run.device))
    if model is None:
        layers = training.encoder.reduction_layers
        record = evaluate_agent(
            options.algorithm.agent, training.agent, validation, dtype, device, layers, training.exit_offsets, earlier
        )
    else:
        with replacing_folder(folder.model_dir) as partial:
            save_model(model, validation.backbone.tokenizer, partial)
        record = evaluate_model(model, validation, dtype, device, earlier=earlier, clock=read_clock)
        record = replace(record, identity=Identity(fingerprint_model(model)))
    track_end(folder.events_dir, options, record.to_flat(), training.total_texts)
    folder.write_metrics(record.to_flat())


def main(options: TrainPolicyOptions) -> None:
    """Stage 2: train a policy that keeps or skips tokens, with the encoder frozen."""
    folder = train_policy(options)
    print_end(folder.path, folder.model_dir, joint_command(folder))
    if not folder.model_dir.is_dir():
        print(
            f"no model to use: agent {options.algorithm.agent} has no policy and decision of the kind that is shipped"
        )


def joint_command(folder: RunFolder) -> str:
    """Return the command that trains the encoder together with the policy of a run, to the same speed-up.

    Args:
        folder: The run, which has ended.
    """
    target = folder.read_config()["options"].get("target_speedup")  # of the run that was resumed, too
    speed = "" if target is None else f" --target-speedup {target:g}"
    return f"python runners/joint_finetune.py --policy {shlex.quote(str(folder.path))}{speed}"


if __name__ == "__main__":
    run(main, TrainPolicyOptions)
