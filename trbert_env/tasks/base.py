"""What every task provides: texts as token ids, a likelihood to reward, and a metric to report.

A task knows nothing of environments and nothing of how tokens are packed. It sees logits as rows laid end to
end, one row a token or one a sequence, and the :class:`~trbert_env.encoder.packing.Layout` that says which rows
belong to which text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.generic import ModelOutput

from trbert_env.data.records import SUBSET, columns, records_of
from trbert_env.data.schema import Schema
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText as EncodedText
from trbert_env.tasks.reading import OwnField, TokenNotes, checked_values, no_tokens, second_segments


@dataclass
class Task(ABC):
    """Turns records into texts, and logits into a likelihood, predictions and metrics.

    A task is a dataclass whose fields are its settings: JSON values, which a saved model keeps.

    Attributes:
        auto_model: The transformers auto class that builds the fine-tuned model.
        reads: Input of the task head: the last state of every token (``"tokens"``), or of each sequence's first
            token (``"first_tokens"``). First tokens never stop; exit offsets then pool what did.
        query_segment: The segment that says what is looked for, 0 or 1, where sequences have two.
        later_settings: Settings that earlier versions did not have; see :attr:`told_settings`.
        part_names: Names of the first and of the second segment of a sequence, for readers.
        own_fields: Fields in which a reader gives a text of their own; see :meth:`own_records`.
        settled_by_data: Settings that the records tell where they are None; see :meth:`configure`.
        max_tokens: The most tokens of one sequence, special tokens included.
    """

    auto_model: ClassVar[Any]
    reads: ClassVar[Literal["tokens", "first_tokens"]] = "tokens"
    query_segment: ClassVar[int] = 0
    later_settings: ClassVar[frozenset[str]] = frozenset()
    part_names: ClassVar[tuple[str, str]] = ("text", "second text")
    own_fields: ClassVar[tuple[OwnField, ...]] = ()
    settled_by_data: ClassVar[tuple[str, ...]] = ()

    max_tokens: int = 512

    @property
    @abstractmethod
    def num_logits(self) -> int:
        """Logits of each token or sequence that the head reads."""

    @property
    @abstractmethod
    def max_text_tokens(self) -> int:
        """The most tokens of one text, over all of its sequences."""

    @property
    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics that tables show; the first is the main one, which every split has."""

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that make this task again, as JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def told_settings(self) -> dict[str, Any]:
        """:attr:`settings` as fingerprints count them: at their defaults, later ones change no earlier fingerprint.

        So a run that began before there was such a setting can be resumed.
        """
        defaults = {field.name: field.default for field in fields(self) if field.name in self.later_settings}
        return {name: value for name, value in self.settings.items() if name not in defaults or value != defaults[name]}

    def configure(self, config: PreTrainedConfig, records: Dataset | None = None, labels: Sequence[str] = ()) -> None:
        """Settle what depends on encoder and data, such as labels, and write it into the configuration.

        Args:
            config: The encoder's configuration, before the model is built.
            records: Records of the data; None where the configuration alone tells.
            labels: Names of all classes in their order, where the data have them; a sample may lack some.

        Raises:
            ValueError: Configuration and data do not fit.
        """
        # A head that is still to be trained has as many outputs as the task asks for, whatever another task had.
        if config.num_labels != self.num_logits:
            config.num_labels = self.num_logits

    @abstractmethod
    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[EncodedText]:
        """Tokenise records into texts, in the order of the records.

        Args:
            records: Records of the task's form; see :mod:`trbert_env.data.records`.
            tokenizer: A fast tokenizer.
            training: True for texts to train on: a task may leave out what nothing can be learned from.
        """

    @property
    def label_note(self) -> str | None:
        """A line that tells how the head's outputs are read, where users may not expect it; None where they will."""
        return None

    def counted(self, records: Dataset) -> npt.NDArray[np.bool_]:
        """Return which records the main metric counts, ``(n,)``: all of them, for most tasks.

        Args:
            records: Records of the task's form.
        """
        return np.ones(len(records), np.bool_)

    def check_measurable(self, records: Dataset) -> None:  # noqa: B027 - most tasks can measure any split
        """Refuse a split that the main metric cannot be measured on, before work is lost.

        Args:
            records: Records of the whole split.

        Raises:
            ValueError: It cannot be.
        """

    @abstractmethod
    def logits(self, model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
        """Apply the task head.

        Args:
            model: A model made by :attr:`auto_model`.
            states: ``(total_tokens, hidden)``, texts laid end to end.
            layout: The layout of these states.

        Returns:
            ``(rows, num_logits)`` float32; one row a token or one a sequence, as :attr:`reads` says.
        """

    @abstractmethod
    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """Log Pr(gold answer) of each text, in nats, ``(num_texts,)`` float32 (the R of eq. 4).

        Args:
            logits: As :meth:`logits` gives them.
            layout: The layout of the full texts.
            targets: As :meth:`targets` gives them.
        """

    def has_gold(self, targets: Tensor) -> Tensor:
        """Which texts have a gold answer to be likely, ``(num_texts,)`` bool; the others are not in the mean.

        Args:
            targets: As :meth:`targets` gives them.
        """
        return torch.ones(len(targets), dtype=torch.bool, device=targets.device)

    @property
    def has_temperature(self) -> bool:
        """Whether :meth:`divergence` depends on the temperature."""
        return True

    @abstractmethod
    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Distance of each text's distribution from a teacher's, in nats, ``(num_texts,)`` float32: distillation.

        KL(teacher || student) of the softened distributions, times ``temperature`` squared so that
        gradients keep their scale (Hinton et al. 2015, section 2.1). No gradient reaches the teacher.

        Args:
            logits: As :meth:`logits` gives them.
            teacher_logits: The teacher's, of the same texts.
            layout: The layout of the full texts.
            targets: As :meth:`targets` gives them: they say where a text's distribution is read off its tokens, where
                it is not over all of them. Which answer is the gold one plays no part.
            temperature: Divisor of both logits.
        """

    @abstractmethod
    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, Any]:
        """Decode a prediction for every record from its texts' logits, keyed by record id."""

    @abstractmethod
    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Quality of the predictions, from 0 to 100; the first key is the main one."""

    def metrics_with_subsets(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Return :meth:`metrics` of all records, then of each subset that records name, as ``<metric>_<subset>``.

        Args:
            predictions: As :meth:`predict` gives them.
            records: The records; those whose ``subset`` is null count for the whole only.
        """
        found = self.metrics(predictions, records)
        names = columns(records, SUBSET)[0] if SUBSET in records.column_names else []
        for subset in sorted({name for name in names if name is not None}):
            own = records.select([index for index, name in enumerate(names) if name == subset])
            found |= {f"{name}_{subset}": value for name, value in self.metrics(predictions, own).items()}
        return found

    def notes(
        self,
        text: EncodedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        prediction: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> TokenNotes:
        """Tell a reader what the tokens of a text are: here its two segments, and no tokens of answers.

        Args:
            text: A text of the record.
            logits: Its logits.
            record: The record.
            prediction: The prediction for the record, as :meth:`predict` gives it.
            tokenizer: The tokenizer that the text was encoded with.
        """
        parts = tuple(self.part_names[int(second)] for second in second_segments(text))
        return TokenNotes(parts, no_tokens(text), no_tokens(text))

    def gold_answer(self, record: Mapping[str, Any]) -> str:
        """Return the gold answer of a record in words."""
        return str(record.get("answer", record.get("label", "")))

    def told_answer(self, prediction: Any, record: Mapping[str, Any]) -> str:
        """Return a prediction for a record, as :meth:`predict` gives it, in words."""
        return str(prediction)

    def record_score(self, prediction: Any, record: Dataset) -> float | None:
        """Return the main metric of one record, from 0 to 100; None where one record alone has none.

        Args:
            prediction: The prediction for the record, as :meth:`predict` gives it.
            record: The one record.
        """
        return float(self.record_scores({columns(record, "id")[0][0]: prediction}, record)[0])

    def own_records(self, rows: Sequence[Mapping[str, str | None]], ids: Sequence[str] | None = None) -> Dataset:
        """Return records of texts without gold answers; those that they have mean nothing.

        Args:
            rows: Values of :attr:`own_fields` of each by name; a field that is not required may be left out, or None.
            ids: Ids of the records, each once; numbers from 0 where None.

        Raises:
            ValueError: The task declares no fields, a value is missing, or of no use, or there is not one id for each.
        """
        keys = [str(number) for number in range(len(rows))] if ids is None else list(ids)
        if len(set(keys)) != len(rows):
            raise ValueError(f"{len(rows)} rows but {len(set(keys))} ids that differ: give one for each, or none")
        checked = [checked_values(self.own_fields, row) for row in rows]
        made = [{"id": key, **self.own_row(row)} for key, row in zip(keys, checked, strict=True)]
        return records_of(made, self.own_form)

    @property
    def own_form(self) -> Schema:
        """Form of :meth:`own_records`; a task that declares :attr:`own_fields` has one.

        Raises:
            NotImplementedError: It has none.
        """
        raise NotImplementedError(f"{type(self).__name__} declares own_fields: define own_form and own_row()")

    def own_row(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return the columns of a record of :attr:`own_form`, but for its id.

        Args:
            values: Values of all of :attr:`own_fields` by name; empty where one was left out.

        Raises:
            ValueError: A value is of no use.
            NotImplementedError: The task has no such rows.
        """
        raise NotImplementedError(f"{type(self).__name__} declares own_fields: define own_form and own_row()")

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Return what each record adds to the main metric, ``(n,)``, in the order of the records.

        Their mean is the main metric, so that the difference of two models is a mean of paired differences. A record
        that adds nothing by itself, as all but one of the candidates that are ranked together, has NaN and is not
        counted in the mean; which these are depends on the records alone.

        Args:
            predictions: As :meth:`predict` gives them.
            records: The records.
        """
        main, (ids,) = self.metric_names[0], columns(records, "id")
        return np.array(
            [self.metrics({key: predictions[key]}, records.select([place]))[main] for place, key in enumerate(ids)]
        )

    def changed_answers(self, predictions: Mapping[str, Any], others: Mapping[str, Any], records: Dataset) -> int:
        """Return how many answers two models do not share: those of records, or of queries that are ranked.

        Args:
            predictions: Predictions of the one, as :meth:`predict` gives them.
            others: Predictions of the other.
            records: The records.
        """
        return sum(predictions[key] != others[key] for key in columns(records, "id")[0])

    def stock_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Shape padded sequences as the stock model takes them: ``(num_sequences, width)`` by default."""
        return inputs

    @abstractmethod
    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """Read the logits off a stock model's output, in the rows that :meth:`logits` gives.

        Args:
            outputs: The stock model's output for padded sequences, as :meth:`stock_inputs` shapes them.
            layout: The layout of the full texts.
        """

    @abstractmethod
    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> ModelOutput:
        """Put logits into the output of the stock model.

        Args:
            logits: As :meth:`logits` gives them.
            layout: The layout of the full texts.
            mask: Bool mask of the tokens among the padded token ids, ``(num_texts, width)`` or ``(num_texts, sequences,
                width)``.
        """

    def row_counts(self, layout: Layout) -> Tensor:
        """Rows of logits of each text, ``(num_texts,)`` int64 on the CPU."""
        return layout.text_lengths.cpu() if self.reads == "tokens" else layout.sequences_per_text

    def split(self, logits: Tensor, layout: Layout) -> list[Tensor]:
        """Cut logits into those of each text."""
        return list(logits.split(self.row_counts(layout).tolist()))

    @staticmethod
    def targets(texts: Sequence[EncodedText]) -> Tensor:
        """Stack the gold answers of a batch: ``(num_texts, ...)``, what is shorter than the longest filled with -1."""
        arrays = [text.target for text in texts]
        longest = max(len(array) for array in arrays)
        padded = [np.pad(array, [(0, longest - len(array)), *[(0, 0)] * (array.ndim - 1)], constant_values=-1)
                  if len(array) < longest else array for array in arrays]  # fmt: skip
        return torch.from_numpy(np.stack(padded))
