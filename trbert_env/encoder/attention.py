"""The packed attention function: tokens attend within their own sequence, and nothing is padded.

It is registered with transformers under :data:`PACKED_ATTENTION`. Stock layers hand extra keyword
arguments down to it; where ``packed`` comes, attention runs over the sequences that it describes,
and where it does not come, the call falls through to stock SDPA with its padding mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trbert_env.encoder.fused import attend_whole_vectors, takes_whole_vectors, whole_vectors
from trbert_env.encoder.kernels import attention_way
from trbert_env.encoder.products import attend_in_products, attend_recomputed
from trbert_env.encoder.received import attention_received, attention_with_received
from trbert_env.encoder.sequences import AttentionBias, PackedSequences

PACKED_ATTENTION = "trbert_packed"
#: Tokens below which the fused kernel wins in bfloat16 on any CPU, without gradients.
SHORT = 96
#: Tokens from which on backward computes probabilities anew in bfloat16: in less memory, and faster with AMX.
LONG = 768


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed: PackedSequences | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    bias: AttentionBias | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend within each packed sequence; see the module's page.

    Args:
        module: The attention module that calls.
        query: ``(1, heads, total_tokens, head_dim)``; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        attention_mask: Only for calls that are not packed.
        packed: The sequences; None for a stock padded call.
        scaling: Factor on the scores; ``head_dim ** -0.5`` where None.
        dropout: Only for calls that are not packed: packed attention has none, on any device.
        bias: Bias that is added to the scaled scores of packed sequences; None for nothing.
        kwargs: Handed on to stock SDPA.

    Returns:
        ``(1, total_tokens, heads, head_dim)`` and None.
    """
    if packed is None:
        output, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output, weights
    return attend(query, key, value, packed, scaling, bias), None


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: PackedSequences,
    scaling: float | None = None,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Attend within each packed sequence: ``(1, total_tokens, heads, head_dim)``.

    Args:
        query: ``(1, heads, total_tokens, head_dim)``; ``key`` and ``value`` likewise.
        key: See ``query``.
        value: See ``query``.
        packed: The sequences; what tokens receive is recorded where it says so.
        scaling: Factor on the scores; ``head_dim ** -0.5`` where None.
        bias: Bias that is added to the scores; None for nothing.
    """
    recorder = packed.recorder
    if recorder is not None and recorder.once:
        output, received = attention_with_received(query, key, value, packed.lengths, scaling, recorder.diagonal, bias)
        recorder.found.append(received)
        return output
    if recorder is not None:
        recorder.found.append(attention_received(query, key, packed.lengths, scaling, recorder.diagonal, bias))
    if query.device.type == "cpu":
        return _by_sequence(query, key, value, packed.lengths, scaling, bias)
    if bias is None and fits_varlen(query.device, query.dtype, query.shape[-1]):
        longest = max(packed.lengths) if packed.longest is None else packed.longest
        bounds = packed.bounds(query.device)
        return varlen(query, key, value, (bounds, bounds), (longest, longest), scaling)
    return _padded(query, key, value, packed.lengths, scaling, bias)


def _by_sequence(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: list[int],
    scaling: float | None,
    bias: AttentionBias | None = None,
) -> Tensor:
    """One call a sequence: on a CPU faster than any masked call.

    In float32 that is the fused kernel; see :mod:`trbert_env.encoder.fused`. In bfloat16 two matrix products are two to
    four times as fast with gradients, and a long sequence computes its probabilities anew in backward; without
    gradients, where a sequence is not short, it depends on the processor: see
    :func:`~trbert_env.encoder.kernels.attention_way`.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    in_products = query.dtype == torch.bfloat16 and (query.requires_grad or attention_way() == "products")
    whole = takes_whole_vectors(query, key, value)
    if whole and bias is None and not in_products:
        return attend_whole_vectors(query, key, value, lengths, scale)
    tail = query.shape[2] - sum(lengths)
    if in_products:  # strided reads are slow in a product
        query, key, value = (tensor.contiguous() for tensor in (query, key, value))
    splits = [tensor.split([*lengths, tail], dim=2) for tensor in (query, key, value)]
    outputs, start = [], 0
    for index, (length, q, k, v) in enumerate(zip(lengths, *(split[:-1] for split in splits), strict=True)):
        added = None if bias is None else bias.of(index, q[0], k[0])
        if in_products and q.requires_grad and added is None and length >= LONG:
            outputs.append(attend_recomputed(q[0], k[0], v[0], scale).transpose(0, 1)[None])
        elif in_products and (length >= SHORT or q.requires_grad):
            outputs.append(attend_in_products(q[0], k[0], v[0], scale, added).transpose(0, 1)[None])
        else:
            mask = None if added is None else added[None]
            if whole:
                k, v, mask = whole_vectors(key, value, start, length, mask)
            outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2))
        start += length
    if tail:
        outputs.append(torch.zeros_like(splits[2][-1].transpose(1, 2)))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


