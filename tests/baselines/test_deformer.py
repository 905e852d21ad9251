"""DeFormer: stock modules on each segment, published speed-ups, its loss, and a cache that changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from baselines.deformer import Deformer, DeformerOptions, deformer_flops, separate_segments
from baselines.lesson import Lesson
from baselines.passage_cache import PassageCache
from trbert_env.encoder.families import FAMILIES, LayerSize
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.tasks import Task
from trbert_env.tasks.multiple_choice import MultipleChoice

Kind = tuple[PreTrainedModel, Task]
MakeTexts = Callable[..., list[EncodedText]]
MakeLesson = Callable[..., Lesson]


def made(kind: Kind, **options: Any) -> Deformer:
    model, task = kind
    return Deformer(copy.deepcopy(model), task, DeformerOptions(**options)).eval()


class Given(nn.Module):
    """Takes the place of embeddings, and gives states instead."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *arguments: Any, **options: Any) -> Tensor:
        return self.states


def stock_layers(
    model: PreTrainedModel, text: EncodedText, places: slice, layers: slice, states: Tensor | None = None
) -> Tensor:
    """Some tokens of a text as a sequence of their own, through some layers of a stock encoder: ``(1, n, hidden)``."""
    family, base = FAMILIES[model.config.model_type], cast(Any, copy.deepcopy(model.base_model))
    base.set_attn_implementation("eager")
    base.set_submodule(family.layers, nn.ModuleList(list(family.stack(base))[layers]))
    if hasattr(base, "final_norm"):
        base.final_norm = nn.Identity()
    if states is not None:
        base.embeddings = Given(states)
        base.embeddings_project = nn.Identity()
    inputs = {"input_ids": torch.from_numpy(text.input_ids[places]).long()[None]}
    if family.reads_token_types:
        inputs["token_type_ids"] = torch.from_numpy(text.token_type_ids[places]).long()[None]
    found: Tensor = base(**inputs, attention_mask=torch.ones_like(inputs["input_ids"])).last_hidden_state
    return found


def by_stock_modules(model: PreTrainedModel, text: EncodedText, layers: int) -> list[Tensor]:
    """States of a text of one sequence, behind each upper layer, each segment run as a stock model runs a sequence."""
    bound = text.input_ids.tolist().index(int(text.input_ids[-1])) + 1
    pieces = slice(0, bound), slice(bound, None)
    found = [torch.cat([stock_layers(model, text, piece, slice(0, layers)) for piece in pieces], 1)]
    for layer in range(layers, 4):
        found.append(stock_layers(model, text, slice(None), slice(layer, layer + 1), found[-1]))
    return [states[0] for states in found[1:]]


@torch.no_grad()
@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("camembert", "xlm-roberta")])
@pytest.mark.parametrize("layers", [1, 3])
def test_it_is_what_stock_modules_make_of_each_segment(reader: Kind, make_texts: MakeTexts, layers: int) -> None:
    texts = make_texts(9, 23, 14)
    output = made(reader, layers=layers)(TextBatch.from_texts(texts), states=True)
    expected = [by_stock_modules(reader[0], text, layers) for text in texts]
    for found, *parts in zip(output.states[layers + 1 :], *expected, strict=True):
        torch.testing.assert_close(found, torch.cat(parts), rtol=1e-5, atol=5e-5)
    last = torch.cat([states[-1] for states in expected])
    last = getattr(reader[0].base_model, "final_norm", nn.Identity())(last)
    layout = TextBatch.from_texts(texts).layout
    torch.testing.assert_close(output.logits, reader[1].logits(reader[0], last, layout), rtol=1e-5, atol=1e-5)
    assert torch.equal(made(reader, layers=layers).run(TextBatch.from_texts(texts)).logits, output.logits)


@torch.no_grad()
def test_with_no_lower_layer_any_text_runs_and_otherwise_one_segment_is_refused(
    reader: Kind, make_texts: MakeTexts
) -> None:
    (text,) = make_texts(1)  # its only token is the only separator
    made(reader, layers=0).run(TextBatch.from_texts([text]))
    with pytest.raises(ValueError, match="a text has one: give a task of questions or pairs"):
        made(reader, layers=1).run(TextBatch.from_texts([*make_texts(9), text]))


