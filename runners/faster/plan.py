"""Plan of a run: the number of texts of each stage, and about how long each takes on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runners.cli.tables import Cell, print_table


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        title: Name for readers.
        what: Description of the work.
        pattern: Folder of the stage's run, below that of the data set; empty where the part has none.
    """

    title: str
    what: str
    pattern: str = ""


#: The parts of a run, by the names that a plan has for them.
STAGES = {
    "fine-tuning": Stage("stage 1, fine-tuning", "fine-tune the checkpoint on the task", "finetune-*"),
    "stage 2": Stage("stage 2, policy", "learn which tokens can be skipped", "policy-*"),
    "stage 3": Stage("stage 3, joint training", "train the model to do with fewer tokens", "joint-*"),
    "measuring": Stage("measuring", "choose the speed, measure quality and speed"),
}
#: Share of the time left that is planned to be trained in: a few measured steps are an estimate.
PLANNED_SHARE = 0.85
#: Share of the training time that stage 2 gets, up to its usual number of texts: the encoder learns for longer.
STAGE2_SHARE = 0.25
#: Texts that each of the two stages needs to come to anything.
LEAST_TRAINED = 320
#: Held-out and evaluation records that are measured at least, where --minutes limits them.
LEAST_MEASURED = 100
#: Share of the time that each of the two may take.
MEASURED_SHARE = 0.1


class TooLittleTimeError(ValueError):
    """A time that does not do.

    Attributes:
        seconds: Seconds that would.
        training: Seconds of these that go into training.
        fewer: True if more records than :data:`LEAST_MEASURED` are measured of the held-out or evaluation ones.
    """

    def __init__(self, seconds: float, training: float, fewer: bool) -> None:
        """Keep the seconds."""
        super().__init__(f"at least {seconds:.0f} seconds are needed, {training:.0f} of them to train")
        self.seconds, self.training, self.fewer = seconds, training, fewer


@dataclass(frozen=True)
class Plan:
    """Numbers of texts, and seconds by stage.

    Attributes:
        holdout_texts: Records that are held out.
        chosen_on: Records of them that the speed is chosen by.
        policy_texts: Texts of stage 2.
        joint_texts: Texts of stage 3.
        evaluation_texts: Records of the evaluation split that are reported on; None for all.
        stage1_texts: Texts of fine-tuning; 0 where it is not needed.
        seconds: About how long each stage takes, by name.
    """

    holdout_texts: int
    chosen_on: int
    policy_texts: int
    joint_texts: int
    evaluation_texts: int | None = None
    stage1_texts: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def after(self, stage: str) -> float:
        """Return about how many seconds are left when a stage has ended.

        Args:
            stage: Name of the stage.
        """
        names = list(self.seconds)
        return sum(self.seconds[name] for name in names[names.index(stage) + 1 :])

    def left(self, stage: str) -> float:
        """Return about how many seconds are left when a stage begins.

        Args:
            stage: Name of the stage.
        """
        return self.seconds[stage] + self.after(stage)

    def texts_of(self, stage: str) -> int | None:
        """Return the number of texts that a stage trains on, repeats counted; None where that is not known.

        Args:
            stage: Name of the stage.
        """
        texts = {"fine-tuning": self.stage1_texts, "stage 2": self.policy_texts, "stage 3": self.joint_texts}
        return texts.get(stage) or None

    def told_texts(self, stage: str) -> str:
        """Return the number of texts of a stage in words; empty where it is not known.

        Args:
            stage: Name of the stage.
        """
        if stage == "measuring":
            reported = "all" if self.evaluation_texts is None else f"{self.evaluation_texts:,}"
            return f"{self.chosen_on:,} held-out and {reported} evaluation texts"
        texts = self.texts_of(stage)
        return "" if texts is None else f"{texts:,} texts"

    def told_changes(self, other: Plan) -> str:
        """Return what another plan has instead, in words; empty where it is the same.

        Args:
            other: The other plan.
        """
        numbers = {
            "texts in stage 2": (self.policy_texts, other.policy_texts),
            "texts in stage 3": (self.joint_texts, other.joint_texts),
            "held-out texts": (self.chosen_on, other.chosen_on),
            "evaluation texts": (self.evaluation_texts, other.evaluation_texts),
        }
        changed = {name: pair for name, pair in numbers.items() if pair[0] != pair[1] and None not in pair}
        return "; ".join(f"{new:,} {name}, not {old:,}" for name, (old, new) in changed.items())


#: Stands for the plan where the options of a stage are asked for, and not how long it trains.
UNPLANNED = Plan(1, 1, 1, 1)


