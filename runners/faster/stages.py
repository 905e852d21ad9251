"""The stages of a run, nested in its folder: what is done is found, what was begun goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from runners.cli.display import announce
from runners.cli.options import EncoderOptions, ResumableT, RunOptions
from runners.evaluation.nested_runs import ended_run, found_or_run
from runners.faster.ledger import Ledger
from runners.faster.options import MakeFasterOptions
from runners.faster.plan import STAGES, Work
from runners.faster.texts import Parts
from runners.finetune import finetune
from runners.joint_finetune import joint_finetune
from runners.runs.checkpoint import saved_progress
from runners.runs.run_folder import RunFolder
from runners.train_policy import train_policy
from trbert_env.data.backbones import Backbone

#: Folder of the stages' runs in that of the whole; theirs are below it by data set.
STAGES_FOLDER = "stages"
#: Share that is done of a stage which has seen its texts and has not ended.
ALMOST = 0.99


class Stages:
    """The stages that a checkpoint needs.

    Args:
        options: Options of the run.
        ledger: Numbers of texts, and the time that was spent.
        parts: Its texts; no stage sees the held-out ones, and those to report on only to print a glance.
        folder: Folder of the run; it holds ``stages/<env>/`` with theirs.
    """

    def __init__(self, options: MakeFasterOptions, ledger: Ledger, parts: Parts, folder: RunFolder) -> None:
        self.options, self.ledger, self.parts, self._folder = options, ledger, parts, folder
        self._run: RunOptions = replace(options.run, output_dir=folder.path / STAGES_FOLDER)
        self._place: Path = self._run.output_dir / options.data.env
        self._train_texts = len(parts.examples.train)
        self._glance: MakeFasterOptions = replace(options, data=replace(options.data, max_eval_texts=parts.glance))

    def start(self) -> str:
        """Return the folder or hub name of the fine-tuned checkpoint, after fine-tuning where that is to do."""
        if not self.parts.needs_stage1:
            return str(self.options.model)
        return str(self._run_of("fine-tuning", finetune, self._glance.stage1(self._train_texts, self._run)))

    def plan_again(self) -> bool:
        """Plan what follows fine-tuning from the minutes that are really left, once; returns whether that was due.

        The new plan is on the disk before the next stage begins, so that a resumed run goes on with its numbers.
        """
        old, minutes = self.ledger.plan, self.options.minutes
        work = self._folder.read_config()["facts"].get("work")  # which runs of earlier versions do not have
        begun = any(self._place.glob(STAGES["stage 2"].pattern))
        if minutes is None or work is None or not self.parts.needs_stage1 or self.ledger.planned_again or begun:
            return False
        left, took = 60 * minutes - self.ledger.total, self.ledger.spent("fine-tuning")
        plan = Work.of_json(work).again(left, took)
        self.ledger.plan_again(plan)
        print(
            f"planned again: fine-tuning took {took / 60:.1f} minutes, not {old.seconds['fine-tuning'] / 60:.1f}, "
            f"and {max(left, 0.0) / 60:.1f} of {minutes:g} are left: {old.told_changes(plan) or 'nothing changes'}",
            flush=True,
        )
        if (needed := plan.after("fine-tuning")) > left:
            announce(
                f"--minutes {minutes:g} cannot be kept to: the least that can be trained and measured takes about "
                f"{needed / 60:.1f} minutes more"
            )
        return True

    def unreduced(self) -> Backbone:
        """Return the fine-tuned checkpoint, which the faster model is compared with."""
        return self.parts.examples.load_encoder(EncoderOptions(self.start()))

    def policy(self, start: str) -> Path:
        """Return the run of stage 2; runs it where it is missing.

        Args:
            start: Folder or hub name of the fine-tuned checkpoint, from :meth:`start`.
        """
        stage2 = self._glance.stage2(self.ledger.plan, self._train_texts, self._run, start)
        return self._run_of("stage 2", partial(train_policy, read_clock=False), stage2)

    def trained(self, start: str) -> Path:
        """Return the run of the last stage; runs what is missing.

        Args:
            start: Folder or hub name of the fine-tuned checkpoint, from :meth:`start`.
        """
        policy = self.policy(start)
        stage3 = self._glance.stage3(self.ledger.plan, self._train_texts, self._run, policy)
        stage3 = replace(stage3, full_from=policy)
        return self._run_of("stage 3", partial(joint_finetune, read_clock=False), stage3)

    def _run_of(self, stage: str, runner: Callable[[ResumableT], RunFolder], options: ResumableT) -> Path:
        """The run of a stage, found where it has ended."""

        def counted(options: ResumableT) -> RunFolder:
            with self.ledger.spending(stage):
                return runner(options)

        return found_or_run(counted, options, self._place, STAGES[stage].pattern, self._notice(stage))

    def _notice(self, stage: str) -> str:
        plan, share = self.ledger.plan, self.done.get(stage, 0.0)
        own, after = self.slower * plan.seconds[stage] * (1.0 - share), self.slower * plan.after(stage)
        begun = f"goes on with {100 * share:.0f} % of its texts done, about {own / 60:.1f} minutes are left of it"
        said = begun if share else f"about {own / 60:.1f} minutes"
        few = self._glance.data.max_eval_texts
        found = f" Its closing tables are of {few} texts, to see that it went well; the result comes last."
        notice = f"{STAGES[stage].title}: {said}; with what follows, {(own + after) / 60:.1f} are left in all."
        return notice + ("" if stage == "fine-tuning" else found)

    @property
    def slower(self) -> float:
        """How many times as long as planned the stages took that have ended."""
        return self.ledger.slower(ended_stages(self._place))

    @property
    def done(self) -> dict[str, float]:
        """Share of each stage that is done, by its name; see :func:`shares_done`."""
        return shares_done(self._place)


def ended_stages(place: Path) -> dict[str, Path]:
    """Return the runs of the stages that have ended, by the name of the stage.

    Args:
        place: Folder of the stages' runs on the data set.
    """
    found = {name: ended_run(place, stage.pattern) for name, stage in STAGES.items() if stage.pattern}
    return {name: path for name, path in found.items() if path is not None}


def shares_done(place: Path) -> dict[str, float]:
    """Return the share of each stage that is done, by its name: 1 where it has ended; none where nothing is saved.

    Args:
        place: Folder of the stages' runs on the data set.
    """
    shares = dict.fromkeys(ended_stages(place), 1.0)
    for name, stage in STAGES.items():
        for folder in place.glob(f"{stage.pattern}/*") if stage.pattern else ():
            share = saved_progress(RunFolder(folder).checkpoint_dir)
            if share and name not in shares:
                shares[name] = min(share, ALMOST)
    return shares
