"""A workload: the fine-tuned backbone and the encoded texts of one split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets

from trbert_env.data.backbones import Backbone, check_texts, load_backbone
from trbert_env.data.fingerprints import fingerprint_model, fingerprint_records, fingerprint_tokenizer
from trbert_env.data.request import DataRequest
from trbert_env.data.sampling import sample
from trbert_env.data.sources import Examples
from trbert_env.encoder.positions import longest_sequence
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.parameters import ParameterError
from trbert_env.presets import Preset
from trbert_env.staged_model import staged_encoder
from trbert_env.tasks import Task, make_task
from trbert_env.tasks.fitting import fitted_settings

#: Texts that are made records of at once.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Workload:
    """What an environment, an evaluation or a training run works on.

    Attributes:
        preset: The data set's record.
        task: Its task.
        backbone: Model and tokenizer.
        examples: The examples of the split (questions, in span QA).
        texts: Their texts (windows, in span QA), in the same order.
        split: Name of the split.
        data_source: ``"local"``, ``"hub"`` or ``"embedded"``: where the examples really came from.
        labelled: False where the gold answers of the examples mean nothing; see :meth:`unlabelled`.
    """

    preset: Preset
    task: Task
    backbone: Backbone
    examples: Dataset
    texts: Sequence[EncodedText]
    split: str
    data_source: str
    labelled: bool = True

    @cached_property
    def _texts_fingerprint(self) -> str:
        return fingerprint_records(self.examples, {"split": self.split, **self.task.told_settings})

    def encoder(self, reduction_layers: Sequence[float] | None = None) -> StagedEncoder:
        """Return the backbone's encoder, as passes over these texts run it; see :func:`staged_encoder`.

        Args:
            reduction_layers: Cuts; None for the default of the encoder's depth.

        Raises:
            ValueError: The reduction layers do not fit the encoder.
        """
        return staged_encoder(self.backbone.model, self.task, reduction_layers)

    @property
    def fingerprints(self) -> dict[str, str]:
        """What it is made of, beyond names and paths: the encoder as it is now, its tokenizer, and the texts."""
        return {
            "encoder_fingerprint": fingerprint_model(self.backbone.model),
            "tokenizer_fingerprint": fingerprint_tokenizer(self.backbone.tokenizer),
            "texts_fingerprint": self._texts_fingerprint,
        }

    @classmethod
    def load(
        cls,
        request: DataRequest,
        split: str,
        *,
        backbone: str | Backbone | None = None,
        max_examples: int | None = None,
        reduction_layers: Sequence[float] | None = None,
    ) -> Workload:
        """Load the records, then the backbone, then encode.

        Args:
            request: Names of the records.
            split: A split of the data set.
            backbone: A folder, a hub name, ``"embedded"``, None for the preset's, or one that is loaded.
            max_examples: Size of a random sample to take, always the same.
            reduction_layers: If given, checked against the backbone's depth before the long work of encoding.

        Raises:
            ValueError: An unknown name, malformed data, an unsupported family.
            FileNotFoundError: A folder or file that is not there.
        """
        found = request.load(split)
        return cls.of_examples(
            request, found, split, backbone=backbone, max_examples=max_examples, reduction_layers=reduction_layers
        )

    @classmethod
    def of_examples(
        cls,
        request: DataRequest,
        found: Examples,
        split: str,
        *,
        backbone: str | Backbone | None = None,
        max_examples: int | None = None,
        reduction_layers: Sequence[float] | None = None,
        training: bool | None = None,
    ) -> Workload:
        """Load the backbone for records that are loaded, then encode; see :meth:`load`.

        Args:
            request: Names of the records.
            found: The records, as the request loaded them.
            split: The split that they are.
            backbone: As for :meth:`load`.
            max_examples: As for :meth:`load`.
            reduction_layers: As for :meth:`load`.
            training: As for :meth:`encode`.
        """
        examples, labels = sample(found.dataset, max_examples), found.labels
        settling = request.settling(found, split)
        if not isinstance(backbone, Backbone):
            with torch.random.fork_rng(devices=[]):  # a head that is missing is the same one in each process
                torch.manual_seed(0)
                backbone = load_requested(request, backbone, found.source, settling, labels)
        StagedEncoder(backbone.model, reduction_layers)
        if not backbone.fine_tuned:
            warnings.warn(
                f"backbone '{backbone.name}' is not fine-tuned for {request.env}: its task head is untrained; "
                "run runners/finetune.py first",
                stacklevel=2,
            )
        preset = settled(request.preset, backbone, settling, labels, asked=request.length is not None)
        return cls.encode(preset, examples, backbone, split, found.source, training=training)

    @classmethod
    def encode(
        cls,
        preset: Preset,
        examples: Dataset,
        backbone: Backbone,
        split: str,
        data_source: str,
        *,
        training: bool | None = None,
    ) -> Workload:
        """Encode records for a backbone; see :meth:`load`.

        Args:
            preset: The data set's record, with the settings of :func:`settled`.
            examples: The records.
            backbone: The encoder and its tokenizer.
            split: Name of the split.
            data_source: Source of the records.
            training: True to encode texts to learn from: those that nothing can be learned from may be left out, and
                others may vary from pass to pass. False to measure on them. None for True where the split is
                ``"train"``.

        Raises:
            ValueError: The backbone cannot read a text; see :func:`~trbert_env.data.backbones.check_texts`. Or a split
                to measure on is not fit for it; see :meth:`Task.check_measurable`. Or there is nothing to learn from.
        """
        task = make_task(preset)
        task.configure(backbone.model.config)
        learned = split == "train" if training is None else training
        if not learned:
            task.check_measurable(examples)
        texts = task.encode(examples, backbone.tokenizer, training=learned)
        if learned and not len(texts):
            raise ParameterError(
                lambda name: (
                    f"none of the {len(examples):,} records to train on has an answer in what is read of them, up to "
                    f"{task.max_text_tokens:,} tokens: raise {name('max_length')}, or give other records"
                )
            )
        check_texts(backbone, texts, task)
        return cls(preset, task, backbone, examples, texts, split, data_source)

    def require_labels(self, use: str) -> None:
        """Refuse texts without gold answers.

        Args:
            use: What needs them, for the message.

        Raises:
            ValueError: There are none.
        """
        if not self.labelled:
            raise ValueError(f"{use} needs gold answers, and the texts are unlabelled: give texts with labels")

    def unlabelled(self, rows: Sequence[Mapping[str, str | None]], ids: Sequence[str] | None = None) -> Workload:
        """Return the same task and backbone on texts without gold answers.

        A policy can learn from them where the reward is nearness to the unreduced model (``"distillation"``).

        Args:
            rows: Values of the task's ``own_fields`` of each text by name, as
                :meth:`~trbert_env.tasks.base.Task.own_records` takes them.
            ids: Ids of the texts, each once; numbers from 0 where None.

        Raises:
            ValueError: There is no text, a value is missing or of no use, there is not one id for each, or the backbone
                cannot read a text.
        """
        if not len(rows):
            raise ValueError("there are no unlabelled texts: give at least one")
        keys = [str(number) for number in range(len(rows))] if ids is None else list(ids)
        if len(set(keys)) != len(rows):
            raise ValueError(f"{len(rows)} texts but {len(set(keys))} ids that differ: give one for each, or none")
        parts = [range(first, min(first + _AT_ONCE, len(rows))) for first in range(0, len(rows), _AT_ONCE)]
        made = [self.task.own_records([rows[place] for place in part], keys[part.start : part.stop]) for part in parts]
        records = concatenate_datasets(made)
        texts = self.task.encode(records, self.backbone.tokenizer)
        check_texts(self.backbone, texts, self.task)
        return replace(self, examples=records, texts=texts, split="unlabelled", labelled=False)


def load_requested(
    request: DataRequest,
    name: str | None,
    source: str,
    examples: Dataset,
    labels: Sequence[str],
    *,
    pretrained: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Backbone:
    """Load the encoder for requested records; see :func:`~trbert_env.data.backbones.load_backbone`.

    Args:
        request: Names of the records.
        name: A folder, a hub name, ``"embedded"``, or None for the preset's.
        source: Source of the records.
        examples: Records, which tell labels where a head is still to be trained.
        labels: Names of all classes in their order, where the data have them.
        pretrained: True to take the encoder as it was before any fine-tuning of ours.
        settings: Settings of the task that its head must fit; None for those of the request.
    """
    preset = request.preset if settings is None else replace(request.preset, settings=settings)
    key, task = request.cache_key(source), make_task(preset)
    return load_backbone(
        request.preset,
        task,
        name,
        key,
        pretrained=pretrained,
        records=examples,
        labels=labels,
        length=request.length,
    )


def settled(
    preset: Preset, backbone: Backbone, examples: Dataset, labels: Sequence[str], *, asked: bool = False
) -> Preset:
    """Return a preset whose settings say what encoder and records tell, such as the kind of head.

    Where the encoder or its tokenizer reads fewer tokens than the settings ask for, sequences are as long as it reads,
    with a warning: a length that a user asks for extends it before.

    Args:
        preset: The data set.
        backbone: The encoder and its tokenizer.
        examples: Records, which tell labels.
        labels: Names of all classes in their order, where the data have them.
        asked: True if the length was asked for, or a trained model settles it: the tokenizer's own does not count.
    """
    task = make_task(preset)
    task.configure(backbone.model.config, examples, labels)
    positions = longest_sequence(backbone.model)
    fitted = fitted_settings(task.settings, positions if asked else backbone.readable_tokens)
    if fitted["max_tokens"] != task.max_tokens:
        most = fitted["max_tokens"]
        reason = f"knows {most} positions" if most == positions else f"has a tokenizer that cuts at {most} tokens"
        otherwise = "extends the encoder" if positions < task.max_tokens else "reads them whole"
        warnings.warn(
            f"backbone '{backbone.name}' {reason}, and {preset.name} is read in sequences of {task.max_tokens} tokens: "
            f"they are shortened to {most} (--max-length {task.max_tokens} {otherwise} instead)",
            stacklevel=2,
        )
    return replace(preset, settings=fitted)
