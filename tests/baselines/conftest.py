"""Texts of random tokens and tiny task models, for each family of encoders and each compared system."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from baselines.base import Reference
from baselines.layers import run_with_states
from baselines.lesson import Lesson
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import SpanQA, Task
from trbert_env.tasks.classification import Classification

MakeTexts = Callable[..., list[EncodedText]]
MakeLesson = Callable[..., Lesson]

MAX_TOKENS = 40
#: Token that segments end with.
SEPARATOR = 4


@pytest.fixture(params=["bert", "distilbert", "electra", "roberta"])
def family(request: pytest.FixtureRequest) -> str:
    """Families of BERT's layers; what holds of every family is in test_invariants.py."""
    return str(request.param)


@pytest.fixture
def make_texts(family: str) -> MakeTexts:
    """``make_texts(9, (5, 7))``: one text of a sequence, one of two; each sequence has two segments."""

    def make(*lengths: int | tuple[int, ...], seed: int = 0, classes: int = 0) -> list[EncodedText]:
        random = np.random.default_rng(seed)
        texts = []
        for index, given in enumerate(lengths):
            sequences = (given,) if isinstance(given, int) else given
            total = sum(sequences)
            halves = [np.arange(length) >= (length + 1) // 2 for length in sequences]
            ends = np.concatenate([np.diff(half, append=False) for half in halves]).astype(bool)
            segments = np.concatenate(halves) if family in ("bert", "electra") else np.zeros(total)
            target = np.sort(random.integers(0, total, 2))[None] if not classes else random.integers(0, classes, 1)
            texts.append(
                EncodedText(
                    text_id=f"text{index}",
                    # Beyond the ids of padding: RoBERTa reckons its positions from them.
                    input_ids=np.where(ends, SEPARATOR, random.integers(5, 60, total)).astype(np.int32),
                    token_type_ids=segments.astype(np.int32),
                    sequence_lengths=sequences,
                    target=target,
                )
            )
        return texts

    return make


@pytest.fixture
def reader(make_model: Callable[..., PreTrainedModel], family: str) -> tuple[PreTrainedModel, Task]:
    """A model that reads every token, with its task."""
    return make_model(family), SpanQA(max_tokens=MAX_TOKENS)


@pytest.fixture
def classifier(make_model: Callable[..., PreTrainedModel], family: str) -> tuple[PreTrainedModel, Task]:
    """A model that reads first tokens, with its task of three classes."""
    values = make_model(family).config.to_dict() | {"num_labels": 3}
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    for name, parameter in model.named_parameters():
        # Norms of small weights would leave logits that do not depend on the text.
        scales = "norm" in name.lower() and name.endswith("weight")
        nn.init.normal_(parameter, mean=1.0 if scales else 0.0, std=0.2)
    task = Classification(max_tokens=MAX_TOKENS)
    task.configure(model.config)
    return model.eval(), task


@pytest.fixture
def make_lesson() -> MakeLesson:
    """A lesson that the unreduced model itself teaches."""

    def make(model: PreTrainedModel, task: Task, texts: Sequence[EncodedText], share: float = 0.5) -> Lesson:
        batch, staged = TextBatch.from_texts(texts), StagedModel(model, task)

        def teach(states: Tensor | None) -> Tensor:
            with torch.no_grad():
                if states is None:
                    return staged(batch)
                return task.logits(model, staged.encoder.finish(states), batch.layout)

        def show() -> list[Tensor]:
            with torch.no_grad():
                return run_with_states(staged.encoder, batch)

        return Lesson(batch, task, task.targets(texts), share, 1.0, teach, show)

    return make


@pytest.fixture
def reference(make_model: Callable[..., PreTrainedModel], family: str) -> Reference:
    return Reference.of(make_model(family), "tiny")


def layer_flops(tokens: int, hidden: int = 48, feed_forward: int = 96) -> int:
    """Two for each multiply-add of one layer, one matrix product at a time."""
    return 2 * (4 * tokens * hidden**2 + 2 * tokens**2 * hidden + 2 * tokens * hidden * feed_forward)


def encoder_of(model: PreTrainedModel) -> StagedEncoder:
    return StagedEncoder(model)


#: Which tokens stay: 0-based layer, ``(heads, tokens, tokens)`` probabilities and the tokens of the whole sequence to
#: the indices of those in play that stay.
Rule = Callable[[int, Tensor, int], Tensor]


@pytest.fixture
def by_the_book() -> Callable[[PreTrainedModel, Task, EncodedText, Rule], Tensor]:
    """Logits of a text of one sequence: a loop over stock modules with eager attention, states kept by place."""

    @torch.no_grad()
    def run(model: PreTrainedModel, task: Task, text: EncodedText, rule: Rule) -> Tensor:
        stock: Any = copy.deepcopy(model)
        stock.base_model.set_attn_implementation("eager")
        ids, types = (torch.from_numpy(array).long()[None] for array in (text.input_ids, text.token_type_ids))
        distilled = model.config.model_type == "distilbert"
        states = stock.base_model.embeddings(ids) if distilled else stock.base_model.embeddings(ids, types)
        last, places = states[0].clone(), torch.arange(len(text))
        for index, layer in enumerate(FAMILIES[model.config.model_type].stack(stock.base_model)):
            attended, probabilities = layer.attention(states, attention_mask=None)[:2]
            if distilled:
                attended = layer.sa_layer_norm(attended + states)
            last[places] = attended[0]
            kept = rule(index, probabilities[0], len(text))
            attended, places = attended[:, kept], places[kept]
            if distilled:
                states = layer.output_layer_norm(layer.ffn(attended) + attended)
            else:
                states = layer.output(layer.intermediate(attended), attended)
            last[places] = states[0]
        return task.logits(stock, last, Layout.from_lengths([len(text)], [1]))

    return run


def highest(scores: Tensor, number: int) -> Tensor:
    """Indices of the first token and the others of the highest scores, in their order."""
    others = sorted(range(1, len(scores)), key=lambda index: -float(scores[index]))[: number - 1]
    return torch.tensor([0, *sorted(others)])


@pytest.fixture
def by_score() -> Callable[[Tensor, int], Tensor]:
    return highest
