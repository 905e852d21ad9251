"""One record a data set: where it comes from, its lengths, and the rates that fit it."""

from __future__ import annotations

from dataclasses import dataclass

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
        summed_span_loss: Whether alpha belongs to the joint stage of a span task.
    """
    price = alpha / (num_reductions * padded_length)
    return price / 2 if summed_span_loss else price


@dataclass(frozen=True)
class Preset:
    """What is known of one data set before any training.

    Attributes:
        name: The name in ``TRBERT/<name>-v0``.
        dataset: The data set's name on the hub, and of its folder in a local data folder.
        task: The kind of task, such as ``span_qa``.
        backbone: A published checkpoint that is fine-tuned for this data set, by its hub name.
        pretrained: The published encoder that stage 1 fine-tunes where no other is named.
        max_tokens: The most tokens of one text, special tokens included.
        stride: Tokens that neighbouring windows of a long text share (the tokenizers' sense).
        max_question_tokens: Tokens that a question is cut at.
        epochs: N: passes over the training split in stage 1 (fine-tuning); the paper's stage 3 takes as many.
        learning_rate: AdamW's peak learning rate in stage 1.
        warmup: Share of the optimiser steps, 0 to 1, over which the learning rate rises from 0.
        batch_size: Texts of one optimiser step in stage 1.
        length_penalty: Lambda of stage 2 (policy), in nats per kept token, converted from the released
            alpha by :func:`penalty_from_alpha`.
        joint_length_penalty: Lambda of stage 3, in nats per kept token, converted likewise.
        imitation_fraction: Share of the steps of stage 2, 0 to 1, in which one sample of each text
            follows the residual importance.
    """

    name: str
    dataset: str
    task: str
    backbone: str
    pretrained: str
    max_tokens: int
    stride: int
    max_question_tokens: int
    epochs: int
    learning_rate: float
    warmup: float
    batch_size: int
    length_penalty: float
    joint_length_penalty: float
    imitation_fraction: float

    @property
    def policy_epochs(self) -> int:
        """Passes over the training split in stage 2 (policy): (N + 1) / 2, rounded up."""
        return (self.epochs + 2) // 2


PRESETS: dict[str, Preset] = {
    "SQuAD2": Preset(
        name="SQuAD2",
        dataset="squad_v2",
        task="span_qa",
        backbone="deepset/minilm-uncased-squad2",
        pretrained="google-bert/bert-base-uncased",
        max_tokens=384,
        stride=128,
        max_question_tokens=64,
        epochs=2,
        learning_rate=3e-5,
        warmup=0.1,
        batch_size=32,
        # The released alpha is 5 in both stages: 0.0065 and 0.0033 nats per kept token.
        length_penalty=penalty_from_alpha(5, padded_length=384),
        joint_length_penalty=penalty_from_alpha(5, padded_length=384, summed_span_loss=True),
        imitation_fraction=0.2,
    ),
}


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
