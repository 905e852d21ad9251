"""One batch of texts on its way through the encoder: what an environment holds between two steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.importance import residual_importance
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.reward import LengthPrice
from trbert_env.envs.settings import InfoScores
from trbert_env.staged_model import StagedModel


@dataclass(frozen=True)
class Outcome:
    """How an episode ended; rows are texts times samples.

    Attributes:
        texts: One entry a row.
        states: ``(sum of row lengths, d)``: the last state of every token, rows end to end.
        logits: ``(sum of row lengths, ...)``: the task's logits of every token, exit offsets included, rows end to end.
        stops: ``(sum of row lengths,)`` int64: the reduction that each token stopped at, T for none.
        layout: Layout of the full rows.
        log_likelihood: ``(rows,)`` float32, nats.
        has_gold: ``(rows,)`` bool: False where the gold answer is not among the tokens, or there is none, so that
            ``log_likelihood`` says nothing; see :meth:`trbert_env.tasks.base.Task.has_gold`.
        kept_tokens: ``(rows, T)`` int64, [CLS] included.
        full_flops: ``(rows,)`` float64.
        reduced_flops: ``(rows,)`` float64.
        divergence: ``(rows,)`` float32, nats: KL(unreduced || reduced) of the answer's distribution; None where it was
            not asked for.
        softened_divergence: ``(rows,)`` float32: the same at the temperature that was asked for, times its square.
        unreduced_logits: Logits of the model with nothing skipped, shaped like ``logits``; None where no divergence was
            asked for.
    """

    texts: Sequence[EncodedText]
    states: Tensor
    logits: Tensor
    stops: Tensor
    layout: Layout
    log_likelihood: Tensor
    has_gold: Tensor
    kept_tokens: Tensor
    full_flops: Tensor
    reduced_flops: Tensor
    divergence: Tensor | None = None
    softened_divergence: Tensor | None = None
    unreduced_logits: Tensor | None = None

    @property
    def row_lengths(self) -> Tensor:
        """``(rows,)`` int64 tokens of each row's text."""
        return self.layout.text_lengths

    def metrics(self) -> dict[str, Tensor]:
        """Return what infos tell of every row, by name."""
        found = {
            "log_likelihood": self.log_likelihood,
            "has_gold": self.has_gold,
            "kept_tokens": self.kept_tokens,
            "full_flops": self.full_flops,
            "reduced_flops": self.reduced_flops,
        }
        return found if self.divergence is None else found | {"divergence": self.divergence}


