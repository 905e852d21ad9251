"""A workload: the fine-tuned backbone and the encoded texts of one split."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datasets import Dataset

from trbert_env.data.backbones import Backbone, check_texts, load_backbone
from trbert_env.data.fingerprints import fingerprint_model, fingerprint_texts, fingerprint_tokenizer
from trbert_env.data.sources import Examples, load_examples, sample
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import Preset, get_preset
from trbert_env.tasks import Task, make_task


@dataclass(frozen=True)
class Workload:
    """What an environment, an evaluation or a training run works on.

    Attributes:
        preset: The data set's record.
        task: Its task.
        backbone: Model and tokenizer.
        examples: The examples of the split (questions, in span QA).
        texts: Their texts (windows, in span QA), in the same order.
        split: Which split.
        data_source: ``"local"``, ``"hub"`` or ``"embedded"``: where the examples really came from.
    """

    preset: Preset
    task: Task
    backbone: Backbone
    examples: Dataset
    texts: Sequence[EncodedText]
    split: str
    data_source: str

    @cached_property
    def _texts_fingerprint(self) -> str:
        return fingerprint_texts(self.texts, self.examples)

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
        env: str,
        split: str,
        *,
        backbone: str | Backbone | None = None,
        data_source: str = "auto",
        data_dir: str | Path | None = None,
        max_examples: int | None = None,
        reduction_layers: Sequence[int] | None = None,
    ) -> Workload:
        """Load the examples, then the backbone, then encode.

        Args:
            env: ``"SQuAD2"``; the name in ``TRBERT/<name>-v0``.
            split: ``"train"`` or ``"validation"``.
            backbone: A folder, a hub name, ``"embedded"``, None for the preset's, or one that is loaded.
            data_source: ``"auto"``, ``"local"``, ``"hub"`` or ``"embedded"``.
            data_dir: A folder laid out like the hub's data sets, as parquet.
            max_examples: Take a random sample of as many examples, always the same.
            reduction_layers: If given, checked against the backbone's depth before the long work of encoding.

        Raises:
            ValueError: An unknown name, malformed data, an unsupported family.
            FileNotFoundError: A folder or file that is not there.
        """
        preset = get_preset(env)
        found, examples = cls.load_examples(env, split, data_source, data_dir, max_examples)
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(preset, make_task(preset), backbone, found.source, records=examples)
        StagedEncoder(backbone.model, reduction_layers)
        if not backbone.fine_tuned:
            warnings.warn(
                f"backbone '{backbone.name}' is not fine-tuned for {env}: its task head is untrained; "
                "run runners/finetune.py first",
                stacklevel=2,
            )
        return cls.encode(preset, examples, backbone, split, found.source)

    @staticmethod
    def load_examples(
        env: str, split: str, data_source: str, data_dir: str | Path | None, max_examples: int | None
    ) -> tuple[Examples, Dataset]:
        """The whole split with its source, and the sample of it to work on; see :meth:`load`."""
        folder = None if data_dir is None else str(data_dir)
        found = load_examples(get_preset(env).dataset, split, data_source, folder)
        return found, sample(found.dataset, max_examples)

    @classmethod
    def encode(cls, preset: Preset, examples: Dataset, backbone: Backbone, split: str, data_source: str) -> Workload:
        """Encode examples for a backbone; see :meth:`load`.

        Raises:
            ValueError: The backbone cannot read a text; see :func:`~trbert_env.data.backbones.check_texts`.
        """
        task = make_task(preset)
        task.configure(backbone.model.config)
        texts = task.encode(examples, backbone.tokenizer, training=split == "train")
        check_texts(backbone, texts)
        return cls(preset, task, backbone, examples, texts, split, data_source)
