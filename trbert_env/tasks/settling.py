"""The kind of a classification head and the names of its outputs, settled by the labels of the data and the encoder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow.compute as pc
from datasets import Dataset
from transformers import PreTrainedConfig

from trbert_env.data.label_order import are_numbers, sorted_labels
from trbert_env.tasks.labels import HeadMismatchError, labels_of, listed, match_labels, unnamed_labels, write_labels

Head = Literal["classes", "relevance", "regression"]

#: How transformers names the losses of a sequence classifier.
_PROBLEM_TYPES: dict[Head, str] = {
    "classes": "single_label_classification",
    "relevance": "multi_label_classification",
    "regression": "regression",
}


def write_problem_type(config: PreTrainedConfig, head: Head, *, bounded: bool) -> None:
    """Write a head's loss into a configuration, by which a fine-tuned encoder tells its head, and pipelines read it.

    Args:
        config: The configuration.
        head: Kind of the head.
        bounded: True for regression through a sigmoid, whose loss and reading are those of relevance.
    """
    config.problem_type = _PROBLEM_TYPES["relevance" if bounded else head]  # type: ignore[assignment]


@dataclass(frozen=True)
class FoundLabels:
    """Labels in the data: names, or the kind of head that their numbers make.

    Attributes:
        head: Kind of head that they make.
        names: Their names; empty where they are numbers.
        within_bounds: True if they are numbers from 0 to 1.
        sorted: True if names that are no numbers stand in the order of the alphabet, which may be that of nothing else.
        numbered: True if names that are numbers are known to count the encoder's outputs from 0.
    """

    head: Head
    names: tuple[str, ...]
    within_bounds: bool = False
    sorted: bool = False
    numbered: bool = False

    @classmethod
    def of(cls, records: Dataset, labels: Sequence[str], *, numbered: bool = False) -> FoundLabels:
        """Read the column ``label``, whose names are ``labels`` where these are given.

        Args:
            records: Records of texts with labels.
            labels: Names of all classes in their order; a sample may lack some.
            numbered: True if names that are numbers are known to count the encoder's outputs from 0.
        """
        if labels:
            by_alphabet = not are_numbers(labels) and tuple(labels) == sorted_labels(labels)
            return cls("classes", tuple(labels), sorted=by_alphabet, numbered=numbered)
        column = records.with_format("arrow")[:]["label"]
        values = pc.unique(column).to_pylist()
        if values and isinstance(values[0], str):
            names = sorted_labels(values)
            return cls("classes", names, sorted=not are_numbers(names), numbered=numbered)
        within = all(0.0 <= value <= 1.0 for value in values)
        return cls("relevance" if set(values) <= {0.0, 1.0} else "regression", (), within)

    def check(self, head: Head) -> None:
        """Refuse a head that such labels cannot train.

        Args:
            head: Kind of the head.

        Raises:
            ValueError: Names where numbers are needed, or the other way round.
        """
        if self.names and head == "regression":
            raise ValueError(f"head 'regression' needs numbers, and the data have the labels {listed(self.names)}")
        if not self.names and head == "classes":
            raise ValueError("head 'classes' needs names of classes, and the labels of the data are numbers")
        if self.head == "regression" and head == "relevance":
            raise ValueError("head 'relevance' needs the labels 0 and 1, and the data have other numbers")


@dataclass(frozen=True)
class SettledHead:
    """Kind of a head, and the names of its outputs.

    Attributes:
        head: Kind of the logits.
        labels: Names of the classes, in the order of the logits; empty for a single logit.
        bounded: True if the encoder tells numbers from 0 to 1 through a sigmoid.
    """

    head: Head
    labels: tuple[str, ...]
    bounded: bool = False


def head_for_data(config: PreTrainedConfig, found: FoundLabels, wanted: Head | None) -> SettledHead:
    """Settle a head that is still to be trained, and write it into the configuration.

    Args:
        config: The encoder's configuration.
        found: Labels of the data.
        wanted: Kind of the head, where it is settled.

    Raises:
        ValueError: The labels cannot train that kind.
    """
    head = wanted or found.head
    found.check(head)
    labels = found.names if head == "classes" else ()
    if labels:
        write_labels(config, labels)
    else:
        config.num_labels = 1
    write_problem_type(config, head, bounded=False)
    if head == "regression":  # what the checkpoint says is of another head
        write_activation(config, bounded=False)
    return SettledHead(head, labels)


def head_of_encoder(
    config: PreTrainedConfig, found: FoundLabels | None, wanted: Head | None, ranking: bool
) -> SettledHead:
    """Settle a trained head: its kind by its outputs; outputs without names of their own take those of the data.

    Args:
        config: The encoder's configuration; it takes names over.
        found: Labels of the data, where there are data.
        wanted: Kind of the head, where it is settled.
        ranking: True if numbers are wanted to rank by.

    Raises:
        HeadMismatchError: The outputs are not those that the data need.
        ValueError: The labels are not of the kind that the head needs.
    """
    outputs = labels_of(config)
    if len(outputs) > 1:
        _check_several(config, outputs, wanted)
        if found is not None and not found.names:
            raise HeadMismatchError(
                f"the labels of the data are numbers, and the encoder's outputs are {listed(outputs)}",
                "use an encoder with one output, or "
                + ("set ranking to false" if ranking else "read the labels as classes (label kind 'class')"),
            )
    head: Head = wanted or "classes"
    bounded = False
    if len(outputs) == 1 and wanted in (None, "classes"):
        head = _single(config, found)
        bounded = head == "regression" and found is not None and found.within_bounds and _goes_through_sigmoid(config)
    labels = outputs if head == "classes" else ()
    if found is not None:
        found.check(head)
        if labels:
            labels = _named(config, labels, found)
    return SettledHead(head, labels, bounded)


def _check_several(config: PreTrainedConfig, outputs: tuple[str, ...], wanted: Head | None) -> None:
    """Refuse several outputs where one is needed, and those that are no classes."""
    if wanted in ("relevance", "regression"):
        raise HeadMismatchError(
            f"the encoder has {len(outputs)} outputs, and head {wanted!r} needs one",
            "give an encoder with one output, or one without a head",
        )
    if config.problem_type == "multi_label_classification":
        raise HeadMismatchError(
            f"the encoder has {len(outputs)} outputs of which several may be right (multi_label_classification), "
            "and a text has one label here",
            "give an encoder that tells one label",
        )


def _single(config: PreTrainedConfig, found: FoundLabels | None) -> Head:
    """The kind of a single output."""
    if found is not None and found.names:
        return "relevance"
    numbers = config.problem_type == "regression" or (found is not None and found.head == "regression")
    return "regression" if numbers else "relevance"


def _named(config: PreTrainedConfig, outputs: tuple[str, ...], found: FoundLabels) -> tuple[str, ...]:
    """The names of the outputs, which take those of the data where they have none of their own."""
    classes = match_labels(found.names, outputs, numbered=found.numbered)
    if outputs != unnamed_labels(len(classes)):
        return outputs
    labels = tuple(sorted(classes, key=lambda name: classes[name]))
    if found.sorted:
        warnings.warn(
            f"the encoder's outputs have no names of their own: they are taken to be {listed(labels)}, by alphabet. "
            "Write the names into id2label and label2id of its config.json where that is another order",
            stacklevel=2,
        )
    write_labels(config, labels)
    return labels


def write_activation(config: PreTrainedConfig, *, bounded: bool) -> None:
    """Write into a configuration how sentence-transformers, and :func:`head_of_encoder`, read a single logit.

    Args:
        config: The configuration.
        bounded: True for its sigmoid, False for the logit itself.
    """
    name = "torch.nn.modules.activation.Sigmoid" if bounded else "torch.nn.modules.linear.Identity"
    config.sentence_transformers = {"activation_fn": name}


def _goes_through_sigmoid(config: PreTrainedConfig) -> bool:
    """Whether a single logit is read through a sigmoid, as sentence-transformers and pipelines read it.

    Both take the sigmoid where nothing is said: what transformers' own loss has trained is saved as regression.
    """
    said = getattr(config, "sentence_transformers", None)
    name = said.get("activation_fn") if isinstance(said, Mapping) else None
    name = name or getattr(config, "sbert_ce_default_activation_function", None)
    if name is not None or config.problem_type == "regression":
        return str(name).rpartition(".")[2] == "Sigmoid"
    warnings.warn(
        "the encoder does not say how its one output is read: labels from 0 to 1 are taken for those of a sigmoid, as "
        "sentence-transformers does; where the output is the number itself, write problem_type 'regression' into its "
        "config.json",
        stacklevel=2,
    )
    return True
