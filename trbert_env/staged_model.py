"""StagedModel: a task model with all that runs it stage by stage, joined once and passed as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from trbert_env.encoder.families import family_of
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.exit_offsets import ExitOffsets, make_exit_offsets
from trbert_env.reduction.overlap import lexical_overlap
from trbert_env.tasks.base import Task


def reads_first_tokens(task: Task, config: PreTrainedConfig) -> bool:
    """Return whether the head of a task reads each sequence's first token alone.

    Args:
        task: The task.
        config: Configuration of the task model, whose family may pool all tokens of a sequence.
    """
    return task.reads == "first_tokens" and not family_of(config).pools_tokens(config)


def staged_encoder(
    model: PreTrainedModel, task: Task, reduction_layers: Sequence[float] | None = None
) -> StagedEncoder:
    """Return the encoder of a task model, which computes the last states that the head reads.

    Args:
        model: The task model.
        task: Its task.
        reduction_layers: Cuts; None for the default of the encoder's depth.

    Raises:
        ValueError: The encoder's family is not supported, or the reduction layers do not fit its depth.
    """
    return StagedEncoder(model, reduction_layers, reads_first_tokens(task, model.config))


class StagedModel(nn.Module):
    """A task model, its staged encoder, its task, the exit offsets of its logits, and its cost.

    The environment, joint training, evaluation, the benchmark and the shipped model all read logits here.

    Args:
        model: A task model made by ``task.auto_model``; used as it is, not copied.
        task: Its task.
        reduction_layers: Cuts, 1-based: 2 is before layer 2, 1.5 within layer 1; None for the default of the encoder's
            depth.
        exit_offsets: Offsets on the logits by where tokens stopped; shared with the caller, so that what is
            learned of them counts at once. None for new ones, which are 0 and change nothing.
        policy_flops: FLOPs of the policy on one token; 0 where none is counted.

    Raises:
        ValueError: The encoder's family is not supported, the reduction layers do not fit its depth, or the
            offsets are of another number of reductions.
    """

    model: PreTrainedModel

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        reduction_layers: Sequence[float] | None = None,
        exit_offsets: ExitOffsets | None = None,
        policy_flops: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.encoder = staged_encoder(model, task, reduction_layers)
        count = self.encoder.num_reductions
        if exit_offsets is None:
            exit_offsets = make_exit_offsets(task.reads, count, task.num_logits, self.encoder.hidden_size)
            exit_offsets.to(model.device)
        if exit_offsets.num_reductions != count:
            raise ValueError(f"exit offsets of {exit_offsets.num_reductions} reductions: there are {count}")
        self.exit_offsets = exit_offsets
        self.cost = CostModel.of(self.encoder, policy_flops)

    @property
    def device(self) -> torch.device:
        """The device of the task model."""
        return self.model.device

    @property
    def num_reductions(self) -> int:
        """T."""
        return self.encoder.num_reductions

    @property
    def reads_first_tokens(self) -> bool:
        """True where the head reads each sequence's first token alone, which never stops."""
        return reads_first_tokens(self.task, self.model.config)

    def start(
        self, batch: TextBatch, samples: int = 1, record_attention: bool = False, all_states: bool = False
    ) -> StagedForward:
        """Begin a pass that stops before each reduction; see :class:`~trbert_env.encoder.forward.StagedForward`.

        Args:
            batch: The texts.
            samples: Rows of each text; they share the first stage.
            record_attention: True to keep the attention that tokens receive.
            all_states: True for the last states of all tokens, whatever the task head reads.
        """
        return StagedForward(self.encoder, batch, samples, record_attention, self.overlap(batch), all_states)

    def overlap(self, batch: TextBatch) -> Tensor:
        """Return the lexical overlap of a batch; see :func:`~trbert_env.reduction.overlap.lexical_overlap`.

        Args:
            batch: The texts.
        """
        return lexical_overlap(batch, self._embedding_norms, self.task.query_segment)

    def _embedding_norms(self, input_ids: Tensor) -> Tensor:
        """``(total_tokens,)`` float32 norms of the word embeddings of tokens, as they are now."""
        # Called, not read off their table: quantised and adapted embeddings have none.
        vectors = self.model.get_input_embeddings()(input_ids).detach()
        norms: Tensor = torch.linalg.vector_norm(vectors.float(), dim=1)
        return norms

    def read(self, forward: StagedForward) -> tuple[Tensor, Tensor]:
        """Apply the task head to the last states, and the exit offsets to its logits.

        Args:
            forward: A pass whose layers have all run.

        Returns:
            Float32 logits, as the task gives them, and ``(sum of row lengths,)`` int64: the reduction that each token
            stopped at, T for none.
        """
        states, stops = forward.final_states()
        layout = forward.layouts[0]
        logits = self.task.logits(self.model, states, layout)
        return logits + self.exit_offsets.shift(states, stops, layout), stops

    def forward(self, batch: TextBatch) -> Tensor:
        """Run a batch with nothing skipped; returns float32 logits, as the task gives them.

        Args:
            batch: The texts.
        """
        tokens = self.encoder.run_unreduced(batch)
        return self.task.logits(self.model, tokens.states, batch.layout)

    def __call__(self, batch: TextBatch) -> Tensor:
        """Run :meth:`forward` with the hooks of :class:`torch.nn.Module`."""
        return cast(Tensor, super().__call__(batch))
