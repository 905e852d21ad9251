"""Measured pace of this machine, and the plan that follows from it."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch

from runners.cli.options import resolve_device
from runners.cli.run import UserError
from runners.evaluation.layer_probe import FIT_TEXTS, earliest_cuts
from runners.evaluation.layer_probe import MEASURED_TEXTS as PROBED_TEXTS
from runners.evaluation.machine import LoadWatch
from runners.evaluation.speed_table import MEASURED_TEXTS, TABLE_SIZE
from runners.evaluation.timing import TIMED_TEXTS
from runners.faster.choice import SPEEDS
from runners.faster.options import GLANCE, MOST_POLICY_TEXTS, MakeFasterOptions
from runners.faster.plan import LEAST_TRAINED, UNPLANNED, Plan, TooLittleTimeError, Work
from runners.faster.report import ROUNDS
from runners.faster.texts import Parts
from runners.finetune import FinetuneTrainingOptions, make_schedule
from runners.training.options.joint import DEFAULT_TEXTS, stage3_texts
from runners.training.options.policy import PolicyTrainingOptions, stage2_texts
from runners.training.pace import forward_pace, joint_pace, own_teacher, policy_pace, supervised_pace
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.reach import check_reach
from trbert_env.data.backbones import placed
from trbert_env.staged_model import reads_first_tokens

#: Cost of a reduced pass, of a padded stock pass and of the three systems of a clock's round, in passes of our encoder
#: with nothing skipped.
REDUCED, STOCK = 0.6, 1.4
ROUND = 1.0 + STOCK + REDUCED
#: What is asked for where time is too short, over what this measurement needs: the next one will differ.
SPARE = 1.15


def make_plan(options: MakeFasterOptions, parts: Parts, started: float) -> tuple[Plan, Work]:
    """Measure the pace, and plan the texts of each stage; returns the plan and what it was made of.

    Args:
        options: Options of the run.
        parts: Its texts.
        started: Reading of ``time.monotonic`` when the command began.

    Raises:
        ValueError: The speed-up is out of the encoder's reach.
        UserError: ``--minutes`` are too few.
    """
    check_reach(options.stage2(UNPLANNED, 1, options.run, str(options.model)), parts.some)
    print("measuring the pace of this machine, by a few steps of each stage", flush=True)
    watch = LoadWatch()
    with watch:
        work = measure_work(options, parts)
    if options.minutes is None:
        return work.usual(), work
    elapsed = time.monotonic() - started
    try:
        return work.within(60 * options.minutes - elapsed), work
    except TooLittleTimeError as error:
        needed = math.ceil(10 * SPARE * (elapsed + error.seconds) / 60) / 10
        training = math.ceil(10 * SPARE * error.training / 60) / 10
        less = ", or let it measure less (--max-eval-texts, --holdout-texts)" if error.fewer else ""
        busy = "" if watch.load.quiet is not False else f" ({watch.load.busy}; it needs less on a quiet machine)"
        raise UserError(
            f"--minutes {options.minutes:g} leaves too little time to train in on this machine{busy}: give at least "
            f"{needed:g}{less}; {training:g} of them train on {LEAST_TRAINED} texts in each stage, the others go into "
            "reading the texts, measuring quality at several speeds and reading the clock"
        ) from error


def measure_work(options: MakeFasterOptions, parts: Parts) -> Work:
    """Measure a few steps of each stage on this machine.

    Args:
        options: Options of the run.
        parts: Its texts.
    """
    device, some = resolve_device(options.run.device), parts.some
    stage2 = options.stage2(UNPLANNED, 1, options.run, str(options.model))
    stage2 = replace(stage2, encoder=replace(stage2.encoder, reduction_layers=earliest_cuts(some.backbone.model)))
    stage3 = replace(options.stage3(UNPLANNED, 1, options.run, options.run.output_dir), encoder=stage2.encoder)
    dtype = getattr(torch, evaluation_dtype(options.run.dtype))
    train, evaluated = (
        round(len(records) * parts.texts_per_record) for records in (parts.examples.train, parts.examples.validation)
    )
    longer = stage2_texts(PolicyTrainingOptions(total_texts=options.total_texts), some.data_source == "embedded", train)
    usual2 = min(longer, MOST_POLICY_TEXTS)
    usual3 = stage3_texts(replace(stage3.training, total_texts=options.total_texts), device.type, train)
    table = 0.5 * TABLE_SIZE * MEASURED_TEXTS
    glance = min(GLANCE * parts.texts_per_record, evaluated)
    timed = min(TIMED_TEXTS, evaluated)
    ending = table + glance * REDUCED
    forward, exact = (
        forward_pace(placed(some.backbone.model, device, number_format), some)
        for number_format in (dtype, torch.float32)
    )
    reads = "first_tokens" if reads_first_tokens(some.task, some.backbone.model.config) else "tokens"
    probe = min(FIT_TEXTS[reads] + PROBED_TEXTS, train) * exact / forward  # always in float32
    return Work(
        holdout=len(parts.holdout),
        evaluation=len(parts.examples.validation),
        per_record=parts.texts_per_record,
        policy=(usual2, policy_pace(stage2, some)),
        joint=(usual3, joint_pace(stage3, some, own_teacher(some, options.run.dtype, device))),
        most_joint=max(usual3, DEFAULT_TEXTS["cuda"]),
        forward=forward,
        first=stage1_work(options, parts) if parts.needs_stage1 else (0, 0.0),
        overhead=(ending + glance + probe, ending + glance),
        reading=parts.seconds,
        passes=1.0 + sum(1.0 / speed for speed in SPEEDS),
        report_passes=1.0 + REDUCED,
        timed=table + (ROUNDS + 1) * timed * ROUND,
    )


def stage1_work(options: MakeFasterOptions, parts: Parts) -> tuple[int, float]:
    """Return the texts of fine-tuning, and about how many seconds each takes.

    Args:
        options: Options of the run.
        parts: Its texts.
    """
    device = resolve_device(options.run.device)
    train = round(len(parts.examples.train) * parts.texts_per_record)
    schedule = make_schedule(FinetuneTrainingOptions(), parts.some, train)
    pace = supervised_pace(schedule, parts.some, device, training_dtype(options.run.dtype, device))
    return schedule.steps * schedule.batch_size, pace
