"""Texts of random tokens and masks of random tokens, for each family of encoders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
MaskedStock = Callable[..., AbstractContextManager[None]]
Play = Callable[[StagedForward, Sequence[Tensor]], StagedForward]


@pytest.fixture
def model(make_model: Callable[..., PreTrainedModel], family: str) -> PreTrainedModel:
    return make_model(family)


@pytest.fixture
def make_texts(family: str) -> MakeTexts:
    """``make_texts((9,), (5, 7))``: one text of a sequence, one of two."""

    def make(*sequences_of_texts: tuple[int, ...], seed: int = 0) -> list[EncodedText]:
        random = np.random.default_rng(seed)
        texts = []
        for index, lengths in enumerate(sequences_of_texts):
            total = sum(lengths)
            segments = random.integers(0, 2, total) if family in ("bert", "electra") else np.zeros(total)
            texts.append(
                EncodedText(
                    text_id=f"text{index}",
                    # Beyond the ids of padding: RoBERTa reckons its positions from them.
                    input_ids=random.integers(5, 60, total).astype(np.int32),
                    token_type_ids=segments.astype(np.int32),
                    sequence_lengths=lengths,
                    target=np.sort(random.integers(0, total, 2))[None],
                )
            )
        return texts

    return make


@pytest.fixture
def texts(make_texts: MakeTexts) -> list[EncodedText]:
    """The third holds [CLS] alone."""
    return make_texts((9,), (14,), (1,), (6,))


@pytest.fixture
def make_masks() -> MakeMasks:
    """T masks (num_texts, width) of tokens in text order; each keeps [CLS] and a part of those that are left."""

    def make(texts: Sequence[EncodedText], num_reductions: int, seed: int = 0) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        width = max(len(text) for text in texts)
        forced = torch.zeros(len(texts), width, dtype=torch.bool)
        for row, text in enumerate(texts):
            forced[row, np.cumsum([0, *text.sequence_lengths[:-1]])] = True
        left = torch.arange(width) < torch.tensor([len(text) for text in texts])[:, None]
        masks = []
        for _ in range(num_reductions):
            left = left & ((torch.rand(left.shape, generator=generator) < 0.65) | forced)
            masks.append(left)
        return masks

    return make


#: Modules that the second half of a stock layer begins with, by what families call them.
SECOND_HALVES = ("intermediate", "ffn", "mlp_norm")


def _second_half(layer: Any) -> torch.nn.Module:
    module: torch.nn.Module = next(getattr(layer, name) for name in SECOND_HALVES if hasattr(layer, name))
    return module


@pytest.fixture
def second_half() -> Callable[[Any], torch.nn.Module]:
    """The module of a stock layer that what has left its attention goes into."""
    return _second_half


def _masked(layer: Any, in_play: Tensor, behind: Tensor) -> Callable[..., Any]:
    """A stock layer in which tokens out of play are no keys, and keep their state.

    ``behind`` are those still in play behind its attention; the others keep the state that they have there.
    """
    stock = layer.forward
    half = _second_half(layer)
    middle: list[Tensor] = []

    def forward(*given: Any, **named: Any) -> Any:
        call = inspect.signature(stock).bind(*given, **named)
        states, mask = call.args[0], call.arguments.get("attention_mask")
        if mask is not None and bool((mask == 1).any()):  # DeBERTa, whose masks are 1 for what is seen
            mask = mask * in_play
        else:
            mask = states.new_zeros(1, 1, *2 * in_play.shape) if mask is None else mask
            mask = mask.masked_fill(~in_play, -1e9)
        call.arguments["attention_mask"] = mask
        hook = half.register_forward_pre_hook(lambda _, inputs: middle.append(inputs[0]))
        output = stock(*call.args, **call.kwargs)
        hook.remove()
        kept = torch.where(in_play[:, None], middle[-1], states)
        if isinstance(output, tuple):
            return torch.where(behind[:, None], output[0], kept), *output[1:]
        return torch.where(behind[:, None], output, kept)

    return forward


@pytest.fixture
def masked_stock() -> MaskedStock:
    """``masked_stock(stock, in_play)``: inside it, each stock layer sees its ``(n,)`` tokens in play only.

    ``behind`` are those still in play behind its attention; the same where they are left out.
    """

    @contextmanager
    def patched(stock: Any, in_play: Sequence[Tensor], behind: Sequence[Tensor] | None = None) -> Iterator[None]:
        layers = FAMILIES[stock.config.model_type].stack(stock.base_model)
        with pytest.MonkeyPatch.context() as patch:
            for layer, own, left in zip(layers, in_play, behind or in_play, strict=True):
                patch.setattr(layer, "forward", _masked(layer, own, left))
            yield

    return patched


@pytest.fixture
def play() -> Play:
    """Apply masks in text order to a forward pass, to its end."""

    def run(forward: StagedForward, masks: Sequence[Tensor]) -> StagedForward:
        for mask in masks:
            forward.advance(forward.tokens.layout.gather(mask))
        return forward

    return run


@pytest.fixture
def workload_of() -> Callable[[PreTrainedModel, Sequence[EncodedText]], Workload]:
    """A workload of given texts, which no tokenizer has made."""

    def make(model: PreTrainedModel, texts: Sequence[EncodedText]) -> Workload:
        preset = replace(get_preset("SQuAD2"), settings={"max_tokens": max(len(text) for text in texts) + 2})
        backbone = Backbone(model, cast(PreTrainedTokenizerBase, None), "tiny", "tiny", fine_tuned=True)
        examples = Dataset.from_list([{"id": text.text_id} for text in texts])
        return Workload(preset, make_task(preset), backbone, examples, texts, "train", "local")

    return make
