"""DynaBERT: slices share stock parameters, rewiring only sorts, phases teach, and the better network is chosen."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForQuestionAnswering, BertConfig, BertForQuestionAnswering, PreTrainedModel

from baselines.base import Reference
from baselines.dynabert import DynaBert, DynaBertOptions, Network, network_speedups
from baselines.layers import run_with_states
from baselines.lesson import Lesson
from baselines.registry import system_options
from trbert_env.encoder.linear import is_plain
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.tasks import Task

Kind = tuple[PreTrainedModel, Task]
MakeTexts = Callable[..., list[EncodedText]]
MakeLesson = Callable[..., Lesson]


def made(kind: Kind, **options: Any) -> DynaBert:
    model, task = kind
    return DynaBert(copy.deepcopy(model), task, DynaBertOptions(**options)).eval()


@pytest.fixture
def lessons(reader: Kind, make_texts: MakeTexts, make_lesson: MakeLesson) -> list[Lesson]:
    return [make_lesson(*reader, make_texts(9, 14, (5, 6), seed=seed)) for seed in range(3)]


@pytest.mark.parametrize("layers", [6, 12])
def test_two_fold_is_half_the_width_or_half_the_depth(layers: int) -> None:
    with torch.device("meta"):
        model = BertForQuestionAnswering(BertConfig(num_hidden_layers=layers))
    speedups = network_speedups(CostModel.of(StagedEncoder(model)), 12, Layout.from_lengths([128, 40], [1, 1]))
    assert speedups[Network(0.5, 1.0)] == speedups[Network(1.0, 0.5)] == 2.0
    assert speedups[Network(0.25, 1.0)] == speedups[Network(0.5, 0.5)] == 4.0
    assert len(speedups) == 12


@torch.no_grad()
@pytest.mark.parametrize(("width", "depth"), [(1.0, 1.0), (0.5, 1.0), (0.25, 0.5)])
def test_a_network_that_is_measured_is_made_of_stock_layers(
    reader: Kind, make_texts: MakeTexts, width: float, depth: float
) -> None:
    """Kernels choose products of stock layers, of all systems alike."""
    system, batch = made(reader, width=width, depth=depth), TextBatch.from_texts(make_texts(9, 23, 14))
    before = system.run(batch)
    copied = copy.deepcopy(system)
    copied.settle()
    after = copied.run(batch)
    torch.testing.assert_close(after.logits, before.logits)
    assert after.flops.equal(before.flops)
    linear = [module for module in copied.model.modules() if isinstance(module, nn.Linear)]
    assert linear
    assert all(is_plain(module) for module in linear)
    with pytest.raises(ValueError, match="are cut out"), copied.with_network(1.0, 0.75):
        pass
    assert not all(is_plain(module) for module in system.model.modules() if isinstance(module, nn.Linear))


@torch.no_grad()
@pytest.mark.parametrize("case", ["reader", "classifier"])
def test_listed_speedups_are_those_of_passes(case: str, request: pytest.FixtureRequest, make_texts: MakeTexts) -> None:
    kind: Kind = request.getfixturevalue(case)
    texts = make_texts(9, 23, 14, classes=3 if case == "classifier" else 0)
    system, batch = made(kind), TextBatch.from_texts(texts)
    for network, speedup in network_speedups(system.cost, 4, batch.layout).items():
        with system.with_network(*network):
            output = system.run(batch)
        # FLOPs are counted when they are asked for: of the network that ran, not of the one that runs now.
        assert float(output.full_flops.sum() / output.flops.sum()) == pytest.approx(speedup, rel=1e-12)
    assert system.network == Network(1.0, 1.0)


@torch.no_grad()
def test_a_narrow_network_is_the_stock_one_with_heads_and_neurons_cut_out(
    reader: Kind, make_texts: MakeTexts, family: str
) -> None:
    """Zeros in place of what later heads and neurons give the layer, in a stock model of all of them."""
    batch = TextBatch.from_texts(make_texts(9, 23))
    cut = copy.deepcopy(reader[0])
    places = ("attention.out_lin", "ffn.lin2") if family == "distilbert" else ("attention.output.dense", "output.dense")
    for layer in StagedEncoder(cut)._layers:
        for place in places:
            linear = layer.get_submodule(place)
            assert isinstance(linear, nn.Linear)
            linear.weight[:, linear.in_features // 2 :] = 0.0
    states = run_with_states(StagedEncoder(cut).with_layers((0, 1, 2)), batch)
    expected = reader[1].logits(cut, states[-1], batch.layout)
    found = made(reader, width=0.5, depth=0.75).run(batch)
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-5)


def test_the_saved_model_is_a_stock_one(reader: Kind, make_texts: MakeTexts, tmp_path: Path) -> None:
    system = made(reader, width=0.25, depth=0.5)
    assert system.model.state_dict().keys() == reader[0].state_dict().keys()
    assert {name for name, _ in system.model.named_parameters()} == {name for name, _ in reader[0].named_parameters()}
    system.model.save_pretrained(tmp_path)
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    settings = json.loads(json.dumps(system.settings))
    again = DynaBert.restore(model, reader[1], settings, Reference.of(reader[0], "whole")).eval()
    batch = TextBatch.from_texts(make_texts(9, 23))
    with torch.no_grad():
        assert torch.equal(again.run(batch).logits, system.run(batch).logits)


def test_rewiring_sorts_by_importance_and_changes_nothing(
    reader: Kind, lessons: list[Lesson], make_texts: MakeTexts
) -> None:
    system, batch = made(reader), TextBatch.from_texts(make_texts(9, 23))
    before = system.run(batch).logits
    system.begin(0, iter(lessons))
    torch.testing.assert_close(system.run(batch).logits, before, rtol=1e-4, atol=1e-4)
    assert not torch.equal(system._layers[0].inner.weight, made(reader)._layers[0].inner.weight)
    totals = [[torch.zeros(4), torch.zeros(96)] for _ in range(4)]
    for lesson in lessons:
        for total, found in zip(totals, system._importances(lesson), strict=True):
            total[0] += found[0]
            total[1] += found[1]
    for importances in itertools.chain.from_iterable(totals):
        assert (importances.diff() <= 1e-5 * importances.max()).all()


def test_importance_of_a_head_is_the_gradient_of_a_factor_on_its_output(reader: Kind, lessons: list[Lesson]) -> None:
    system, lesson = made(reader), lessons[0]
    factors = [torch.ones(4, requires_grad=True) for _ in range(4)]
    neurons = [torch.ones(96, requires_grad=True) for _ in range(4)]
    for layer, factor, neuron in zip(system._layers, factors, neurons, strict=True):
        layer.attention_output.register_forward_pre_hook(
            lambda _, inputs, factor=factor: (inputs[0] * factor.repeat_interleave(12),)
        )
        layer.outer.register_forward_pre_hook(lambda _, inputs, factor=neuron: (inputs[0] * factor,))
    gradients = torch.autograd.grad(lesson.gold_loss(system(lesson.batch).logits), [*factors, *neurons])
    for layer in system._layers:
        layer.attention_output._forward_pre_hooks.clear()
        layer.outer._forward_pre_hooks.clear()
    for (heads, behind), of_heads, of_neurons in zip(
        system._importances(lesson), gradients[:4], gradients[4:], strict=True
    ):
        torch.testing.assert_close(heads, of_heads.abs(), rtol=1e-4, atol=1e-5)
        assert (behind >= of_neurons.abs() - 1e-5).all()


def test_phases_yield_a_loss_of_each_network(reader: Kind, lessons: list[Lesson]) -> None:
    system = made(reader, gold_share=0.2)
    assert [phase.share for phase in system.phases] == pytest.approx([0.4, 0.4, 0.2])
    numbers = []
    for phase in range(3):
        system.begin(phase, iter(lessons))
        numbers.append(len(list(system.losses(phase, lessons[0]))))
    assert numbers == [4, 12, 12]
    assert system.network == Network(1.0, 1.0)


def test_the_full_network_learns_nothing_from_itself(reader: Kind, lessons: list[Lesson]) -> None:
    """The first loss of either distillation is of the network that equals its teacher; gold answers have a share."""
    system = made(reader)
    for phase in range(2):
        system.begin(phase, iter(lessons))
        of_teacher = replace(lessons[0], share=1.0)
        losses = [float(loss.detach()) for loss in system.losses(phase, of_teacher)]
        assert losses[0] == pytest.approx(0.0, abs=1e-4)
        assert min(losses[1:]) > 1e-2
        mixed = next(iter(system.losses(phase, replace(lessons[0], share=0.25))))
        with torch.no_grad(), system.with_network(1.0, 1.0):
            gold = lessons[0].gold_loss(system(lessons[0].batch).logits)
        assert float(mixed.detach()) == pytest.approx(0.75 * float(gold), abs=1e-4)


def test_the_second_teacher_stays_as_the_first_phase_left_it(reader: Kind, lessons: list[Lesson]) -> None:
    system = made(reader)
    system.begin(1, iter(lessons))
    taught, _ = system._first_lesson(lessons[0].batch)
    optimizer = torch.optim.SGD([one for one in system.parameters() if one.requires_grad], lr=1e-2)
    for loss in system.losses(1, lessons[0]):
        loss.backward()
    optimizer.step()
    assert torch.equal(system._first_lesson(lessons[0].batch)[0], taught)
    assert not torch.equal(system.run(lessons[0].batch).logits, taught)


def test_a_resumed_run_has_the_same_teacher(reader: Kind, lessons: list[Lesson]) -> None:
    system = made(reader)
    system.begin(0, iter(lessons))
    system.begin(1, iter(lessons))
    with torch.no_grad():
        for parameter in system.model.parameters():
            parameter.mul_(1.01)
    resumed = made(reader)
    resumed.load_state_dict(copy.deepcopy(system.state_dict()))
    resumed.load_settings(system.settings)
    expected = [float(loss.detach()) for loss in system.losses(1, lessons[0])]
    assert [float(loss.detach()) for loss in resumed.losses(1, lessons[0])] == expected
    system.begin(2, iter(lessons))
    resumed.load_state_dict(system.state_dict())
    assert resumed.first_teacher is None


def test_of_equally_fast_networks_the_better_one_is_chosen(
    reader: Kind, lessons: list[Lesson], make_texts: MakeTexts
) -> None:
    options = DynaBert.aimed(DynaBertOptions(), 2.0, *reader, make_texts(9, 23))
    losses = {}
    for network in (Network(0.5, 1.0), Network(1.0, 0.5)):
        system = made(reader, width=network.width, depth=network.depth)
        with torch.no_grad():
            losses[network] = sum(float(lesson.loss(system(lesson.batch).logits)) for lesson in lessons)
    better = min(losses, key=lambda network: losses[network])
    for start in losses:  # whichever ran until then
        system = made(reader, **asdict(replace(options, width=start.width, depth=start.depth)))
        system.begin(2, iter(lessons))
        assert system.network == better
        assert system.options == replace(options, width=better.width, depth=better.depth)


@pytest.mark.parametrize("family", ["bert"])
def test_texts_of_other_lengths_cost_no_training(
    classifier: Kind, make_texts: MakeTexts, make_lesson: MakeLesson
) -> None:
    """A classifier's speed-ups follow from lengths: those of held-out texts may lie off the one that was aimed at."""
    model, task = classifier
    options = DynaBert.aimed(DynaBertOptions(), 2.1, model, task, make_texts(2, 2, classes=3))
    system = made(classifier, **asdict(options))
    found = network_speedups(system.cost, 4, Layout.from_lengths([36, 36], [1, 1]))
    assert not any(0.9 < speed / 2.1 < 1.1 for speed in found.values())
    system.begin(2, iter([make_lesson(model, task, make_texts(36, 36, classes=3))]))
    assert found[system.network] / 2.1 == pytest.approx(1.0, abs=0.2)
    assert system.network != Network(1.0, 1.0)


