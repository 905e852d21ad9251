"""One record a data set: where it comes from, its lengths, and the rates that fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trbert_env.suggestions import nearest_name


def penalty_from_alpha(
    alpha: float, padded_length: int, num_reductions: int = 2, *, summed_span_loss: bool = False
) -> float:
    """Convert the released code's length weight alpha to a price in nats per kept token.

    The released code charges ``alpha`` times the kept share of the *padded* length, averaged over the
    reductions: a constant price of ``alpha / (num_reductions * padded_length)`` for each kept token. Its
    joint stage of span tasks adds the losses of start and end where everything else takes their mean, so
    that the same alpha weighs half as much there.

    Args:
        alpha: The released weight, without a unit.
        padded_length: Tokens that every text is padded to.
        num_reductions: T, the number of reductions.
        summed_span_loss: True if alpha belongs to the joint stage of a span task.
    """
    price = alpha / (num_reductions * padded_length)
    return price / 2 if summed_span_loss else price


@dataclass(frozen=True)
class Preset:
    """What is known of one data set before any training.

    Attributes:
        name: The name in ``TRBERT/<name>-v0``.
        dataset: The data set's name in :mod:`trbert_env.data`, and of its folder in a local data folder.
        task: The kind of task, a key of :data:`trbert_env.tasks.TASKS`.
        settings: Settings of the task, such as lengths.
        evaluation_split: The split that results are reported on.
        backbone: A published checkpoint that is fine-tuned for this data set, by its hub name; empty for none.
        pretrained: The published encoder that stage 1 fine-tunes where no other is named.
        epochs: N: passes over the training split in stage 1 (fine-tuning); the paper's stage 3 takes as many.
        learning_rate: AdamW's peak learning rate in stage 1.
        warmup: Share of the optimiser steps, 0 to 1, over which the learning rate rises from 0.
        batch_size: Texts of one optimiser step in stage 1.
        length_penalty: Lambda of stage 2 (policy), in nats per kept token, converted from the released
            alpha by :func:`penalty_from_alpha`.
        joint_length_penalty: Lambda of stage 3, in nats per kept token, converted likewise.
        imitation_fraction: Share of the steps of stage 2, 0 to 1, in which one sample of each text
            follows the residual importance, where tokens are sampled one by one (Bernoulli).
        has_published_price: True if the length penalties are those of the released code. Otherwise they are only the
            starting point of a target speed-up.
    """

    name: str
    dataset: str
    task: str
    settings: Mapping[str, Any]
    evaluation_split: str
    length_penalty: float
    joint_length_penalty: float
    epochs: int
    imitation_fraction: float
    learning_rate: float = 3e-5
    warmup: float = 0.1
    batch_size: int = 32
    backbone: str = ""
    pretrained: str = "google-bert/bert-base-uncased"
    has_published_price: bool = True

    @property
    def policy_epochs(self) -> int:
        """Passes over the training split in stage 2 (policy): (N + 1) / 2, rounded up."""
        return (self.epochs + 2) // 2


def _classification(name: str, dataset: str, epochs: int, alpha: float, joint_alpha: float, **settings: Any) -> Preset:
    """A data set of texts with labels, at the paper's 512 tokens (its table 5, and the released alphas)."""
    return Preset(
        name=name,
        dataset=dataset,
        task="classification",
        settings={"max_tokens": 512, **settings},
        evaluation_split="test",
        epochs=epochs,
        length_penalty=penalty_from_alpha(alpha, padded_length=512),
        joint_length_penalty=penalty_from_alpha(joint_alpha, padded_length=512),
        imitation_fraction=0.5,
    )


def _mrqa(name: str, dataset: str, alpha: float, joint_alpha: float) -> Preset:
    """A span data set of MRQA: every question has an answer, often in several places."""
    return Preset(
        name=name,
        dataset=dataset,
        task="span_qa",
        settings={
            "max_tokens": 512,
            "stride": 128,
            "max_question_tokens": 40,
            "null_answer": False,
            "golds": "all",
            "metric": "mrqa",
        },
        evaluation_split="validation",
        epochs=5,
        length_penalty=penalty_from_alpha(alpha, padded_length=512),
        joint_length_penalty=penalty_from_alpha(joint_alpha, padded_length=512, summed_span_loss=True),
        imitation_fraction=0.2,
    )


