"""Texts of a run in three parts: to train on, to choose the speed by, and to report on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from runners.cli.display import announce
from runners.cli.options import EncoderOptions
from runners.cli.run import UserError
from runners.faster.options import GLANCE, MakeFasterOptions
from runners.faster.plan import Plan
from runners.runs.earlier import knows_texts
from runners.training.loading import Holdout, RunExamples
from trbert_env.data.backbones import Backbone
from trbert_env.data.sampling import passages_of
from trbert_env.data.workload import Workload
from trbert_env.tasks import Task

#: Texts that are held out at least, to choose the speed by, and left to train on; and held out at most by default.
LEAST_TEXTS, MOST_HELD_OUT = 20, 2000


def enough(task: Task, records: Dataset, count: int) -> Dataset:
    """Return the first records: as many as are asked for, and more up to the end of a passage that can be measured.

    Args:
        task: The task, configured.
        records: Records of which those of a passage stand together.
        count: The number that is asked for.
    """
    last = min(max(count, int(task.counted(records).argmax()) + 1), len(records))
    end, passages = last, passages_of(records)
    while end < len(records) and passages[end] == passages[last - 1]:
        end += 1
    return records.select(range(end))


@dataclass(frozen=True)
class Parts:
    """The three parts, and the checkpoint.

    Attributes:
        examples: Records: ``train`` to train on, ``holdout`` to choose by, ``validation`` to report on.
        holdout: Records to choose by.
        checkpoint: The user's checkpoint; fine-tuned or not.
        some: The first training texts, encoded.
        seconds: Seconds that reading took.
    """

    examples: RunExamples
    holdout: Dataset
    checkpoint: Backbone
    some: Workload
    seconds: float

    @classmethod
    def load(cls, options: MakeFasterOptions) -> Parts:
        """Load all, so that a fault of any is known before the work begins.

        Raises:
            UserError: There are too few texts to train on.
            ValueError: There are too few to hold any out, or data or checkpoint are malformed.
            FileNotFoundError: They are missing.
        """
        started = time.perf_counter()
        holdout = Holdout(options.holdout_texts, most=MOST_HELD_OUT, least=LEAST_TEXTS, use="to choose the speed by")
        examples = RunExamples.load(options.data, holdout)
        if len(examples.train) < LEAST_TEXTS:
            raise UserError(f"{len(examples.train):,} texts are too few to train on: give at least {LEAST_TEXTS}")
        withheld = examples.holdout
        assert withheld is not None, "some are always held out"
        checkpoint = examples.load_encoder(EncoderOptions(options.model), pretrained=True)
        if knows_texts(examples.request, options.model):
            announce(
                f"{options.model} was trained on the training texts of this data, so that it knows those that are held "
                "out: what is lost on them says less of new texts. Give others as training data for a better promise"
            )
        return cls(examples, withheld, checkpoint, examples.encode_some(checkpoint), time.perf_counter() - started)

    @property
    def needs_stage1(self) -> bool:
        """Whether the checkpoint is still to be fine-tuned: it has no fitting head, or untrained positions."""
        return not self.checkpoint.fine_tuned or self.checkpoint.extended_from is not None

    def chosen_on(self, plan: Plan) -> Dataset:
        """Return the held-out records that the speed is chosen by.

        Args:
            plan: Numbers of records.
        """
        return enough(self.some.task, self.holdout, plan.chosen_on)

    def reported_on(self, plan: Plan) -> Dataset:
        """Return the evaluation records that are reported on.

        Args:
            plan: Numbers of records.
        """
        records = self.examples.validation
        most = plan.evaluation_texts
        return records if most is None else enough(self.some.task, records, most)

    @property
    def glance(self) -> int:
        """Evaluation records that the closing tables of stages are of."""
        return len(enough(self.some.task, self.examples.validation, GLANCE))

    @property
    def texts_per_record(self) -> float:
        """Texts that a record makes, about: windows of a long context are texts of their own."""
        return len(self.some.texts) / len(self.some.examples)

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the run works on, beyond names and paths; an untrained head is drawn anew each time."""
        facts = {"data_source": self.examples.source, **self.checkpoint.facts, **self.some.fingerprints}
        if self.needs_stage1:
            del facts["encoder_fingerprint"]
        return facts