def test_what_does_not_fit_is_refused(reader: Kind, make_texts: MakeTexts) -> None:
    with pytest.raises(ValueError, match=r"width is 0.3: give one of 0.25, 0.5, 0.75, 1"):
        made(reader, width=0.3)
    with (
        pytest.raises(ValueError, match=r"depth is 0.25: give one of 0.5, 0.75, 1"),
        made(reader).with_network(1, 0.25),
    ):
        pass
    with pytest.raises(ValueError, match="settle the speed-up"):
        DynaBert.aimed(DynaBertOptions(width=0.5), 2.0, *reader, [])
    with pytest.raises(ValueError, match=r"none near 1\.5"):
        DynaBert.aimed(DynaBertOptions(), 1.5, *reader, make_texts(9, 23))
    assert system_options("dynabert", {"width": 1}) == DynaBertOptions()


@pytest.mark.parametrize("family", ["bert"])
def test_training_makes_narrow_networks_like_the_teacher(reader: Kind, lessons: list[Lesson]) -> None:
    system = made(reader)
    system.model.requires_grad_(True)
    for phase in range(2):
        system.begin(phase, iter(lessons))
        optimizer = torch.optim.Adam([one for one in system.model.parameters() if one.requires_grad], lr=3e-3)
        totals = []
        for _ in range(6):
            optimizer.zero_grad()
            losses = []
            for loss in system.losses(phase, lessons[0]):
                loss.backward()
                losses.append(float(loss.detach()))
            optimizer.step()
            totals.append(sum(losses))
        assert totals[-1] < 0.8 * totals[0]
