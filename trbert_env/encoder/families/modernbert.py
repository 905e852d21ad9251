"""ModernBERT: rotary positions, a norm in front of each half and behind all layers, and windows in most layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from trbert_env.encoder.attention import attend
from trbert_env.encoder.families.base import Family, LayerSize
from trbert_env.encoder.linear import apply_linear
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.sequences import PackedSequences, PositionBias

LOCAL = "sliding_attention"
GLOBAL = "full_attention"


@dataclass(frozen=True)
class Rotations:
    """Rotations of queries and keys that layers of one kind share.

    Attributes:
        angles: Cosines and sines of the tokens' rotations, ``(1, rows, head_dim)`` each.
        window: Bias that hides what lies beyond the window; None where all sequences fit into it, and in global layers.
    """

    angles: tuple[Tensor, Tensor]
    window: PositionBias | None


class ModernBert(Family):
    """ModernBERT; kept tokens are rotated, and windows laid, by where they stood."""

    layers = "layers"
    reads_token_types = False
    reads_positions = True
    heads_share_names = True
    projections = None  # query, key and value are one matrix
    span_module = "classifier"

    def layer_size(self, config: Any) -> LayerSize:
        """Return the sizes; the feed-forward network is gated."""
        return LayerSize(int(config.hidden_size), int(config.intermediate_size), matrices=3, queries_apart=False)

    def cuts(self, config: Any, layers: Sequence[int]) -> tuple[int, ...]:
        """Return the next global layer for each: behind local ones, few tokens know of the whole text yet.

        Where two would come to the same layer, as in shallow encoders, the first of them stays where it is.

        Example:
            >>> from transformers import ModernBertConfig
            >>> [ModernBert().cuts(ModernBertConfig(num_hidden_layers=depth), (2, depth // 2 + 1)) for depth in (22, 6)]
            [(4, 13), (2, 4)]
        """
        whole = [index for index, kind in enumerate(config.layer_types, start=1) if kind == GLOBAL]
        found = list[int]()
        for layer in reversed(layers):
            next_whole = next((index for index in whole if index >= layer), layer)
            found.append(layer if next_whole in found else next_whole)
        return tuple(sorted(found))

    def keep_layers(self, config: Any, layers: Sequence[int]) -> None:
        """Keep the kinds of the layers; the first has no norm, and is the first of any ModernBERT.

        Raises:
            ValueError: The first layer is not among them.
        """
        if layers[0] != 1:
            raise ValueError(f"layers {tuple(layers)}: a modernbert encoder begins with its layer 1, keep it")
        config.layer_types = [config.layer_types[layer - 1] for layer in layers]
        super().keep_layers(config, layers)

    def embed(self, base: Any, input_ids: Tensor, token_types: Tensor, positions: Tensor) -> Tensor:
        """Return embeddings, which know no positions; see :meth:`Family.embed`."""
        return cast(Tensor, base.embeddings(input_ids=input_ids))

    def prepare(self, base: Any, states: Tensor, packed: PackedSequences) -> dict[str, Rotations]:
        """Return rotations and windows, by the kind of layer."""
        places = packed.places[None]
        window = int(base.config.local_attention) // 2
        hidden = None
        if packed.reach > window + 1:
            far = packed.distances().abs() > window
            table = torch.zeros(far.shape, dtype=states.dtype, device=states.device).masked_fill(far, -torch.inf)
            hidden = PositionBias.from_table(table[None], packed)
        return {
            kind: Rotations(base.rotary_emb(states, places, kind), hidden if kind == LOCAL else None)
            for kind in set(base.config.layer_types)
        }

    def attention_half(
        self, layer: Any, states: Tensor, packed: PackedSequences, shared: dict[str, Rotations]
    ) -> Tensor:
        """Run norm, attention and residual connection; see :meth:`Family.attention_half`."""
        own, stock = shared[layer.attention_type], layer.attn
        projected = apply_linear(stock.Wqkv, layer.attn_norm(states))
        query, key, value = projected.view(*states.shape[:2], 3, -1, stock.head_dim).permute(2, 0, 3, 1, 4)
        query, key = apply_rotary_pos_emb(query, key, *own.angles)
        attended = attend(query, key, value, packed, bias=own.window)
        return cast(Tensor, states + stock.out_drop(apply_linear(stock.Wo, attended.flatten(2))))

    def attention_half_from_first(
        self, layer: Any, states: Tensor, first: Tensor, packed: PackedSequences, shared: dict[str, Rotations]
    ) -> Tensor:
        """Run the first half for all tokens, whose queries are one product with the rest; see :class:`Family`."""
        return self.attention_half(layer, states, packed, shared).index_select(1, first)

    def feed_forward_half(self, layer: Any, states: Tensor) -> Tensor:
        """Run norm, gated feed-forward network and residual connection; see :meth:`Family.feed_forward_half`."""
        stock = layer.mlp
        inner, gate = apply_linear(stock.Wi, layer.mlp_norm(states)).chunk(2, dim=-1)
        return states + apply_linear(stock.Wo, stock.drop(stock.act(inner) * gate))

    def finish(self, base: Any, states: Tensor) -> Tensor:
        """Apply the final norm, to stopped tokens too."""
        return cast(Tensor, base.final_norm(states))

    def span_head(self, model: Any, states: Tensor) -> Tensor:
        """Return start and end logits; see :meth:`Family.span_head`."""
        return self.token_head(model, states)

    def token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of its prediction head and classifier."""
        return cast(Tensor, model.classifier(model.drop(model.head(states))))

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of its prediction head and decoder."""
        return cast(Tensor, model.decoder(model.head(states)))

    def sequence_head(self, model: Any, states: Tensor, layout: Layout) -> Tensor:
        """Return the logits from first tokens or from means over sequences, as ``classifier_pooling`` says."""
        if not self.pools_tokens(model.config):
            return super().sequence_head(model, states, layout)
        lengths = layout.sequence_lengths.to(states.device)
        sequence = torch.repeat_interleave(lengths, output_size=len(states))
        sums = states.new_zeros(len(lengths), states.shape[1]).index_add(0, sequence, states)
        return self.first_token_head(model, sums / lengths[:, None])

    def pools_tokens(self, config: Any) -> bool:
        """Return whether heads read means over sequences; see :meth:`Family.pools_tokens`."""
        return bool(config.classifier_pooling == "mean")

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return the logits of pooled states, ``(num_sequences, hidden)``."""
        return self.token_head(model, first)
