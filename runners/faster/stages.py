"""The stages of a run, nested in its folder: what is done is found, what was begun goes on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from runners.cli.options import EncoderOptions, RunOptions
from runners.evaluation.nested_runs import ended_run, found_or_run
from runners.faster.options import GLANCE, MakeFasterOptions
from runners.faster.plan import STAGES, Plan
from runners.faster.texts import Parts
from runners.finetune import finetune
from runners.joint_finetune import joint_finetune
from runners.runs.run_folder import RunFolder
from runners.train_policy import train_policy
from trbert_env.data.backbones import Backbone

#: Folder of the stages' runs in that of the whole; theirs are below it by data set.
STAGES_FOLDER = "stages"


class Stages:
    """The stages that a checkpoint needs.

    Args:
        options: Options of the run.
        plan: Numbers of texts.
        parts: Its texts; no stage sees the held-out ones, and those to report on only to print a glance.
        folder: Folder of the run; it holds ``stages/<env>/`` with theirs.
    """

    def __init__(self, options: MakeFasterOptions, plan: Plan, parts: Parts, folder: RunFolder) -> None:
        self.options, self.plan, self.parts = options, plan, parts
        self._run: RunOptions = replace(options.run, output_dir=folder.path / STAGES_FOLDER)
        self._place: Path = self._run.output_dir / options.data.env
        self._train_texts = len(parts.examples.train)

    def start(self) -> str:
        """Return the folder or hub name of the fine-tuned checkpoint, after fine-tuning where that is to do."""
        if not self.parts.needs_stage1:
            return str(self.options.model)
        options = self.options.stage1(self._train_texts, self._run)
        return str(found_or_run(finetune, options, self._place, **self._run_of("fine-tuning")))

    def unreduced(self) -> Backbone:
        """Return the fine-tuned checkpoint, which the faster model is compared with."""
        return self.parts.examples.load_encoder(EncoderOptions(self.start()))

    def trained(self) -> Path:
        """Return the run of the last stage; runs what is missing."""
        stage2 = self.options.stage2(self.plan, self._train_texts, self._run, self.start())
        policy = found_or_run(partial(train_policy, read_clock=False), stage2, self._place, **self._run_of("stage 2"))
        stage3 = self.options.stage3(self.plan, self._train_texts, self._run, policy)
        stage3 = replace(stage3, full_from=policy)
        return found_or_run(partial(joint_finetune, read_clock=False), stage3, self._place, **self._run_of("stage 3"))

    def _run_of(self, stage: str) -> dict[str, str]:
        return {"pattern": STAGES[stage].pattern, "notice": self._notice(stage)}

    def _notice(self, stage: str) -> str:
        minutes, left = self.plan.seconds[stage] / 60, self.plan.left(stage) / 60
        found = f" Its closing tables are of {GLANCE} texts, to see that it went well; the result comes last."
        said = f"{stage}: about {minutes:.1f} minutes from its beginning; from there, {left:.1f} are left in all."
        return said + ("" if stage == "fine-tuning" else found)

    @property
    def ended(self) -> set[str]:
        """Names of the stages that have ended."""
        return set(ended_stages(self._place))


def ended_stages(place: Path) -> dict[str, Path]:
    """Return the runs of the stages that have ended, by the name of the stage.

    Args:
        place: Folder of the stages' runs on the data set.
    """
    found = {name: ended_run(place, stage.pattern) for name, stage in STAGES.items() if stage.pattern}
    return {name: path for name, path in found.items() if path is not None}
