"""Loading for a run: examples of all splits, the encoder, then the encoded texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from runners.cli.display import announce
from runners.cli.options import DataOptions, EncoderOptions
from runners.runs.earlier import check_split
from trbert_env.data.backbones import Backbone
from trbert_env.data.cache import cache_folder, told_training
from trbert_env.data.request import DataRequest
from trbert_env.data.sampling import begin, hold_out, sample
from trbert_env.data.sources import Examples
from trbert_env.data.workload import Workload, load_requested, settled
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.tasks import Task
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.too_long import too_long


@dataclass(frozen=True)
class Splits:
    """The encoded texts of a training run.

    Attributes:
        train: Texts to learn from.
        validation: Texts of the closing record.
        holdout: Texts set aside from the training split, to watch the quality on; None for none.
        unlabelled: Texts without labels that a policy learns from in place of the training texts; None for none.
    """

    train: Workload
    validation: Workload
    holdout: Workload | None = None
    unlabelled: Workload | None = None

    @property
    def practice(self) -> Workload:
        """Texts that a policy learns from."""
        return self.train if self.unlabelled is None else self.unlabelled


#: Records that are set aside where no number is given, and the share of the training split that they are at most.
DEFAULT_HOLDOUT, LARGEST_SHARE = 500, 0.1
#: Records that tell what texts cost.
SOME_RECORDS = 1000


@dataclass(frozen=True)
class Holdout:
    """How many training records are set aside, and what for.

    Attributes:
        texts: ``--holdout-texts``; None for a tenth of the records, within the next two.
        most: The most records that are set aside where no number is given.
        least: The least.
        use: Use of them, for messages.
    """

    texts: int | None = None
    most: int = DEFAULT_HOLDOUT
    least: int = 0
    use: str = "to watch the quality on"

    @property
    def _or_none(self) -> str:
        return "" if self.least else ", 0 for none"

    def split(self, dataset: Dataset) -> tuple[Dataset, Dataset | None]:
        """Return the records to learn from, in random order, and those set aside, None for none; announce how many.

        Args:
            dataset: The training split.

        Raises:
            ValueError: More would be set aside than left to train on, or less than :attr:`least`.
        """
        if len(dataset) < 2 * self.least:
            raise ValueError(
                f"{len(dataset):,} training texts are too few: at least {self.least} are held out {self.use}, and as "
                f"many must be left to train on"
            )
        if self.texts is not None and self.texts < self.least:
            raise ValueError(f"--holdout-texts is {self.texts}; at least {self.least} are needed {self.use}")
        default = max(self.least, min(self.most, int(LARGEST_SHARE * len(dataset))))
        try:
            train, withheld = hold_out(dataset, default if self.texts is None else self.texts)
        except ValueError as error:
            raise ValueError(f"{error} (--holdout-texts{self._or_none})") from error
        if len(withheld) > len(train):
            whole = "" if self.texts == len(withheld) else ", as those that share a passage stay together"
            raise ValueError(
                f"{len(withheld):,} of {len(dataset):,} training texts would be withheld{whole}, which leaves "
                f"{len(train):,} to train on: give a --holdout-texts that withholds at most half of them{self._or_none}"
            )
        if not len(withheld):
            return train, None
        announce(
            f"{len(withheld):,} of {len(dataset):,} training texts are withheld from training, {self.use} "
            "(--holdout-texts)"
        )
        return train, withheld


@dataclass(frozen=True)
class RunExamples:
    """The records of a training run, before any encoder is loaded.

    Attributes:
        request: Names of the records.
        source: Source that the records really came from: ``"local"``, ``"hub"`` or ``"embedded"``.
        labels: Names of all classes in their order, where the data have them.
        train: Records to learn from.
        validation: Records of the closing record.
        settling: All records of the training split, by which the task and its head are settled: a sample may lack
            questions without an answer.
        holdout: Records set aside from the training split; None for none.
        trained: Task of an earlier run's model, whose settings hold for encoders too; None where none settles them.
    """

    request: DataRequest
    source: str
    labels: tuple[str, ...]
    train: Dataset
    validation: Dataset
    settling: Dataset
    holdout: Dataset | None = None
    trained: Task | None = None

    @classmethod
    def load(
        cls, data: DataOptions, holdout: Holdout | None = None, *, trained: TrainedOn | None = None
    ) -> RunExamples:
        """Load all splits at once, so that a fault of any is known before the work begins; announce the source.

        Args:
            data: The group of options.
            holdout: Records to set aside from the training split; they are drawn before ``max_train_texts``, and
                so are the same for every number of training texts. None sets none aside, and takes
                ``max_train_texts`` from the whole split.
            trained: Data set and task of an earlier run's model, which settles how texts are read; None where
                none does.

        Raises:
            ValueError: The data set is unknown, the files are malformed, or nothing would be left to train on.
            FileNotFoundError: A folder or file is missing.
        """
        request = request_for(data, trained)
        found = request.load("train")
        announce(f"training data: {found.description}")
        withheld = None
        if holdout is None:
            train = sample(found.dataset, data.max_train_texts)
        else:
            train, withheld = holdout.split(found.dataset)
            if data.max_train_texts is not None:
                train = begin(train, data.max_train_texts)
        beside = _beside(request, found.source).dataset
        validation = sample(beside, data.max_eval_texts)
        if len(validation) < len(beside):
            announce(f"evaluation data: {len(validation):,} of them are drawn at random (--max-eval-texts)")
        # The names stay as the options say, else an encoder of a shorter length would be extended to the model's.
        task = None if trained is None else trained.task
        return cls(data.request(), found.source, found.labels, train, validation, found.dataset, withheld, task)

    def load_encoder(self, encoder: EncoderOptions, *, pretrained: bool = False) -> Backbone:
        """Load the encoder of the options; see :func:`trbert_env.data.backbones.load_backbone`.

        Args:
            encoder: The group of options.
            pretrained: True to take the encoder as it was before any fine-tuning of ours.

        Raises:
            ValueError: It was trained on another split of the same texts; see
                :func:`runners.runs.earlier.check_split`.
        """
        check_split(self.request, encoder.backbone)
        found = load_requested(
            self.request,
            encoder.backbone,
            self.source,
            self.settling,
            self.labels,
            pretrained=pretrained,
            settings=None if self.trained is None else self.trained.settings,
        )
        if Path(found.source).is_relative_to(cache_folder()):
            trained = told_training(Path(found.source))
            announce(
                f"backbone '{found.name}': its weights are those that finetune.py left in {found.source}"
                + (f" ({trained})" if trained else "")
            )
        return found

    def encode_some(self, backbone: Backbone) -> Workload:
        """Encode the first training records, in random order: enough to tell what texts cost.

        Args:
            backbone: The encoder, whose head may still be untrained.
        """
        asked = self.request.length is not None
        preset = settled(self.request.preset, backbone, self.settling, self.labels, asked=asked)
        some = self.train.select(range(min(SOME_RECORDS, len(self.train))))
        return _told(Workload.encode(preset, some, backbone, "train", self.source))

    def encode(self, backbone: Backbone, settings: Mapping[str, Any] | None = None) -> Splits:
        """Encode all splits for an encoder.

        Args:
            backbone: The encoder.
            settings: Settings of the task that a trained model settles; those of the request where it is None.

        Raises:
            ValueError: The encoder cannot read a text.
        """
        asked = self.request.preset
        asked = asked if settings is None else replace(asked, settings=settings)
        known = settings is not None or self.request.length is not None
        preset = settled(asked, backbone, self.settling, self.labels, asked=known)

        def encoded(examples: Dataset, split: str, data: str) -> Workload:
            workload = Workload.encode(preset, examples, backbone, split, self.source)
            announce_too_long(workload, data, trained=settings is not None)
            return workload

        train = _told(encoded(self.train, "train", "training data"))
        holdout = None if self.holdout is None else encoded(self.holdout, "holdout", "withheld training data")
        return Splits(train, encoded(self.validation, preset.evaluation_split, "evaluation data"), holdout)


def _told(workload: Workload) -> Workload:
    """The same, after telling how the head's outputs are read."""
    if (note := workload.task.label_note) is not None:
        announce(note)
    return workload


