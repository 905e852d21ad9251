"""Loading for a run: examples of all splits, the encoder, then the encoded texts."""

from __future__ import annotations

from dataclasses import dataclass

from datasets import Dataset

from runners.cli.display import announce
from runners.cli.options import DataOptions, EncoderOptions
from trbert_env.data.backbones import Backbone, load_backbone
from trbert_env.data.sources import hold_out
from trbert_env.data.workload import Workload
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task


@dataclass(frozen=True)
class Splits:
    """The encoded texts of a training run.

    Attributes:
        train: Texts to learn from.
        validation: Texts of the closing record.
        holdout: Texts set aside from the training split, to watch the quality on; None for none.
    """

    train: Workload
    validation: Workload
    holdout: Workload | None = None


@dataclass(frozen=True)
class RunExamples:
    """The examples of a training run, before any encoder is loaded.

    Attributes:
        env: Name of the data set.
        source: Source that the examples really came from: ``"local"``, ``"hub"`` or ``"embedded"``.
        train: Examples to learn from.
        validation: Examples of the closing record.
        holdout: Examples set aside from the training split; None for none.
    """

    env: str
    source: str
    train: Dataset
    validation: Dataset
    holdout: Dataset | None = None

    @classmethod
    def load(cls, data: DataOptions, holdout_texts: int | None = None) -> RunExamples:
        """Load all splits at once, so that a fault of any is known before the work begins; announce the source.

        Args:
            data: The group of options.
            holdout_texts: Examples to set aside from the training split; they are drawn before
                ``max_train_texts``, and so are the same for every number of training texts. None sets none
                aside, and takes ``max_train_texts`` from the whole split.

        Raises:
            ValueError: The data set is unknown, the files are malformed, or nothing would be left to train on.
            FileNotFoundError: A folder or file is missing.
        """
        at_first = data.max_train_texts if holdout_texts is None else None
        found, train = Workload.load_examples(data.env, "train", data.data_source, data.data_dir, at_first)
        announce(f"training data: {found.description}")
        holdout = None
        if holdout_texts is not None:
            train, holdout = hold_out(found.dataset, holdout_texts)
            if data.max_train_texts is not None:
                train = train.select(range(min(data.max_train_texts, len(train))))
        split = get_preset(data.env).evaluation_split
        _, validation = Workload.load_examples(data.env, split, found.source, data.data_dir, data.max_eval_texts)
        return cls(data.env, found.source, train, validation, holdout if holdout_texts else None)

    def load_encoder(self, encoder: EncoderOptions, *, pretrained: bool = False) -> Backbone:
        """Load the encoder of the options; see :func:`trbert_env.data.backbones.load_backbone`.

        Args:
            encoder: The group of options.
            pretrained: Whether to take the encoder as it was before any fine-tuning of ours.
        """
        preset = get_preset(self.env)
        task = make_task(preset)
        return load_backbone(preset, task, encoder.backbone, self.source, pretrained=pretrained, records=self.train)

    def encode(self, backbone: Backbone) -> Splits:
        """Encode all splits for an encoder.

        Raises:
            ValueError: The encoder cannot read a text.
        """

        def encoded(examples: Dataset, split: str) -> Workload:
            return Workload.encode(get_preset(self.env), examples, backbone, split, self.source)

        train = encoded(self.train, "train")
        holdout = None if self.holdout is None else encoded(self.holdout, "holdout")
        split = get_preset(self.env).evaluation_split
        return Splits(train, encoded(self.validation, split), holdout)


def check_holdout(data: DataOptions, holdout_texts: int) -> None:
    """Check that examples can be set aside, before a stage that comes earlier runs.

    Raises:
        ValueError: Nothing would be left to train on.
    """
    found, _ = Workload.load_examples(data.env, "train", data.data_source, data.data_dir, None)
    hold_out(found.dataset, holdout_texts)


def load_split(data: DataOptions, backbone: Backbone | str | None, split: str | None = None) -> Workload:
    """Load one split to evaluate on.

    Args:
        data: The group of options.
        backbone: An encoder that is loaded, its folder or hub name, or None for the published one.
        split: Name of the split; the data set's own for results where it is None.
    """
    return Workload.load(
        data.env,
        split or get_preset(data.env).evaluation_split,
        backbone=backbone,
        data_source=data.data_source,
        data_dir=data.data_dir,
        max_examples=data.max_eval_texts,
    )
