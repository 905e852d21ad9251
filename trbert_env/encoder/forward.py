"""StagedForward: one pass through a staged encoder that stops before each reduction."""

from __future__ import annotations

from torch import Tensor

from trbert_env.encoder.packing import Layout, PackedTokens, restore_text_order
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch


class StagedForward:
    """One forward pass that stops before each reduction to be told which tokens go on.

    The environment, the joint runner, evaluation and the deployed model all use this class.

    Args:
        encoder: The encoder.
        batch: The texts.
        samples: Rows of each text. They share all computation up to the first reduction.
        record_attention: True to keep, in :attr:`received`, the attention received in the last layer before the coming
            reduction.
        overlap: Features of the tokens, ``(total_tokens, num_features)``, which go with them; see
            :func:`~trbert_env.reduction.overlap.lexical_overlap`.
        all_states: True for the last states of all tokens, where the encoder computes those of first tokens alone.
    """

    def __init__(
        self,
        encoder: StagedEncoder,
        batch: TextBatch,
        samples: int = 1,
        record_attention: bool = False,
        overlap: Tensor | None = None,
        all_states: bool = False,
    ) -> None:
        self.encoder = encoder
        self.reduction = 0
        self.received: Tensor | None = None
        self._record, self._all_states = record_attention, all_states
        self._stopped: list[PackedTokens] = []
        self._final: tuple[Tensor, Tensor] | None = None
        tokens = self._run(encoder.embed(batch))
        #: Features of the tokens in play, ``(total_tokens, num_features)``.
        self.overlap = batch.input_ids.new_zeros((len(batch.input_ids), 0)).float() if overlap is None else overlap
        if samples > 1:
            tokens, source = tokens.expand(samples)
            self.overlap = self.overlap[source]
            self.received = None if self.received is None else self.received[source]
        self.tokens = tokens
        #: The tokens that run through each stage so far, the first entry being the full texts.
        self.layouts: list[Layout] = [self.tokens.layout]

    @property
    def done(self) -> bool:
        """Whether all layers have run."""
        return self.reduction == self.encoder.num_reductions

    def advance(self, keep: Tensor) -> None:
        """Drop tokens, then run the next stage on those that stay.

        Args:
            keep: ``(total_tokens,)`` bool over :attr:`tokens`; first tokens stay whatever it says.
        """
        keep = keep | self.tokens.layout.first_tokens
        kept, stopped, index = self.tokens.split(keep)
        self._stopped.append(stopped)
        self.overlap = self.overlap.index_select(0, index)
        self.layouts.append(kept.layout)
        self.reduction += 1
        self.tokens = self._run(kept)

    def final_states(self) -> tuple[Tensor, Tensor]:
        """Every token's last state in text order, and where it stopped, once all layers have run.

        See :class:`~trbert_env.encoder.staged.StagedEncoder` for encoders of which first tokens alone are read.

        Returns:
            ``(sum of text lengths, hidden)`` states, and ``(sum of text lengths,)`` int64: the
            reduction that each token stopped at, T where it went to the end.
        """
        if self._final is None:  # It is asked for by the logits, and by what is learned of them.
            states, stops = restore_text_order([*self._stopped, self.tokens])
            self._final = self.encoder.finish(states), stops
        return self._final

    def _run(self, tokens: PackedTokens) -> PackedTokens:
        recorder: list[Tensor] | None = [] if self._record and not self.done else None
        tokens = self.encoder.run_stage(tokens, self.reduction, recorder, self._all_states)
        self.received = recorder[-1] if recorder else None
        return tokens
