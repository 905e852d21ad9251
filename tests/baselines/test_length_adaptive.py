"""Length-Adaptive Transformer: its rule by an independent loop, LengthDrop's lessons, and the search."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.base import speedup_of
from baselines.length_adaptive import LengthAdaptive, LengthAdaptiveOptions, Shares, evolved, mutated, uniform_shares
from baselines.lesson import Lesson
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.tasks import Task

Kind = tuple[PreTrainedModel, Task]
MakeTexts = Callable[..., list[EncodedText]]
only = pytest.mark.parametrize("family", ["bert"])


def made(kind: Kind, **options: Any) -> LengthAdaptive:
    return LengthAdaptive(copy.deepcopy(kind[0]), kind[1], LengthAdaptiveOptions(**options)).eval()


@pytest.fixture
def lesson(classifier: Kind, make_texts: MakeTexts, make_lesson: Callable[..., Lesson]) -> Lesson:
    return make_lesson(*classifier, make_texts(*range(12, 38), classes=3))


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("reads", ["reader", "classifier"])
def test_logits_are_those_of_a_loop_over_texts(
    request: pytest.FixtureRequest,
    reads: str,
    make_texts: MakeTexts,
    by_the_book: Callable[..., Tensor],
    by_score: Callable[..., Tensor],
) -> None:
    model, task = request.getfixturevalue(reads)
    shares = (0.75, 0.6, 0.35, 0.1)
    texts = make_texts(9, 23, 2, 14, classes=3 if reads == "classifier" else 0)

    def rule(layer: int, probabilities: Tensor, number: int) -> Tensor:
        left = min(max(2, math.ceil(number * shares[layer])), number)
        return by_score(probabilities.double().mean(0).sum(0), left)

    expected = torch.cat([by_the_book(model, task, text, rule) for text in texts])
    with torch.no_grad():
        found = made((model, task), shares=shares)(TextBatch.from_texts(texts)).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@only
def test_without_an_aim_every_layer_drops_a_fifth(classifier: Kind) -> None:
    system = made(classifier)
    assert system.shares == pytest.approx((0.8, 0.64, 0.512, 0.4096))
    assert [int(system.counts(layer, torch.tensor([384]))) for layer in range(2)] == [308, 246]


@only
def test_the_whole_model_teaches_the_smallest_and_random_ones(classifier: Kind, lesson: Lesson) -> None:
    system = made(classifier)
    with torch.no_grad():
        whole = made(classifier, shares=(1.0,) * 4)(lesson.batch).logits
        smallest = made(classifier)(lesson.batch).logits
        parts = [float(part) for part in system.losses(0, lesson)]
    assert len(parts) == 4
    assert parts[0] == pytest.approx(float(lesson.loss(whole)) / 4, rel=1e-4)
    teacher, student = whole.double().log_softmax(-1), smallest.double().log_softmax(-1)
    from_whole = float((teacher.exp() * (teacher - student)).sum(-1).mean())
    from_reduced = float((student.exp() * (student - teacher)).sum(-1).mean())
    assert parts[1] == pytest.approx(from_whole / 4, rel=1e-3)
    assert abs(from_whole / from_reduced - 1.0) > 0.01
    assert parts[2] != parts[3]


@only
def test_no_gradient_reaches_the_teaching_pass(classifier: Kind, lesson: Lesson) -> None:
    system = made(classifier, random_configurations=0)
    parts = system.losses(0, lesson)
    next(parts)
    system.zero_grad()
    next(parts).backward()
    reached = [parameter.grad.clone() for parameter in system.model.parameters() if parameter.grad is not None]
    with torch.no_grad():
        taught = made(classifier, shares=(1.0,) * 4)(lesson.batch).logits
    again = made(classifier)
    (lesson.soft_loss(again(lesson.batch).logits, taught, temperature=1.0) / 2).backward()
    expected = [parameter.grad for parameter in again.model.parameters() if parameter.grad is not None]
    torch.testing.assert_close(reached, expected, rtol=1e-3, atol=1e-6)


@only
def test_draws_follow_the_state_that_a_run_saves(classifier: Kind, lesson: Lesson) -> None:
    system, state = made(classifier, layer_drop=0.3).train(), torch.get_rng_state()
    first = [part.item() for part in system.losses(0, lesson)]
    torch.set_rng_state(state)
    assert [part.item() for part in system.losses(0, lesson)] == first
    assert [part.item() for part in system.losses(0, lesson)] != first


@only
def test_layer_drop_skips_layers_in_training_alone(classifier: Kind) -> None:
    system = made(classifier, layer_drop=0.5)
    assert list(system.running_layers()) == [0, 1, 2, 3]
    system.train()
    torch.manual_seed(0)
    drawn = [len(system.running_layers()) for _ in range(200)]
    assert 1.7 < sum(drawn) / len(drawn) < 2.3


@only
def test_the_search_is_no_worse_than_what_it_begins_with(
    classifier: Kind, make_texts: MakeTexts, lesson: Lesson
) -> None:
    texts = make_texts(*range(12, 38), classes=3)
    options = LengthAdaptive.aimed(LengthAdaptiveOptions(rounds=3, search_lessons=2), 1.8, *classifier, texts)
    assert options.shares is not None
    kept = 1.0 - options.shares[0]
    assert options.drop == pytest.approx(1.5 * kept)
    system = LengthAdaptive(copy.deepcopy(classifier[0]), classifier[1], options).eval()
    assert speedup_of(system, lesson.batch.layout) == pytest.approx(1.8, rel=0.05)
    before, lessons = quality(system, lesson), repeat(lesson)
    system.begin(0, lessons)
    assert system.options == options
    torch.manual_seed(0)
    steps: list[int] = []
    system.search(lessons, lambda: steps.append(1))
    assert len(steps) == system.search_size == 8 + 3 * (4 + 4)
    assert speedup_of(system, lesson.batch.layout) == pytest.approx(1.8, rel=0.02)
    assert quality(system, lesson) >= before - 0.02
    found = system.shares
    assert list(found) == sorted(found, reverse=True)
    system.options = options
    torch.manual_seed(0)
    system.search(lessons, lambda: None)
    assert system.shares == found


def quality(system: LengthAdaptive, lesson: Lesson) -> float:
    with torch.no_grad():
        return -float(lesson.gold_loss(system(lesson.batch).logits))


@only
def test_nothing_is_searched_without_an_aim(classifier: Kind) -> None:
    def lessons() -> Iterator[Lesson]:
        raise AssertionError("no lesson is needed")
        yield

    system = made(classifier)
    system.begin(len(system.phases), lessons())
    system.search(lessons(), lambda: None)
    assert system.search_size == 0
    assert system.options.shares is None


def test_evolution_comes_near_the_best() -> None:
    best, start = (0.9, 0.5, 0.2), uniform_shares(0.2, 3)
    torch.manual_seed(0)

    def distance(shares: Shares) -> float:
        return math.dist(shares, best)

    found = evolved(
        start, lambda shares: shares, lambda shares: -distance(shares), LengthAdaptiveOptions(rounds=30), lambda: None
    )
    assert distance(found) < 0.3 * distance(start)
    assert (
        evolved(start, lambda shares: None, lambda shares: 0.0, LengthAdaptiveOptions(rounds=1), lambda: None) == start
    )


def test_mutations_never_rise() -> None:
    torch.manual_seed(0)
    for _ in range(50):
        shares = mutated(uniform_shares(0.2, 6))
        assert list(shares) == sorted(shares, reverse=True)
        assert 0.0 < shares[-1] <= shares[0] <= 1.0


@only
def test_given_shares_must_fit_and_leave_nothing_to_aim_at(classifier: Kind, make_texts: MakeTexts) -> None:
    with pytest.raises(ValueError, match="has 4 layers, give one for each"):
        made(classifier, shares=(0.5,))
    options = LengthAdaptiveOptions(shares=(0.9, 0.8, 0.7, 0.6))
    with pytest.raises(ValueError, match="leave --target-speedup out"):
        LengthAdaptive.aimed(options, 2.0, *classifier, make_texts(9, classes=3))