def test_a_double_separator_opens_the_second_segment() -> None:
    ids = torch.tensor([[0, 7, 8, 2, 2, 9, 2]])  # RoBERTa's <s> 7 8 </s> </s> 9 </s>
    segments = separate_segments(TextBatch.from_padded(ids))
    assert segments.layout.sequence_lengths.tolist() == [4, 3]
    assert segments.layout.sequences_per_text.tolist() == [2]
    assert segments.sequence_positions.tolist() == [0, 1, 2, 3, 0, 1, 2]


@pytest.mark.parametrize(
    ("layers", "query", "total", "published"),
    [
        pytest.param(7, 27, 320, 2.19, id="SQuAD2: padded as DeFormer does"),
        pytest.param(7, 11, 11 + 249, 2.34, id="NaturalQA: mean context of TR-BERT's table 1"),
        pytest.param(7, 32, 32 + 382, 2.19, id="RACE: mean article of TR-BERT's table 1, question as DeFormer pads it"),
        pytest.param(6, 10, 512, 2.01, id="NewsQA: windows of 512"),
    ],
)
def test_speedups_of_the_trbert_paper_are_those_of_cached_passages(
    layers: int, query: int, total: int, published: float
) -> None:
    cost = CostModel(LayerSize(768, 3072), (12,))
    layouts = [Layout.from_lengths([total], [1]), Layout.from_lengths([query, total - query], [2])]
    full = cost.full(layouts[0])
    assert float(full / deformer_flops(cost, layers, layouts, 0, cached=True)) == pytest.approx(published, abs=0.1)
    # Without a cache nothing to speak of is gained.
    assert float(full / deformer_flops(cost, layers, layouts, 0, cached=False)) == pytest.approx(1.0, abs=0.05)


def test_flops_are_those_of_segments(reader: Kind, make_texts: MakeTexts) -> None:
    def layer(tokens: int) -> int:
        return 2 * (4 * tokens * 48**2 + 2 * tokens**2 * 48 + 2 * tokens * 48 * 96)

    batch = TextBatch.from_texts(make_texts((9, 14), 23))
    expected = [3 * (layer(5) + layer(7)) + layer(9) + layer(14), 3 * layer(12) + layer(23)]
    passages = [3 * (layer(4) + layer(7)), 3 * layer(11)]
    with torch.no_grad():
        assert made(reader, layers=3, cached=True).run(batch).flops.tolist() == expected
        uncached = made(reader, layers=3).run(batch).flops.tolist()
    assert uncached == [one + other for one, other in zip(expected, passages, strict=True)]


def test_of_multiple_choice_the_article_is_the_passage() -> None:
    assert MultipleChoice.query_segment == 1
    cost = CostModel(LayerSize(768, 3072), (12,))
    layouts = [Layout.from_lengths([120, 130], [2]), Layout.from_lengths([100, 20, 100, 30], [4])]
    alone = 7 * cost.layer(Layout.from_lengths([20, 30], [2])) + 5 * cost.layer(layouts[0])
    assert torch.equal(deformer_flops(cost, 7, layouts, 1, cached=True), alone)


