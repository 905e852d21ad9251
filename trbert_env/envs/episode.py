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
from trbert_env.staged_model import StagedModel


@dataclass(frozen=True)
class Outcome:
    """How an episode ended; rows are texts times samples.

    Attributes:
        texts: One entry a row.
        logits: ``(sum of row lengths, ...)``: the task's logits of every token, exit offsets included, rows end to end.
        stops: ``(sum of row lengths,)`` int64: the reduction that each token stopped at, T for none.
        layout: Layout of the full rows.
        log_likelihood: ``(rows,)`` float32, nats.
        kept_tokens: ``(rows, T)`` int64, [CLS] included.
        full_flops: ``(rows,)`` float64.
        reduced_flops: ``(rows,)`` float64.
    """

    texts: Sequence[EncodedText]
    logits: Tensor
    stops: Tensor
    layout: Layout
    log_likelihood: Tensor
    kept_tokens: Tensor
    full_flops: Tensor
    reduced_flops: Tensor

    @property
    def row_lengths(self) -> Tensor:
        """``(rows,)`` int64 tokens of each row's text."""
        return self.layout.text_lengths

    def metrics(self) -> dict[str, Tensor]:
        """Return what infos tell of every row, by name."""
        return {
            "log_likelihood": self.log_likelihood,
            "kept_tokens": self.kept_tokens,
            "full_flops": self.full_flops,
            "reduced_flops": self.reduced_flops,
        }


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
        self.masks.append(mask)

    def outcome(self) -> Outcome:
        """Score the finished episode."""
        forward, task, cost = self.forward, self._staged.task, self._staged.cost
        layout = forward.layouts[0]
        with torch.set_grad_enabled(self._gradients):
            logits, stops = self._staged.read(forward)
            targets = task.targets(self.texts).repeat_interleave(self._samples, 0).to(logits.device)
            log_likelihood = task.log_likelihood(logits, layout, targets)
        return Outcome(
            texts=[text for text in self.texts for _ in range(self._samples)],
            logits=logits,
            stops=stops,
            layout=layout,
            log_likelihood=log_likelihood,
            kept_tokens=torch.stack([layout.token_counts for layout in forward.layouts[1:]], 1),
            full_flops=cost.full(forward.layouts[0]),
            reduced_flops=cost.reduced(forward.layouts),
        )