@dataclass(frozen=True)
class Work:
    """What a plan is made of.

    Attributes:
        holdout: Records that are held out.
        evaluation: Records of the evaluation split.
        per_record: Texts that a record makes.
        policy: Usual texts of stage 2, and seconds a text.
        joint: Usual texts of stage 3, and seconds a text.
        most_joint: Texts of stage 3 beyond which more time brings little.
        forward: Seconds a text of an evaluation that skips nothing.
        first: Texts of fine-tuning, and seconds a text; no texts where it is not needed.
        overhead: Texts that stages 2 and 3 evaluate on their own, in passes that skip nothing.
        reading: Seconds in which a stage reads its texts.
        passes: Passes over the held-out texts, in passes that skip nothing.
        report_passes: Passes over the evaluation texts, likewise.
        timed: Texts that the closing clock runs, likewise.
    """

    holdout: int
    evaluation: int
    per_record: float
    policy: tuple[int, float]
    joint: tuple[int, float]
    most_joint: int
    forward: float
    first: tuple[int, float]
    overhead: tuple[float, float]
    reading: float
    passes: float
    report_passes: float
    timed: float

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Work:
        """Restore it from JSON values, whose pairs are lists.

        Args:
            values: ``dataclasses.asdict`` of it.
        """
        entries: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**entries)

    def usual(self) -> Plan:
        """Return the plan with all texts."""
        return self._plan(self.holdout, None, self.policy[0], self.joint[0])

    def within(self, seconds: float) -> Plan:
        """Return the plan that fits a time.

        Args:
            seconds: Time that is left.

        Raises:
            TooLittleTimeError: It does not even do for :data:`LEAST_TRAINED` texts of each stage.
        """
        record = self.forward * self.per_record
        chosen_on = _most(self.holdout, MEASURED_SHARE * seconds / (record * self.passes))
        evaluation = _most(self.evaluation, MEASURED_SHARE * seconds / (record * self.report_passes))
        fixed = sum(self._plan(chosen_on, evaluation, 0, 0).seconds.values())
        training = PLANNED_SHARE * (seconds - fixed)
        least = LEAST_TRAINED * (self.policy[1] + self.joint[1])
        if training < least:
            fewer = max(chosen_on, evaluation) > LEAST_MEASURED
            raise TooLittleTimeError(fixed + least / PLANNED_SHARE, least / PLANNED_SHARE, fewer)
        policy = int(max(LEAST_TRAINED, min(self.policy[0], STAGE2_SHARE * training / self.policy[1])))
        joint = int(max(LEAST_TRAINED, (training - policy * self.policy[1]) / self.joint[1]))
        return self._plan(chosen_on, evaluation, policy, min(joint, self.most_joint))

    def again(self, seconds: float, taken: float) -> Plan:
        """Return the plan of what follows fine-tuning, once that has ended: the least where the time does not do.

        Args:
            seconds: Time that is really left.
            taken: Time that fine-tuning really took.
        """
        later = replace(self, first=(0, 0.0))
        try:
            plan = later.within(seconds)
        except TooLittleTimeError:
            records = (min(LEAST_MEASURED, self.holdout), min(LEAST_MEASURED, self.evaluation))
            plan = later._plan(*records, LEAST_TRAINED, LEAST_TRAINED)
        return replace(plan, stage1_texts=self.first[0], seconds={"fine-tuning": taken, **plan.seconds})

    def _plan(self, chosen_on: int, evaluation: int | None, policy: int, joint: int) -> Plan:
        record = self.forward * self.per_record
        reported = self.evaluation if evaluation is None else evaluation
        second, third = (self.forward * texts + self.reading for texts in self.overhead)
        seconds = {
            **({"fine-tuning": self.first[0] * self.first[1] + self.reading} if self.first[0] else {}),
            "stage 2": policy * self.policy[1] + second,
            "stage 3": joint * self.joint[1] + third + 0.6 * self.holdout * record,
            "measuring": record * (chosen_on * self.passes + reported * self.report_passes) + self.forward * self.timed,
        }
        return Plan(self.holdout, chosen_on, policy, joint, evaluation, self.first[0], seconds)


def _most(count: int, allowed: float) -> int:
    """So many records as are allowed, but some."""
    return min(count, max(LEAST_MEASURED, int(allowed)))


def print_plan(plan: Plan, training_records: int, done: Mapping[str, float], slower: float = 1.0) -> None:
    """Print the stages with their texts and estimated minutes.

    Args:
        plan: The plan.
        training_records: Records to train on.
        done: Share of each stage that is done, by its name: 1 where it has ended; none where it has not begun.
        slower: How many times as long as planned the stages took that have ended.
    """
    rows: list[list[Cell]] = []
    total = 0.0
    for name, seconds in plan.seconds.items():
        share = done.get(name, 0.0)
        left = slower * seconds * (1.0 - share)
        total += left
        told = "ended" if share == 1.0 else f"{left / 60:.1f}" + (f", {100 * share:.0f} % done" if share else "")
        rows.append([STAGES[name].title, STAGES[name].what, plan.told_texts(name), told])
    minutes = f"{total / 60:.1f} minutes{' left' if done else ''}"
    title = f"plan, about {minutes}; {training_records:,} training texts"
    print_table(title, ["", "", "repeats counted", "minutes"], rows)