def test_its_loss_has_three_parts(reader: Kind, make_texts: MakeTexts, make_lesson: MakeLesson) -> None:
    lesson = make_lesson(*reader, make_texts(9, 14), share=1.0)

    def loss(**weights: float) -> float:
        (found,) = made(reader, layers=2, **weights).losses(0, lesson)
        return float(found.detach())

    output = made(reader, layers=2)(lesson.batch, states=True)
    teacher = lesson.teacher_states
    distance = (mse_loss(output.states[3], teacher[3]) + mse_loss(output.states[4], teacher[4])) / 2
    assert loss(alpha=0.0, beta=0.0) == pytest.approx(float(lesson.gold_loss(output.logits).detach()))
    assert loss(beta=0.0, gamma=0.0) == pytest.approx(float(lesson.soft_loss(output.logits, None, 2.0).detach()))
    assert loss(alpha=0.0, gamma=0.0) == pytest.approx(float(distance.detach()))
    parts = loss(alpha=0.0, beta=0.0), loss(beta=0.0, gamma=0.0), loss(alpha=0.0, gamma=0.0)
    assert loss() == pytest.approx(sum(parts))
    assert loss(gamma=0.3, alpha=0.5, beta=0.2) == pytest.approx(0.3 * parts[0] + 0.5 * parts[1] + 0.2 * parts[2])


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_of_passages_changes_nothing(reader: Kind, make_texts: MakeTexts, dtype: torch.dtype) -> None:
    system, texts = made(reader, layers=3, cached=True), make_texts(9, 23, (14, 9))
    batch = TextBatch.from_texts(texts)
    expected = system.run(batch).logits
    system.cache = PassageCache(dtype)
    torch.testing.assert_close(system.run(batch).logits, expected, rtol=1e-5, atol=1e-5)
    assert len(system.cache) == 4
    assert system.cache.num_bytes == (4 + 11 + 7 + 4) * 48 * dtype.itemsize
    # In another order, and with a passage that is new.
    mixed = TextBatch.from_texts([texts[2], *make_texts(12, seed=5), texts[0]])
    anew = made(reader, layers=3).run(mixed).logits
    rounding = 1e-5 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(system.run(mixed).logits, anew, rtol=rounding, atol=rounding)
    assert len(system.cache) == 5
    system.cache.clear()
    assert not len(system.cache)


@pytest.mark.usefixtures("as_many_rows_as_there_are")
@torch.no_grad()
def test_with_a_full_cache_flops_are_those_that_torch_counts(reader: Kind, make_texts: MakeTexts) -> None:
    system, batch = made(reader, layers=3, cached=True), TextBatch.from_texts(make_texts(9, 23))
    system.cache = PassageCache()
    system.run(batch)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        system.encoder.embed(TextBatch.from_texts(make_texts(17)))  # as many tokens as both queries have
        system.task.logits(system.model, torch.zeros(32, 48), batch.layout)
    outside = counter.get_total_flops()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = system.run(batch)
    assert int(output.flops.sum()) == counter.get_total_flops() - outside


@torch.no_grad()
def test_a_passage_that_comes_twice_is_computed_once(reader: Kind, make_texts: MakeTexts) -> None:
    system = made(reader, layers=2)
    (text,) = make_texts(20)
    seen = []
    lower = system._lower_states
    system._lower_states = lambda segments: seen.append(segments.layout.sequence_lengths.tolist()) or lower(segments)  # type: ignore[method-assign, func-returns-value]
    system.cache = PassageCache()
    for _ in range(2):
        system.run(TextBatch.from_texts([text, text, text]))
    assert seen == [[10, 10, 10, 10], [10, 10, 10]]


def test_gradients_are_never_of_cached_states(reader: Kind, make_texts: MakeTexts, make_lesson: MakeLesson) -> None:
    system = made(reader, layers=2, beta=0.0)
    system.cache = PassageCache()
    for loss in system.losses(0, make_lesson(*reader, make_texts(9))):
        loss.backward()
    assert not len(system.cache)


def test_what_does_not_fit_is_refused(reader: Kind, make_texts: MakeTexts) -> None:
    texts = make_texts(20, 30)
    assert made(reader).layers == 3
    with pytest.raises(ValueError, match=r"layers is 4: the encoder has 4 layers, give 0 to 3 lower ones"):
        made(reader, layers=4)
    with pytest.raises(ValueError, match="settle the speed-up"):
        Deformer.aimed(DeformerOptions(layers=2), 1.6, *reader, texts)
    with pytest.raises(ValueError, match="with passages cached: set the option cached"):
        Deformer.aimed(DeformerOptions(), 1.6, *reader, texts)
    assert Deformer.aimed(DeformerOptions(cached=True), 1.6, *reader, texts) == DeformerOptions(layers=3, cached=True)
