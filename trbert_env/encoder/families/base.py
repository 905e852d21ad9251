"""Family: all that differs between stock encoders, and what they share, which is BERT's way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from transformers import PreTrainedConfig

from trbert_env.encoder.packing import Layout
from trbert_env.encoder.sequences import PackedSequences
from trbert_env.encoder.sublayers import (
    AttentionParts,
    FeedForwardParts,
    run_attention,
    run_attention_from_first,
    run_feed_forward,
    run_padded_attention,
)


@dataclass(frozen=True)
class LayerSize:
    """Sizes that the FLOPs of a layer depend on, beside the tokens.

    Attributes:
        hidden_size: d.
        intermediate_size: f.
        matrices: Matrices of the feed-forward network: 2, or 3 where it is gated.
        position_rows: Embeddings of relative positions that each token's query or key is multiplied with, over all
            heads; 0 where attention has none.
        queries_apart: True where the attention of some tokens is computed without the queries of the others.
        attention_size: a, the width of all heads together; None for d.
    """

    hidden_size: int
    intermediate_size: int
    matrices: int = 2
    position_rows: int = 0
    queries_apart: bool = True
    attention_size: int | None = None

    @property
    def width(self) -> int:
        """Width of all heads together: a."""
        return self.hidden_size if self.attention_size is None else self.attention_size


#: Linear layers of a layer that can be run narrower: query, key, value, attention output, and the two of the
#: feed-forward network.
Projections = tuple[str, str, str, str, str, str]


class Family:
    """Knowledge of a family of stock models that the encoder needs; the base class is BERT itself.

    A family is stateless: its methods are given the stock modules.
    """

    #: Path of the layers in the base model.
    layers: ClassVar[str] = "encoder.layer"
    #: Names of the depth and of the feed-forward size in the configuration.
    depth: ClassVar[str] = "num_hidden_layers"
    feed_forward: ClassVar[str] = "intermediate_size"
    #: False for encoders whose stock calls take no token types.
    reads_token_types: ClassVar[bool] = True
    #: True where stock attention goes by the interface of transformers, so that its function can be set.
    attention_interface: ClassVar[bool] = True
    #: True where layers read the positions at which tokens stood.
    reads_positions: ClassVar[bool] = False
    #: True where stock models count positions from the padding id of their configuration.
    counts_from_padding: ClassVar[bool] = False
    #: True where heads of several tasks have the same names and shapes, so that only the name of the class tells them.
    heads_share_names: ClassVar[bool] = False
    #: True where sequences may be longer than the configuration says without any new weights.
    reaches_further: ClassVar[bool] = False
    #: None where the layers cannot be run narrower.
    projections: ClassVar[Projections | None] = (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )

    # -- sizes ---------------------------------------------------------------------------------------------------

    def check(self, config: PreTrainedConfig) -> None:
        """Refuse a configuration of the family whose layers cannot run on packed states.

        Raises:
            ValueError: It is one; the message names the entry.
        """

    def layer_size(self, config: Any) -> LayerSize:
        """Return what the FLOPs of a layer depend on."""
        return LayerSize(int(config.hidden_size), int(getattr(config, self.feed_forward)))

    def token_types(self, config: Any) -> float:
        """Return the number of token types that the encoder embeds; infinite where it reads none."""
        return config.type_vocab_size if self.reads_token_types else math.inf

    def cuts(self, config: Any, layers: Sequence[int]) -> tuple[int, ...]:
        """Return the reduction layers (1-based) that serve best in place of ``layers``, where none are asked for."""
        return tuple(layers)

    def keep_layers(self, config: Any, layers: Sequence[int]) -> None:
        """Change a configuration to that of an encoder of some of the layers (1-based).

        Raises:
            ValueError: The family has no such encoder.
        """
        setattr(config, self.depth, len(layers))

    def pin_positions(self, config: Any) -> None:
        """Write down, before ``max_position_embeddings`` changes, what the encoder would else take from it."""

    # -- the encoder ---------------------------------------------------------------------------------------------

    def embed(self, base: Any, input_ids: Tensor, token_types: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings, ``(1, rows, hidden)``.

        Args:
            base: Stock base model.
            input_ids: ``(1, rows)`` int64.
            token_types: ``(1, rows)`` int64.
            positions: ``(1, rows)`` int64 rows of the position table.
        """
        return cast(Tensor, base.embeddings(input_ids=input_ids, token_type_ids=token_types, position_ids=positions))

    def prepare(self, base: Any, states: Tensor, packed: PackedSequences) -> Any:
        """Return what all layers of a stage share, such as position biases; None for nothing.

        Args:
            base: Stock base model.
            states: ``(1, rows, hidden)`` states that enter the stage.
            packed: Sequences that the rows are of, with positions where :attr:`reads_positions`.
        """

    def layer(self, layer: Any, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        """Run a stock layer: ``(1, rows, hidden)``.

        Args:
            layer: The layer.
            states: ``(1, rows, hidden)``.
            packed: Sequences that the rows are of.
            shared: Result of :meth:`prepare`.
        """
        return self.feed_forward_half(layer, self.attention_half(layer, states, packed, shared))

    def attention_half(self, layer: Any, states: Tensor, packed: PackedSequences, shared: Any) -> Tensor:
        """Run attention, residual connection and norm of a stock layer; see :meth:`layer`."""
        return run_attention(self.attention_parts(layer), states, packed, layer.training, shared)

    def attention_half_from_first(
        self, layer: Any, states: Tensor, first: Tensor, packed: PackedSequences, shared: Any
    ) -> Tensor:
        """Run the first half of a stock layer for first tokens alone: ``(1, queries, hidden)``; see :meth:`layer`.

        Args:
            layer: The layer.
            states: ``(1, rows, hidden)``.
            first: ``(queries,)`` int64 rows of first tokens.
            packed: Sequences that the rows are of.
            shared: Result of :meth:`prepare`.
        """
        return run_attention_from_first(self.attention_parts(layer), states, first, packed, layer.training, shared)

    def padded_attention_half(self, layer: Any, states: Tensor, bias: Tensor, from_first: bool = False) -> Tensor:
        """Run the first half of a stock layer on padded sequences; for families that read no positions.

        Args:
            layer: The layer.
            states: ``(num_sequences, width, hidden)``.
            bias: ``(num_sequences, 1, 1, width)`` to add to the scores of attention.
            from_first: True for the first token of each sequence alone: ``(num_sequences, 1, hidden)``.
        """
        return run_padded_attention(self.attention_parts(layer), states, bias, from_first)

    def feed_forward_half(self, layer: Any, states: Tensor) -> Tensor:
        """Run feed-forward network, residual connection and norm of a stock layer: ``(1, rows, hidden)``.

        Args:
            layer: The layer.
            states: ``(1, rows, hidden)`` states that :meth:`attention_half` gave.
        """
        return run_feed_forward(self.feed_forward_parts(layer), states, layer.training)

    def attention_parts(self, layer: Any) -> AttentionParts:
        """Return the parts of the first half of a stock layer, where it is BERT's half."""
        own, output = layer.attention.self, layer.attention.output
        projections = (own.query, own.key, own.value, output.dense)
        return AttentionParts(*projections, output.LayerNorm, own.attention_head_size, output.dropout.p)

    def feed_forward_parts(self, layer: Any) -> FeedForwardParts:
        """Return the parts of the second half of a stock layer, where it is BERT's half."""
        inner, outer = layer.intermediate, layer.output
        return FeedForwardParts(inner.dense, inner.intermediate_act_fn, outer.dense, outer.LayerNorm, outer.dropout.p)

    def finish(self, base: Any, states: Tensor) -> Tensor:
        """Return what stock models give as the last hidden state, from states behind any layer: ``(rows, hidden)``.

        Args:
            base: Stock base model.
            states: ``(rows, hidden)``.
        """
        return states

    # -- task heads ----------------------------------------------------------------------------------------------

    def span_head(self, model: Any, states: Tensor) -> Tensor:
        """Return start and end logits, ``(rows, 2)``, of a question-answering model.

        Args:
            model: Stock task model.
            states: ``(rows, hidden)`` last states.
        """
        return cast(Tensor, model.qa_outputs(states))

    #: Module that only the family's question-answering models have.
    span_module: ClassVar[str] = "qa_outputs"

    def token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of a token-classification model, ``(rows, num_labels)``."""
        return cast(Tensor, model.classifier(model.dropout(states)))

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of a masked-language model, ``(rows, vocabulary)``."""
        return cast(Tensor, model.cls(states))

    def sequence_head(self, model: Any, states: Tensor, layout: Layout) -> Tensor:
        """Return the logits of a classification or multiple-choice model, ``(num_sequences, num_labels)``.

        Args:
            model: Stock task model.
            states: ``(total_tokens, hidden)`` last states.
            layout: The layout of the states.
        """
        return self.first_token_head(model, states.index_select(0, layout.sequence_starts.to(states.device)))

    def pools_tokens(self, config: Any) -> bool:
        """Return whether :meth:`sequence_head` reads all tokens of a sequence, not its first alone."""
        return False

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return logits from first tokens' last states, ``(num_sequences, hidden)``: pooler, dropout, classifier."""
        pooled = model.base_model.pooler(first[:, None])
        return cast(Tensor, model.classifier(model.dropout(pooled)))

    def stack(self, base: nn.Module) -> nn.ModuleList:
        """Return the layers of a stock base model."""
        return cast(nn.ModuleList, base.get_submodule(self.layers))
