"""PoWER-BERT: its rule by an independent loop, its search, how the numbers are read off and scaled, and its FLOPs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from agents.learning import warmup_decay
from baselines.lesson import Lesson
from baselines.power_bert import PowerBert, PowerBertOptions, RestoringPowerBert
from baselines.retention import retention_flops
from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.tasks import Task

Kind = tuple[PreTrainedModel, Task]
MakeTexts = Callable[..., list[EncodedText]]
only = pytest.mark.parametrize("family", ["bert"])


def made(kind: Kind, **options: Any) -> PowerBert:
    return PowerBert(copy.deepcopy(kind[0]), kind[1], PowerBertOptions(**options)).eval()


@pytest.fixture
def lessons(classifier: Kind, make_texts: MakeTexts, make_lesson: Callable[..., Lesson]) -> Iterator[Lesson]:
    return repeat(make_lesson(*classifier, make_texts(*range(12, 38), classes=3)))


def without_diagonal(probabilities: Tensor) -> Tensor:
    """Attention from the others, one pair of tokens at a time, the mean over heads."""
    heads, number, _ = probabilities.shape
    pairs = ((row, column) for row in range(number) for column in range(number) if row != column)
    scores = torch.zeros(number, dtype=torch.float64)
    for row, column in pairs:
        scores[column] += probabilities[:, row, column].double().sum() / heads
    return scores


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("restored", [False, True])
def test_logits_are_those_of_a_loop_over_texts(
    request: pytest.FixtureRequest,
    restored: bool,
    make_texts: MakeTexts,
    by_the_book: Callable[..., Tensor],
    by_score: Callable[..., Tensor],
) -> None:
    model, task = request.getfixturevalue("reader" if restored else "classifier")
    lengths, kind = (17, 11, 6, 2), RestoringPowerBert if restored else PowerBert
    texts = make_texts(9, 23, 2, 14, classes=0 if restored else 3)
    system = kind(copy.deepcopy(model), task, PowerBertOptions(lengths=lengths)).eval()

    def rule(layer: int, probabilities: Tensor, number: int) -> Tensor:
        return by_score(without_diagonal(probabilities), lengths[layer])

    expected = torch.cat([by_the_book(model, task, text, rule) for text in texts])
    with torch.no_grad():
        found = system(TextBatch.from_texts(texts)).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def soft_steps(system: PowerBert, lesson: Lesson, steps: int) -> None:
    optimizer = torch.optim.SGD([parameter for parameter, _ in system.extra_parameters(steps)], lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        for part in system.losses(0, lesson):
            part.backward()
        optimizer.step()
        system.constrain()


@only
def test_a_large_lambda_lowers_the_sums_of_later_layers_most(classifier: Kind, lessons: Iterator[Lesson]) -> None:
    system = made(classifier, regularizer=10.0)
    soft_steps(system, next(lessons), 2)
    sums = system.factors.detach().sum(1)
    assert bool((sums < system.task.max_tokens).all())
    assert bool((sums[1:] < sums[:-1]).all())
    soft_steps(system, next(lessons), 10)
    assert float(system.factors.detach().min()) == 0.0
    assert float(system.factors.detach().max()) <= 1.0


@only
def test_the_task_alone_moves_factors_but_not_out_of_their_range(classifier: Kind, lessons: Iterator[Lesson]) -> None:
    system = made(classifier, regularizer=0.0)
    soft_steps(system, next(lessons), 3)
    factors = system.factors.detach()
    # No text has more than 37 tokens: later ranks learn nothing.
    assert bool((factors[0, :37] < 1.0).any())
    assert bool((factors[:, 37:] == 1.0).all())
    assert float(factors.min()) >= 0.0
    assert float(factors.max()) == 1.0


@only
def test_numbers_are_sums_rounded_down_and_never_rise(classifier: Kind, lessons: Iterator[Lesson]) -> None:
    system = made(classifier)
    assert [phase.name for phase in system.phases] == ["search", "retraining"]
    with torch.no_grad():
        for layer, total in enumerate((20.9, 30.0, 7.2, 0.4)):
            system.factors[layer] = total / system.factors.shape[1]
    system.begin(0, lessons)
    assert system.options.lengths is None
    system.begin(1, lessons)
    assert system.options.lengths == (20.0, 20.0, 7.0, 1.0)
    assert len(system.phases) == 2
    assert not system.extra_parameters(10)


@only
@pytest.mark.parametrize("count", ["tokens", "shares"])
@pytest.mark.parametrize("speedup", [1.5, 2.5])
def test_found_numbers_are_scaled_to_a_speedup(
    classifier: Kind, make_texts: MakeTexts, lessons: Iterator[Lesson], count: Any, speedup: float
) -> None:
    texts = make_texts(*range(12, 38), classes=3)
    options = PowerBert.aimed(PowerBertOptions(count=count), speedup, *classifier, texts)
    system = PowerBert(copy.deepcopy(classifier[0]), classifier[1], options).eval()
    with torch.no_grad():
        for layer, total in enumerate((33.0, 25.0, 14.0, 8.0)):
            system.factors[layer] = total / system.factors.shape[1]
    system.begin(1, lessons)
    output = system.run(TextBatch.from_texts(texts))
    assert float(output.full_flops.sum() / output.flops.sum()) == pytest.approx(speedup, rel=0.03)


@only
def test_given_numbers_leave_nothing_to_aim_at(classifier: Kind, make_texts: MakeTexts) -> None:
    options = PowerBertOptions(lengths=(9, 7, 5, 2))
    with pytest.raises(ValueError, match="leave --target-speedup out"):
        PowerBert.aimed(options, 2.0, *classifier, make_texts(9, classes=3))
    assert [phase.name for phase in made(classifier, lengths=(9, 7, 5, 2)).phases] == ["retraining"]


def test_flops_of_the_original_at_the_length_of_squad() -> None:
    lengths = (128,) * 4 + (64,) * 4 + (32,) * 4
    cost, full = CostModel(LayerSize(768, 3072), (12,)), Layout.from_lengths([165], [1])
    reduced = retention_flops(cost, [full, *(Layout.from_lengths([length], [1]) for length in lengths)])
    assert float(cost.full(full) / reduced) == pytest.approx(2.13, abs=0.005)


@only
def test_span_qa_is_refused_with_the_name_of_the_fix(reader: Kind) -> None:
    with pytest.raises(ValueError, match="--system power-bert-restored"):
        made(reader)


@only
def test_numbers_are_one_for_each_layer(classifier: Kind) -> None:
    with pytest.raises(ValueError, match="has 4 layers, give one for each"):
        made(classifier, lengths=(9, 7))


@only
@pytest.mark.parametrize("updates", [12, 200])
def test_a_search_of_any_length_can_empty_a_layer(classifier: Kind, updates: int) -> None:
    """AdamW moves a factor by about its rate a step, however large the price is."""
    system = made(classifier)
    [(factors, rate)] = system.extra_parameters(updates)
    optimizer = torch.optim.AdamW([factors], lr=rate, weight_decay=0.0)
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = rate * warmup_decay(update / updates, (update + 1) / updates, 0.1)
        optimizer.zero_grad()
        factors.sum().backward()
        optimizer.step()
        system.constrain()
    assert float(factors.detach().max()) == 0.0


@only
def test_a_rate_that_is_given_stays(classifier: Kind) -> None:
    [(_, rate)] = made(classifier, soft_rate=0.02).extra_parameters(100)
    assert rate == 0.02
