"""From your checkpoint to a faster model: name it and your texts, and how fast it is to be or what it may lose."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import math
import shlex
import time
from dataclasses import asdict, replace

import numpy as np
import torch
from datasets import Dataset

from runners.cli.display import announce
from runners.cli.flags import check_options, command_line
from runners.cli.options import resolve_device
from runners.cli.run import run
from runners.evaluation.comparison import Comparison
from runners.evaluation.evaluations import compare_model
from runners.evaluation.intervals import Spread, clearly_greater, draws_needed, loss_bound
from runners.evaluation.passes import measure_unreduced_pass
from runners.evaluation.quality import MeasuredPass
from runners.faster.candidates import Candidate, best_candidate
from runners.faster.card import Origin, hub_dataset, model_card
from runners.faster.ledger import Ledger
from runners.faster.options import MakeFasterOptions
from runners.faster.pacing import make_plan
from runners.faster.plan import Plan, print_plan
from runners.faster.report import (
    ROUNDS,
    counted,
    finding,
    print_findings,
    promise,
    record_of,
)
from runners.faster.speeds import Speeds
from runners.faster.stages import Stages
from runners.faster.texts import Parts
from runners.faster.usage import loading_line
from runners.runs.files import write_durably
from runners.runs.models import load_model, save_model
from runners.runs.run_folder import RunFolder, reopen
from runners.runs.session import held
from runners.runs.tracking import track_end
from runners.training.precision import evaluation_dtype
from trbert_env.data.checkpoints import folder_name
from trbert_env.data.sampling import passages_of
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.folders import replacing_folder
from trbert_env.tasks import Task


def begin(options: MakeFasterOptions, started: float) -> tuple[RunFolder, Plan, Parts]:
    """Load and plan a new run, so that what is wrong is said before there is a folder.

    Args:
        options: Options of the run.
        started: Reading of ``time.monotonic`` when the command began.
    """
    parts = Parts.load(options)
    plan, work = make_plan(options, parts, started)
    if options.max_loss is not None:
        announce_certainty(options.max_loss, parts.some.task, parts.chosen_on(plan))
    name = folder_name(parts.checkpoint.name)
    folder = RunFolder.create(options.run.output_dir, options.data.env, "faster", name, options.run.seed)
    folder.write_config(options, {**parts.facts, "plan": asdict(plan), "work": asdict(work)})
    return folder, plan, parts


def go_on(options: MakeFasterOptions, folder: RunFolder) -> tuple[Plan, Parts]:
    """Load what a run goes on with.

    Raises:
        ValueError: It is something else than the run began with.
    """
    parts = Parts.load(options)
    folder.check_recorded(parts.facts)
    return Plan(**folder.read_config()["facts"]["plan"]), parts


def announce_certainty(max_loss: float, task: Task, held_out: Dataset) -> None:
    """Say before the work begins where no result could show that no more than ``--max-loss`` is lost.

    Args:
        max_loss: Points of the main metric.
        task: The task, configured.
        held_out: Held-out records that the speed will be chosen by.
    """
    records, groups = len(held_out), len(np.unique(passages_of(held_out)[task.counted(held_out)]))
    unchanged = Spread(0.0, 0.0, groups)
    if (bound := loss_bound(unchanged)) > max_loss:
        needed, more = draws_needed(unchanged, max_loss), ""
        if needed is not None:
            texts = math.ceil(needed * records / groups)
            more = f"; {counted(texts, 'such', needed)} could, and more where answers change"
        announce(
            f"--max-loss {max_loss:g}: even if no answer changed, {counted(records, 'held-out', groups)} could show "
            f"only a loss below {bound:.2f}{more} (--holdout-texts). The run goes on, and says what was measured"
        )


def make_faster(options: MakeFasterOptions, ledger: Ledger, parts: Parts, folder: RunFolder) -> None:
    """Run the stages, choose the speed, measure what came out, and write the model with its card.

    Args:
        options: Options of the run.
        ledger: Its plan, and the time that was spent.
        parts: Its texts.
        folder: Folder of the run.
    """
    stages, device = Stages(options, ledger, parts, folder), str(resolve_device(options.run.device))
    print_plan(ledger.plan, len(parts.examples.train), stages.done, stages.slower)
    dtype, metric = evaluation_dtype(options.run.dtype), parts.some.task.metric_names[0]
    start = stages.start()
    if stages.plan_again() and options.max_loss is not None:
        announce_certainty(options.max_loss, parts.some.task, parts.chosen_on(ledger.plan))
    model, _ = load_model(stages.trained(start), device)
    plan = ledger.plan
    print(f"measuring: about {stages.slower * plan.left('measuring') / 60:.1f} minutes", flush=True)
    with ledger.spending("measuring"):
        held_out, reported = measured_parts(plan, parts, stages, model)
        full = measure_unreduced_pass(held_out, dtype, device)
        best = measured_best(stages, model, start, full, device)
        found = compare_model(best.model, reported, dtype, device, rounds=ROUNDS)
    if not parts.needs_stage1:
        announce_known_texts(full, found)
    count = len(held_out.examples)
    print_findings(found)
    choice = best.choice
    said = promise(choice, options.max_loss, count, metric)
    (announce if choice.outcome in ("measured", "missed") else print)(said)
    print(finding(found))
    origin = origin_of(options, parts)
    save(best.model, reported, folder, model_card(best, origin, found, count))
    Speeds.of(best.points, choice.point, metric, full.measured.quality[metric], count).write(folder.path)
    flat = record_of(found, choice, best.model, options.max_loss, frozen=best.frozen).to_flat()
    track_end(folder.events_dir, options, flat, plan.policy_texts + (0 if best.frozen else plan.joint_texts))
    folder.write_metrics(flat)


def measured_best(stages: Stages, model: TokenReducedModel, start: str, full: MeasuredPass, device: str) -> Candidate:
    """Measure the jointly trained model at several speeds, and the policy alone where that may be better; print them.

    Args:
        stages: Stages of the run, which have ended.
        model: The jointly trained model.
        start: Folder or hub name of the fine-tuned checkpoint.
        full: Pass of the unreduced model over the held-out texts.
        device: Device to compute on.

    Returns:
        The better one, set to the speed that was chosen.
    """
    options = stages.options
    dtype = getattr(torch, evaluation_dtype(options.run.dtype))
    count, metric = len(full.workload.examples), full.workload.task.metric_names[0]

    def measure(model: TokenReducedModel, *, frozen: bool) -> Candidate:
        found = Candidate.measure(model, full, options, dtype, device, frozen=frozen)
        found.show(count, metric)
        return found

    trained = measure(model, frozen=False)
    best = best_candidate(trained, lambda: measure(load_model(stages.policy(start), device)[0], frozen=True))
    best.model.speed_table = best.table
    best.model.set_decision(best.choice.point.decision)
    return best


def measured_parts(plan: Plan, parts: Parts, stages: Stages, model: TokenReducedModel) -> tuple[Workload, Workload]:
    """Return the held-out and the evaluation texts, with the unreduced model, read as the faster one was trained."""
    examples = replace(parts.examples, holdout=parts.chosen_on(plan), validation=parts.reported_on(plan))
    splits = examples.encode(stages.unreduced(), model.task.settings)
    assert splits.holdout is not None, "some are always held out"
    return splits.holdout, splits.validation


def announce_known_texts(full: MeasuredPass, found: Comparison) -> None:
    """Say where the checkpoint seems to have been trained on the held-out texts: what is lost on these is no guide."""
    assert found.full_pass is not None, "both models have run"
    known, new = (Spread.of(one.scores, passages_of(one.workload.examples)) for one in (full, found.full_pass))
    if clearly_greater(known, new):
        announce(
            f"the checkpoint has {found.metric} {known.mean:.1f} on held-out training texts and {new.mean:.1f} on "
            "evaluation texts: it was probably trained on the former, and what is lost on them says less of new texts. "
            "Give texts that it has not seen as training data for a better promise"
        )


def origin_of(options: MakeFasterOptions, parts: Parts) -> Origin:
    """Return where the model comes from, for its card."""
    data, own = options.data, options.data.own
    files = [str(path.name) for path in (own.train_file, own.validation_file) if path is not None]
    told = ", ".join(files) or own.dataset or f"{data.env} ({parts.examples.source})"
    return Origin(
        checkpoint=parts.checkpoint,
        fine_tuned_here=parts.needs_stage1,
        data=told,
        dataset="" if parts.examples.source == "embedded" else hub_dataset(parts.some.preset, own.dataset),
        train_texts=len(parts.examples.train),
        command=shlex.join(["python", "runners/make_faster.py", *command_line(options)]),
        max_loss=options.max_loss,
    )


def save(model: TokenReducedModel, workload: Workload, folder: RunFolder, card: str) -> None:
    """Write the model, its tokenizer and its card; the card stands in the run's folder too."""
    with replacing_folder(folder.model_dir) as partial:
        save_model(model, workload.backbone.tokenizer, partial)
        write_durably(partial / "README.md", card)
    write_durably(folder.path / "README.md", card)


def main(options: MakeFasterOptions) -> None:
    """From your checkpoint to a faster model: name it and your texts, and how fast it is to be or what it may lose."""
    started, resumed = time.monotonic(), options.resume is not None
    if options.resume is None:
        options = options.settled()
        check_options(options)
        folder, plan, parts = begin(options, started)
    else:
        options, folder = reopen(options, options.resume)
        if folder.ended:
            print(f"{folder.path} has ended: its record is {folder.metrics_path}")
            return
        plan, parts = go_on(options, folder)
    print(f"run folder: {folder.path}")
    with held(folder):
        make_faster(options, Ledger(folder.path, plan, started), parts, folder)
    minutes = (time.monotonic() - started) / 60
    went_on = " since it went on" if resumed else ""
    print(f"model: {folder.model_dir}, with its card README.md; {minutes:.1f} minutes{went_on}")
    print(f"load it: {loading_line(parts.some, str(folder.model_dir))}")
    print(f"measure it again: python runners/evaluate.py --model {shlex.quote(str(folder.path))}")


if __name__ == "__main__":
    run(main, MakeFasterOptions)