@cache
def _varlen_kernel() -> Callable[..., Tensor] | None:
    """Torch's own, from the version on that lets a scale be given (2.11); None before."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    takes_scale = "scale" in inspect.signature(varlen_attn).parameters
    return cast(Callable[..., Tensor], varlen_attn) if takes_scale else None


def fits_varlen(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Tell whether the varlen kernel takes such heads: CUDA, half precision, a width and a GPU that it was built for.

    Args:
        device: Device of the heads.
        dtype: Number format.
        head_size: Width of a head.
    """
    fits = device.type == "cuda" and dtype in (torch.float16, torch.bfloat16) and head_size % 8 == 0
    if not fits or head_size > 256 or _varlen_kernel() is None:
        return False
    return _has_flash_attention(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _has_flash_attention(index: int) -> bool:
    """Whether torch was built with flash attention, and a GPU is of a generation that it runs on (Ampere or later)."""
    built = torch.backends.cuda.is_flash_attention_available()
    return built and torch.cuda.get_device_capability(index) >= (8, 0)


def varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: tuple[Tensor, Tensor],
    longest: tuple[int, int],
    scaling: float | None,
) -> Tensor:
    """Attend by one kernel over all sequences, where :func:`fits_varlen`: ``(1, queries, heads, head_dim)``.

    Args:
        query: ``(1, heads, queries, head_dim)``.
        key: ``(1, heads, total_tokens, head_dim)``; ``value`` likewise.
        value: See ``key``.
        bounds: Bounds of the sequences among queries and among keys, ``(num_sequences + 1,)`` int32 each.
        longest: The most queries and keys of a sequence.
        scaling: Factor on the scores; ``head_dim ** -0.5`` where None.
    """
    kernel = _varlen_kernel()
    assert kernel is not None
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
    output = kernel(q, k, v, *bounds, *longest, scale=scaling)
    return output.view(1, *output.shape)


def _padded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: list[int],
    scaling: float | None,
    bias: AttentionBias | None = None,
) -> Tensor:
    """Pad, mask, and take the padding out again: on a GPU, where the varlen kernel does not serve."""
    total = query.shape[2]
    counts = torch.tensor(lengths, device=query.device)
    mask = torch.arange(max(lengths), device=query.device) < counts[:, None]
    seen = mask[:, None, None, :] if bias is None else _padded_bias(query, key, lengths, bias)
    q, k, v = (spread_rows(tensor, lengths, mask) for tensor in (query, key, value))
    output = scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling)
    packed_output = output.transpose(1, 2)[mask]
    tail = packed_output.new_zeros(total - len(packed_output), *packed_output.shape[1:])
    return torch.cat([packed_output, tail])[None]


def spread_rows(tensor: Tensor, lengths: list[int], mask: Tensor) -> Tensor:
    """Return packed heads padded, ``(num_sequences, heads, width, head_dim)``, 0 where there is no token.

    Args:
        tensor: ``(1, heads, total_tokens, head_dim)``.
        lengths: Tokens of each sequence.
        mask: ``(num_sequences, width)`` bool, True for tokens.
    """
    tokens = tensor[0].transpose(0, 1)[: sum(lengths)]
    empty = tokens.new_zeros(*mask.shape, *tokens.shape[1:])
    return empty.masked_scatter(mask[..., None, None], tokens).transpose(1, 2)


def _padded_bias(query: Tensor, key: Tensor, lengths: list[int], bias: AttentionBias) -> Tensor:
    """The bias of each sequence where its tokens are, minus infinity for padding as keys."""
    width, found = max(lengths), []
    for index, (q, k) in enumerate(
        zip(*(part[0, :, : sum(lengths)].split(lengths, 1) for part in (query, key)), strict=True)
    ):
        own = bias.of(index, q, k)
        missing = width - lengths[index]
        found.append(pad(pad(own, (0, 0, 0, missing)), (0, missing), value=-torch.inf))
    return torch.stack(found)


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
# Without a mask function of its own, a padded stock call would silently lose its mask.
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