def announce_too_long(workload: Workload, data: str, *, trained: bool) -> None:
    """Say how many texts of a split do not fit, for what is cut is lost without a trace.

    Args:
        workload: The split.
        data: Name of the split in messages, such as ``"training data"``.
        trained: True if a trained model settles the length, so that no option of this runner changes it.
    """
    found = too_long(workload.task, workload.examples, workload.backbone.tokenizer)
    if found is not None:
        slices = " or --task-options max_slices=N" if found.slices else ""
        settled = ", as the model was trained; a model trained with another " if trained else "; "
        announce(f"{data}: {found}{settled}--max-length{slices} lets a text have more")


def _beside(request: DataRequest, source: str) -> Examples:
    """The split that results are reported on, from where the training split was found."""
    found = request.load(request.preset.evaluation_split, None if request.is_own else source)
    announce(f"evaluation data: {found.description}")
    return found


def check_holdout(data: DataOptions, holdout: Holdout) -> None:
    """Check that records can be set aside, before a stage that comes earlier runs.

    Raises:
        ValueError: More would be set aside than left to train on.
    """
    holdout.split(data.request().load("train").dataset)


def load_split(
    data: DataOptions,
    backbone: Backbone | str | None,
    split: str | None = None,
    *,
    trained: TrainedOn | None = None,
    training: bool | None = None,
) -> Workload:
    """Load one split to evaluate on.

    Args:
        data: The group of options.
        backbone: An encoder that is loaded, its folder or hub name, or None for the published one.
        split: Name of the split; the one that results are reported on where it is None.
        trained: Data set and task of a trained model, which settles them; None where none does.
        training: False to encode training texts as those of other splits, to measure on them; None to encode them as
            training does.

    Raises:
        ValueError: The encoder or the trained model was trained on another split of the same texts.
    """
    request = request_for(data, trained)
    if isinstance(backbone, str):
        check_split(request, backbone)
    name = split or request.preset.evaluation_split
    found = request.load(name)
    use = "training data" if name == "train" else "evaluation data"
    announce(f"{use}: {found.description}")
    workload = Workload.of_examples(
        request, found, name, backbone=backbone, max_examples=data.max_eval_texts, training=training
    )
    announce_too_long(workload, use, trained=trained is not None)
    return workload