_ALL = (
    Preset(
        name="SQuAD2",
        dataset="squad_v2",
        task="span_qa",
        settings={"max_tokens": 384, "stride": 128, "max_question_tokens": 64},
        evaluation_split="validation",
        backbone="deepset/minilm-uncased-squad2",
        epochs=2,
        # The released alpha is 5 in both stages: 0.0065 and 0.0033 nats per kept token.
        length_penalty=penalty_from_alpha(5, padded_length=384),
        joint_length_penalty=penalty_from_alpha(5, padded_length=384, summed_span_loss=True),
        imitation_fraction=0.2,
    ),
    _mrqa("NewsQA", "mrqa_newsqa", alpha=3, joint_alpha=5),
    _mrqa("NaturalQA", "mrqa_naturalqa", alpha=2, joint_alpha=2),
    Preset(
        name="RACE",
        dataset="race",
        task="multiple_choice",
        settings={"max_tokens": 512, "max_question_tokens": 128, "num_options": 4},
        evaluation_split="test",
        epochs=5,
        learning_rate=5e-5,
        length_penalty=penalty_from_alpha(0.5, padded_length=512),
        joint_length_penalty=penalty_from_alpha(0.1, padded_length=512),
        imitation_fraction=0.2,
    ),
    Preset(
        name="MultipleChoice",
        dataset="own",
        task="multiple_choice",
        settings={"max_tokens": 512, "max_question_tokens": 128, "num_options": 4},
        evaluation_split="validation",
        epochs=3,
        length_penalty=penalty_from_alpha(0.5, padded_length=512),
        joint_length_penalty=penalty_from_alpha(0.1, padded_length=512),
        imitation_fraction=0.2,
    ),
    _classification("IMDB", "imdb", epochs=5, alpha=1, joint_alpha=1),
    _classification("YELP.F", "yelp_review_full", epochs=3, alpha=2, joint_alpha=0.5, ordered=True),
    _classification("20NewsGroups", "20_newsgroups", epochs=5, alpha=1, joint_alpha=1),
    _classification(
        "Hyperpartisan", "hyperpartisan_news_detection", epochs=15, alpha=0.01, joint_alpha=0.01, positive="true"
    ),
    # The paper's 1,024 tokens, as two slices, which any encoder reads; --max-length 1024 --task-options max_slices=1
    # makes one of them.
    Preset(
        name="HotpotQA",
        dataset="hotpot_qa",
        task="multi_hop_qa",
        settings={"max_tokens": 512, "max_slices": 2, "max_question_tokens": 80},
        evaluation_split="validation",
        epochs=6,
        learning_rate=5e-5,
        warmup=0.073,
        length_penalty=penalty_from_alpha(0.1, padded_length=1024),
        joint_length_penalty=penalty_from_alpha(4, padded_length=1024, summed_span_loss=True),
        imitation_fraction=0.2,
    ),
    Preset(
        name="TriviaQA",
        dataset="trivia_qa",
        task="span_qa",
        settings={
            "max_tokens": 512,
            "stride": 0,
            "max_slices": 2,
            "max_question_tokens": 55,
            "num_best": 10,
            "null_answer": False,
            "golds": "all",
            "metric": "trivia",
        },
        evaluation_split="validation",
        epochs=5,
        warmup=0.106,
        length_penalty=penalty_from_alpha(0.5, padded_length=1024),
        joint_length_penalty=penalty_from_alpha(1, padded_length=1024, summed_span_loss=True),
        imitation_fraction=0.2,
    ),
    Preset(
        name="WikiHop",
        dataset="wikihop",
        task="candidate_qa",
        settings={"max_tokens": 512, "max_slices": 2},
        evaluation_split="validation",
        epochs=15,
        warmup=0.01,
        # None is published: TriviaQA's.
        length_penalty=penalty_from_alpha(0.5, padded_length=1024),
        joint_length_penalty=penalty_from_alpha(1, padded_length=1024),
        imitation_fraction=0.2,
        has_published_price=False,
    ),
    # A user's own data: rates and prices that fit most of the above.
    replace(
        _classification("TextClassification", "own", epochs=3, alpha=1, joint_alpha=1), evaluation_split="validation"
    ),
    Preset(
        name="SpanQA",
        dataset="own",
        task="span_qa",
        settings={"max_tokens": 384, "stride": 128, "max_question_tokens": 64, "null_answer": None},
        evaluation_split="validation",
        epochs=2,
        length_penalty=penalty_from_alpha(5, padded_length=384),
        joint_length_penalty=penalty_from_alpha(5, padded_length=384, summed_span_loss=True),
        imitation_fraction=0.2,
    ),
)

#: Environments that read a user's own data.
OWN = ("TextClassification", "SpanQA", "MultipleChoice")

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def get_preset(name: str) -> Preset:
    """Look up the preset of a data set.

    Args:
        name: The name in ``TRBERT/<name>-v0``, such as ``SQuAD2``; upper and lower case matter.

    Raises:
        ValueError: There is none of that name; the message suggests the nearest and lists them all.
    """
    if name in PRESETS:
        return PRESETS[name]
    nearest = nearest_name(name, PRESETS)
    hint = f" did you mean {nearest!r}?" if nearest else ""
    raise ValueError(f"unknown environment name {name!r};{hint} known names: {', '.join(PRESETS)}")