class Episode:
    """Steps a batch of texts through the encoder's reductions.

    The environment holds one between two steps; joint training plays one with gradients.

    Args:
        staged: The model that runs them.
        texts: The texts; each becomes ``samples`` neighbouring rows.
        samples: Rows of each text.
        record_attention: True to record :attr:`StagedForward.received`.
        gradients: True for gradients from observations, logits and likelihood into the model.
    """

    def __init__(
        self,
        staged: StagedModel,
        texts: Sequence[EncodedText],
        samples: int,
        record_attention: bool = False,
        gradients: bool = False,
    ) -> None:
        self._gradients = gradients
        self._staged, self._samples = staged, samples
        self.texts = texts
        self.batch = TextBatch.from_texts(texts, staged.device)
        with torch.set_grad_enabled(gradients):
            self.forward = staged.start(self.batch, samples, record_attention)
        #: The keep masks so far, packed, so that an episode can be played again.
        self.masks: list[Tensor] = []

    def observation(self, width: int, importance: Tensor | None = None) -> PackedObservation:
        """Return what an agent sees of the rows before the coming reduction.

        Args:
            width: Tokens that a row is padded to, where something is.
            importance: Scores of the tokens in play, ``(tokens in play,)``; None for none.
        """
        tokens = self.forward.tokens
        return PackedObservation(
            states=tokens.states.float(),
            layout=tokens.layout,
            overlap=self.forward.overlap,
            importance=importance,
            reduction=self.forward.reduction,
            width=width,
            text_ids=tuple(text.text_id for text in self.texts for _ in range(self._samples)),
        )

    def scores(self, kind: InfoScores | None) -> Tensor | None:
        """Importance of the tokens in play for the coming reduction, ``(tokens in play,)``.

        Args:
            kind: Scores that are asked for; None for none. Attention must have been recorded from the beginning.

        Returns:
            The scores; None where none is asked for, or no reduction is coming.

        Raises:
            ValueError: Attention was not recorded from the beginning.
        """
        if kind is None or self.forward.done:
            return None
        if kind == "residual":
            return self.residual_scores
        if self.forward.received is None:
            raise ValueError(
                "info_scores is 'attention' since the episode began: set it before reset() or the last step"
            )
        return self.forward.received

    @property
    def residual_scores(self) -> Tensor:
        """Residual importance of the tokens in play for the coming reduction, ``(tokens in play,)`` float32."""
        full, width = self.batch.layout, int(self.batch.layout.token_counts.max())
        padded = full.pad(self._importance[self.forward.reduction], width)
        return self.forward.tokens.layout.gather(padded.repeat_interleave(self._samples, 0))

    @cached_property
    def _importance(self) -> Tensor:
        """``(T, total_tokens)``, packed like the batch; the encoder is frozen, so once an episode is enough."""
        targets = self._staged.task.targets(self.texts).to(self._staged.device)
        return residual_importance(self._staged, self.batch, targets)

    def step(self, keep: Tensor, price: LengthPrice) -> Tensor:
        """Drop tokens and run the next stage.

        Args:
            keep: ``(tokens in play,)`` bool.
            price: Price of the kept tokens.

        Returns:
            ``(rows,)`` float64: minus the price.
        """
        self.replay(keep)
        return -price.of_stage(self.forward.layouts, self.forward.reduction)

    def replay(self, mask: Tensor) -> None:
        """Apply a packed mask, ``(tokens in play,)`` bool."""
        with torch.set_grad_enabled(self._gradients):
            self.forward.advance(mask)
        self.masks.append(mask.clone())  # the caller may write the next one into the same tensor

    def outcome(self, temperature: float | None = None, labelled: bool = True) -> Outcome:
        """Score the finished episode.

        Args:
            temperature: Temperature of the divergence from the unreduced model, which runs for it once, without
                gradients; None for no divergence.
            labelled: False where the gold answers of the texts mean nothing.
        """
        forward, task, cost = self.forward, self._staged.task, self._staged.cost
        layout = forward.layouts[0]
        with torch.set_grad_enabled(self._gradients):
            logits, stops = self._staged.read(forward)
            targets = task.targets(self.texts).repeat_interleave(self._samples, 0).to(logits.device)
            log_likelihood = task.log_likelihood(logits, layout, targets)
            log_likelihood = log_likelihood if labelled else torch.zeros_like(log_likelihood)
            unreduced = divergence = softened = None
            if temperature is not None:
                unreduced = self._unreduced_logits()
                divergence = softened = task.divergence(logits, unreduced, layout, targets)
                if temperature != 1.0:
                    softened = task.divergence(logits, unreduced, layout, targets, temperature)
        return Outcome(
            texts=[text for text in self.texts for _ in range(self._samples)],
            states=forward.final_states()[0],
            logits=logits,
            stops=stops,
            layout=layout,
            log_likelihood=log_likelihood,
            has_gold=task.has_gold(targets) & labelled,
            kept_tokens=torch.stack([layout.token_counts for layout in forward.layouts[1:]], 1),
            full_flops=cost.full(forward.layouts[0]),
            reduced_flops=cost.reduced(forward.layouts),
            divergence=divergence,
            softened_divergence=softened,
            unreduced_logits=unreduced,
        )

    def _unreduced_logits(self) -> Tensor:
        """The model's logits with nothing skipped, rows end to end."""
        with torch.no_grad():
            logits = self._staged(self.batch)
        return repeat_texts(logits, self._staged.task.row_counts(self.batch.layout), self._samples)


def repeat_texts(logits: Tensor, row_counts: Tensor, samples: int) -> Tensor:
    """Repeat each text's logits for its samples.

    Args:
        logits: ``(sum of row_counts, ...)``, texts end to end.
        row_counts: ``(texts,)`` int64, logits of each text; see :meth:`~trbert_env.tasks.base.Task.row_counts`.
        samples: Rows of each text.

    Example:
        >>> repeat_texts(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 1]), 2).flatten().tolist()
        [1.0, 2.0, 1.0, 2.0, 3.0, 3.0]
    """
    return torch.cat([piece for piece in logits.split(row_counts.tolist()) for _ in range(samples)])