@dataclass(frozen=True)
class TrainedOn:
    """What a trained model settles of the texts that it is evaluated on.

    Attributes:
        env: Name of the data set.
        task: Task with the settings that it was trained with.
        model: Folder of the model or of its run, or its name on the hub; None where it comes from none.
    """

    env: str
    task: Task
    model: str | Path | None = None

    @classmethod
    def of(cls, model: TokenReducedModel, place: str | Path | None) -> TrainedOn:
        """Return what a token-reduced model settles.

        Args:
            model: The model.
            place: Folder of the model or of its run, or its name on the hub; None where it comes from none.
        """
        return cls(model.config.env, model.task, place)


def request_for(data: DataOptions, trained: TrainedOn | None) -> DataRequest:
    """Return the names of records, read as a trained model learned to.

    Args:
        data: The group of options; of own texts, the model tells the kind of labels that is not named.
        trained: Data set and task of the model; None for none, where the options alone say how records are read.

    Raises:
        ValueError: The model was trained on another split of the same texts.
    """
    if trained is None:
        return data.request()
    task = trained.task
    request = replace(replace(data, env=trained.env).request(), task_settings=task.settings)
    check_split(request, trained.model)
    if isinstance(task, Classification) and request.is_own and request.label_kind == "auto":
        request = replace(request, label_kind=task.label_kind)
    return request
