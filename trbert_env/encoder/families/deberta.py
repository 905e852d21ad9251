"""DeBERTa v2 and v3: scores also of contents against embeddings of relative positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from trbert_env.encoder.attention import attend
from trbert_env.encoder.families.base import Family, LayerSize
from trbert_env.encoder.frozen import FrozenValues, are_frozen
from trbert_env.encoder.linear import apply_linear, is_plain
from trbert_env.encoder.sequences import PackedSequences


@dataclass(frozen=True)
class Relative:
    """Relative positions, which all layers share.

    Attributes:
        encoder: Stock encoder, which has the embeddings of relative positions.
        rows: Number of these embeddings.
        index: Row of each pair of tokens (query, key) of each sequence, ``(n, n)`` int64.
    """

    encoder: Any
    rows: int
    index: list[Tensor]

    @cached_property
    def embeddings(self) -> Tensor:
        """Embeddings of relative positions, ``(1, rows, hidden)``."""
        return cast(Tensor, self.encoder.get_rel_embedding()[None, : self.rows])

    @property
    def parameters(self) -> list[Tensor]:
        """Parameters that the embeddings follow from."""
        norm = getattr(self.encoder, "LayerNorm", None)
        return [self.encoder.rel_embeddings.weight, *(() if norm is None else norm.parameters())]


@dataclass(frozen=True)
class DisentangledBias:
    """Scores of contents against positions in one layer; an :class:`AttentionBias`.

    Attributes:
        index: See :class:`Relative`.
        keys: Keys of positions that queries are multiplied with, ``(heads, head_dim, rows)``; None for none.
        queries: Queries of positions that keys are multiplied with, likewise.
        scale: Factor on the scores.
    """

    index: list[Tensor]
    keys: Tensor | None
    queries: Tensor | None
    scale: float

    def of(self, sequence: int, query: Tensor, key: Tensor) -> Tensor:
        """Return the scores of one sequence, ``(heads, n, n)``; see :class:`AttentionBias`."""
        index = self.index[sequence].expand(len(query), -1, -1)
        scores = torch.zeros((), dtype=query.dtype, device=query.device)
        if self.keys is not None:
            scores = scores + torch.bmm(query, self.keys).gather(2, index)
        if self.queries is not None:
            # Row i of the transposed index holds the pairs in which token i is the key.
            scores = scores + torch.bmm(key, self.queries).gather(2, index.transpose(1, 2)).transpose(1, 2)
        return scores * self.scale


class DebertaV2(Family):
    """DeBERTa v2 and v3; pairs of kept tokens have the relative position of where they stood."""

    attention_interface = False
    reads_positions = True
    reaches_further = True
    projections = None  # positions have heads of their own, which would have to be sorted with the others

    def check(self, config: PreTrainedConfig) -> None:
        """Refuse the convolution that large DeBERTa v2 have behind their first layer; see :meth:`Family.check`."""
        if getattr(config, "conv_kernel_size", 0) > 0:
            raise ValueError(
                f"conv_kernel_size {config.conv_kernel_size}: deberta-v2 encoders with a convolution are not "
                "supported, use one without (deberta-v3)"
            )

    def layer_size(self, config: Any) -> LayerSize:
        """Return the sizes; every token's query, key or both are multiplied with all embeddings of positions."""
        kinds = set(config.pos_att_type or ()) & {"c2p", "p2c"} if config.relative_attention else ()
        rows = 2 * _span(config) * len(kinds)
        sizes = int(config.hidden_size), int(config.intermediate_size)
        return LayerSize(*sizes, position_rows=rows, queries_apart=False)

    def pin_positions(self, config: Any) -> None:
        """Keep the embeddings of relative positions that there are."""
        config.max_relative_positions = _most(config)

    def token_types(self, config: Any) -> float:
        """Return the number of token types; encoders that embed none leave them out."""
        return config.type_vocab_size or torch.inf

    def prepare(self, base: Any, states: Tensor, packed: PackedSequences) -> Relative | None:
        """Return embeddings of relative positions, and each pair's row in them."""
        config = base.config
        if not config.relative_attention:
            return None
        distances, span = -packed.distances(), _span(config)  # a query's place less a key's
        if getattr(config, "position_buckets", -1) > 0:
            distances = make_log_bucket_position(distances, config.position_buckets, _most(config)).long()
        rows = (distances + span).clamp(0, 2 * span - 1)
        return Relative(base.encoder, 2 * span, [rows[pairs] for pairs in packed.pairs()])

    def attention_half(self, layer: Any, states: Tensor, packed: PackedSequences, shared: Relative | None) -> Tensor:
        """Run attention, residual connection and norm; see :meth:`Family.attention_half`."""
        stock = layer.attention.self
        query, key, value = (
            _heads(stock, apply_linear(part, states)) for part in (stock.query_proj, stock.key_proj, stock.value_proj)
        )
        kinds = [kind for kind in ("c2p", "p2c") if kind in stock.pos_att_type]
        scale = (query.shape[-1] * (1 + len(kinds))) ** -0.5
        bias = None if shared is None or not kinds else _bias(stock, shared, scale)
        attended = attend(query, key, value, packed, scale, bias)
        return cast(Tensor, layer.attention.output(attended.flatten(2), states))

    def attention_half_from_first(
        self, layer: Any, states: Tensor, first: Tensor, packed: PackedSequences, shared: Relative | None
    ) -> Tensor:
        """Run the first half for all tokens, and return those of first tokens; see :class:`Family`."""
        return self.attention_half(layer, states, packed, shared).index_select(1, first)

    def masked_token_head(self, model: Any, states: Tensor) -> Tensor:
        """Return the logits of its head, the older or the newer one; see :meth:`Family.masked_token_head`."""
        if model.legacy:
            return super().masked_token_head(model, states)
        return cast(Tensor, model.lm_predictions(states, model.base_model.embeddings.word_embeddings))

    def first_token_head(self, model: Any, first: Tensor) -> Tensor:
        """Return the logits from first tokens; the pooler belongs to the head."""
        return cast(Tensor, model.classifier(model.dropout(model.pooler(first[:, None]))))


