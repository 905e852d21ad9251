"""Learned token pruning: its rule by an independent loop, the soft phase, and how thresholds are fixed and scaled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from baselines.lesson import Lesson
from baselines.ltp import Ltp, LtpOptions
from trbert_env.encoder.sequences import Recorder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Task

Kind = tuple[PreTrainedModel, Task]
MakeTexts = Callable[..., list[EncodedText]]
only = pytest.mark.parametrize("family", ["bert"])


def made(kind: Kind, **options: Any) -> Ltp:
    return Ltp(copy.deepcopy(kind[0]), kind[1], LtpOptions(**options)).eval()


@pytest.fixture
def lesson(classifier: Kind, make_texts: MakeTexts, make_lesson: Callable[..., Lesson]) -> Lesson:
    return make_lesson(*classifier, make_texts(*range(12, 38), classes=3))


@pytest.fixture
def lessons(lesson: Lesson) -> Iterator[Lesson]:
    return repeat(lesson)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("reads", ["reader", "classifier"])
def test_logits_are_those_of_a_loop_over_texts(
    request: pytest.FixtureRequest, reads: str, make_texts: MakeTexts, by_the_book: Callable[..., Tensor]
) -> None:
    model, task = request.getfixturevalue(reads)
    thresholds = (0.4, 0.6, 0.8, 1.0)
    texts = make_texts(9, 23, 2, 14, classes=3 if reads == "classifier" else 0)
    numbers = []

    def rule(layer: int, probabilities: Tensor, number: int) -> Tensor:
        scores = probabilities.double().mean(dim=(0, 1)) * probabilities.shape[1]
        kept = [place for place, score in enumerate(scores) if place == 0 or float(score) >= thresholds[layer]]
        numbers.append(len(kept) / number)
        return torch.tensor(kept)

    expected = torch.cat([by_the_book(model, task, text, rule) for text in texts])
    with torch.no_grad():
        found = made((model, task), thresholds=thresholds)(TextBatch.from_texts(texts))
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-5)
    assert len(set(numbers[3::4])) > 1  # texts keep unequally many


@only
@torch.no_grad()
def test_a_threshold_of_one_is_an_average_token_at_every_length(classifier: Kind, make_texts: MakeTexts) -> None:
    system = made(classifier)
    for length in (5, 33):
        recorder = Recorder(once=True)
        system.encoder.run_attention(
            system.encoder.embed(TextBatch.from_texts(make_texts(length, classes=3))), 0, recorder
        )
        assert float(system._scores(recorder.found[0]).mean()) == pytest.approx(1.0, rel=1e-5)


@only
def test_soft_factors_that_are_one_change_nothing(classifier: Kind, lesson: Lesson) -> None:
    system = made(classifier, temperature=1e-4)
    with torch.no_grad():
        system.thresholds.zero_()
        logits, means = system.soft(lesson.batch)
        torch.testing.assert_close(logits, StagedModel(*classifier)(lesson.batch), rtol=1e-5, atol=1e-5)
    assert means.tolist() == pytest.approx([1.0] * 4)


@only
def test_soft_factors_drop_what_the_hard_phase_drops_in_the_first_layer(classifier: Kind, lesson: Lesson) -> None:
    thresholds = (0.9, 0.0, 0.0, 0.0)
    soft, hard = made(classifier, temperature=1e-6), made(classifier, thresholds=thresholds)
    with torch.no_grad():
        soft.thresholds.copy_(torch.tensor(thresholds))
        kept = float(soft.soft(lesson.batch)[1][0]) * lesson.batch.layout.total_tokens
        assert round(kept) == hard(lesson.batch).layouts[1].total_tokens
    assert kept == pytest.approx(round(kept), abs=0.1)


@only
@pytest.mark.parametrize("regularizer", [0.0, 0.1])
def test_gradients_reach_thresholds_and_scores(classifier: Kind, lesson: Lesson, regularizer: float) -> None:
    system = made(classifier, regularizer=regularizer)
    for part in system.losses(0, lesson):
        part.backward()
    gradient = system.thresholds.grad
    assert gradient is not None
    # The head reads first tokens alone, which stay: in the last layer, only the price of tokens tells.
    read = gradient if regularizer else gradient[:3]
    assert bool((read != 0).all())
    assert (gradient[3] != 0) == (regularizer > 0)
    _, means = (again := made(classifier)).soft(lesson.batch)
    means.sum().backward()
    query = next(
        value for name, value in again.model.named_parameters() if "layer.3.attention.self.query.weight" in name
    )
    assert query.grad is not None
    assert float(query.grad.abs().sum()) > 0


@only
def test_a_large_lambda_raises_thresholds_and_drops_more(classifier: Kind, lesson: Lesson) -> None:
    system = made(classifier, regularizer=10.0)
    [(thresholds, rate)] = system.extra_parameters(10)
    assert 10 * rate / 2 == pytest.approx(2 * system.options.start)  # half of the peak, by a step each
    [(_, given)] = made(classifier, threshold_rate=0.5).extra_parameters(10)
    assert given == 0.5
    before, optimizer = thresholds.detach().clone(), torch.optim.Adam([thresholds], lr=0.02)
    means = []
    for _ in range(5):
        optimizer.zero_grad()
        for part in system.losses(0, lesson):
            part.backward()
        optimizer.step()
        system.constrain()
        with torch.no_grad():
            means.append(float(system.soft(lesson.batch)[1].sum()))
    assert bool((thresholds > before).all())
    assert means == sorted(means, reverse=True)
    with torch.no_grad():
        thresholds.sub_(10.0)
    system.constrain()
    assert thresholds.tolist() == pytest.approx([128e-5] * 4)  # the original applies at least 1e-5, of 128 tokens


@only
def test_the_hard_phase_fixes_the_thresholds_and_settings_tell_them(
    classifier: Kind, lesson: Lesson, lessons: Iterator[Lesson]
) -> None:
    system = made(classifier)
    assert [phase.name for phase in system.phases] == ["soft", "hard"]
    system.begin(0, lessons)
    assert system.settings["thresholds"] is None
    system.begin(1, lessons)
    assert list(system.settings["thresholds"]) == pytest.approx([0.32, 0.64, 0.96, 1.28])
    assert len(system.phases) == 2
    assert not system.extra_parameters(10)
    with torch.no_grad():
        [part] = system.losses(1, lesson)
        assert float(part) == float(lesson.loss(system(lesson.batch).logits))


@only
@pytest.mark.parametrize("speedup", [1.3, 2.0])
def test_found_thresholds_are_scaled_to_a_speedup(
    classifier: Kind, make_texts: MakeTexts, lesson: Lesson, lessons: Iterator[Lesson], speedup: float
) -> None:
    options = Ltp.aimed(LtpOptions(), speedup, *classifier, make_texts(*range(12, 38), classes=3))
    system = Ltp(copy.deepcopy(classifier[0]), classifier[1], options).eval()
    system.begin(1, lessons)
    output = system.run(lesson.batch)
    assert float(output.full_flops.sum() / output.flops.sum()) == pytest.approx(speedup, rel=0.03)
    found = system.options.thresholds
    assert found is not None
    assert [found[layer] / found[0] for layer in range(4)] == pytest.approx([1.0, 2.0, 3.0, 4.0])


@only
def test_thresholds_that_fell_to_their_least_can_still_be_scaled(
    classifier: Kind, make_texts: MakeTexts, lesson: Lesson, lessons: Iterator[Lesson]
) -> None:
    options = Ltp.aimed(LtpOptions(), 3.0, *classifier, make_texts(*range(12, 38), classes=3))
    system = Ltp(copy.deepcopy(classifier[0]), classifier[1], options).eval()
    with torch.no_grad():
        system.thresholds[:3] = -1.0
    system.constrain()
    system.begin(1, lessons)
    output = system.run(lesson.batch)
    assert float(output.full_flops.sum() / output.flops.sum()) == pytest.approx(3.0, rel=0.05)


@only
def test_thresholds_are_scaled_once_more_behind_the_hard_phase(
    classifier: Kind, make_texts: MakeTexts, lesson: Lesson, lessons: Iterator[Lesson]
) -> None:
    options = Ltp.aimed(LtpOptions(), 2.0, *classifier, make_texts(*range(12, 38), classes=3))
    system = Ltp(copy.deepcopy(classifier[0]), classifier[1], options).eval()
    system.begin(1, lessons)
    before = system.options.thresholds
    with torch.no_grad():  # as training does, which moves the scores
        for name, weights in system.model.named_parameters():
            if "attention.self.query" in name:
                weights.mul_(3.0)
    moved = system.run(lesson.batch)
    assert float(moved.full_flops.sum() / moved.flops.sum()) != pytest.approx(2.0, rel=0.05)
    system.begin(2, lessons)
    output = system.run(lesson.batch)
    assert float(output.full_flops.sum() / output.flops.sum()) == pytest.approx(2.0, rel=0.03)
    assert system.options.thresholds != before
    given = made(classifier, thresholds=(0.1, 0.2, 0.3, 0.4))
    given.begin(1, lessons)
    assert given.options.thresholds == (0.1, 0.2, 0.3, 0.4)


@only
def test_what_cannot_be_reached_is_refused(classifier: Kind, make_texts: MakeTexts) -> None:
    texts = make_texts(9, 30, classes=3)
    with pytest.raises(ValueError, match="give a lower --target-speedup"):
        Ltp.aimed(LtpOptions(), 50.0, *classifier, texts)
    with pytest.raises(ValueError, match="leave --target-speedup out"):
        Ltp.aimed(LtpOptions(thresholds=(1.0,) * 4), 2.0, *classifier, texts)
    with pytest.raises(ValueError, match="has 4 layers, give one for each"):
        made(classifier, thresholds=(1.0,))