class Projected(NamedTuple):
    """Positions as one layer sees them, ``(heads, head_dim, rows)`` each; None for what it has not.

    Attributes:
        keys: Keys that queries of tokens are multiplied with.
        queries: Queries that keys of tokens are multiplied with.
    """

    keys: Tensor | None
    queries: Tensor | None


#: Projected positions of frozen attention modules: no text changes them.
_PROJECTED: FrozenValues[Projected] = FrozenValues()


def _bias(stock: Any, shared: Relative, scale: float) -> DisentangledBias:
    """Position keys and queries of one layer."""
    layers = _position_layers(stock)
    parameters = [*shared.parameters, *(part for layer in layers.values() for part in layer.parameters())]
    keeps = are_frozen(*parameters) and all(map(is_plain, layers.values()))
    if not keeps or _dropped(stock) or torch.is_autocast_enabled(parameters[0].device.type):
        _PROJECTED.forget(stock)
        found = _project(stock, layers, stock.pos_dropout(shared.embeddings))
    else:
        found = _PROJECTED.of(stock, parameters, lambda: _project_frozen(stock, layers, shared))
    return DisentangledBias(shared.index, found.keys, found.queries, scale)


def _position_layers(stock: Any) -> dict[str, nn.Module]:
    """Linear layers that positions go through, by kind of score; often those of contents."""
    names = ("key_proj", "query_proj") if stock.share_att_key else ("pos_key_proj", "pos_query_proj")
    found = zip(("c2p", "p2c"), names, strict=True)
    return {kind: getattr(stock, name) for kind, name in found if kind in stock.pos_att_type}


def _dropped(stock: Any) -> bool:
    return bool(stock.pos_dropout.training and stock.pos_dropout.p)


def _project(stock: Any, layers: dict[str, nn.Module], embeddings: Tensor) -> Projected:
    found = {kind: _heads(stock, layer(embeddings))[0].transpose(1, 2) for kind, layer in layers.items()}
    return Projected(found.get("c2p"), found.get("p2c"))


def _project_frozen(stock: Any, layers: dict[str, nn.Module], shared: Relative) -> Projected:
    # Tensors that inference mode makes could not be used where gradients flow later.
    with torch.inference_mode(False), torch.no_grad():
        return _project(stock, layers, shared.embeddings)


def _heads(stock: Any, values: Tensor) -> Tensor:
    """``(1, rows, width)`` to ``(1, heads, rows, head_dim)``."""
    return values.view(*values.shape[:2], stock.num_attention_heads, -1).transpose(1, 2)


def _most(config: Any) -> int:
    """Return the relative positions that the encoder tells apart to either side, before they share buckets."""
    most = int(getattr(config, "max_relative_positions", -1))
    return most if most > 0 else int(config.max_position_embeddings)


def _span(config: Any) -> int:
    """Return the embeddings of relative positions to either side."""
    buckets = int(getattr(config, "position_buckets", -1))
    return buckets if buckets > 0 else _most(config)
