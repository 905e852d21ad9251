"""What holds of every compared system: with nothing dropped the stock forward, no batch effects, counted FLOPs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from baselines.base import ComparedSystem, Reference
from baselines.registry import SYSTEMS, system_class, system_options
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.staged_model import StagedModel
from trbert_env.system import StockSystem
from trbert_env.tasks import SpanQA, Task

MakeTexts = Callable[..., list[EncodedText]]
Kind = tuple[PreTrainedModel, Task]

#: By system: options with which nothing is dropped or cut, and options with which something is.
NEUTRAL: dict[str, dict[str, Any]] = {
    "distilled": {"layers": [1, 2, 3, 4]},
    "power-bert": {"lengths": [40, 40, 40, 40]},
    "power-bert-restored": {"lengths": [40, 40, 40, 40]},
    "early-exit": {"threshold": 0.0},
    "length-adaptive": {"shares": [1.0, 1.0, 1.0, 1.0]},
    "ltp": {"thresholds": [0.0, 0.0, 0.0, 0.0]},
    "pooled": {"ratio": 1.0},
    "dynabert": {"width": 1.0, "depth": 1.0},
    "deformer": {"layers": 0},
}
ACTIVE: dict[str, dict[str, Any]] = {
    "distilled": {"layers": [1, 3]},
    "power-bert": {"lengths": [9, 7, 5, 2]},
    "power-bert-restored": {"lengths": [9, 7, 5, 2]},
    "early-exit": {"threshold": 0.6},
    "length-adaptive": {"shares": [0.8, 0.6, 0.5, 0.3]},
    "ltp": {"thresholds": [0.5, 0.7, 0.8, 1.0]},
    "pooled": {"layer": 2, "ratio": 0.3},
    "dynabert": {"width": 0.5, "depth": 0.75},
    "deformer": {"layers": 3},
}
#: Options beside a speed-up that is aimed at, and options that have the speed-ups of systems which have few.
AIMED: dict[str, dict[str, Any]] = {"deformer": {"cached": True}}
STEPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "distilled": ({"layers": [1, 2, 4]}, {"layers": [1, 4]}),
    "dynabert": ({"depth": 0.75}, {"depth": 0.5}),
    "deformer": ({"layers": 2, "cached": True}, {"layers": 3, "cached": True}),
}
#: Systems that run on tasks of one kind only.
ONLY = {"early-exit": "first_tokens", "power-bert": "first_tokens"}

#: Systems that are scaled to a speed-up once they have learned what to drop: see their own tests.
AIMS_LATER = ("early-exit", "ltp", "power-bert", "power-bert-restored")


def made(name: str, kind: Kind, options: dict[str, Any]) -> ComparedSystem[Any]:
    model, task = kind
    return system_class(name)(copy.deepcopy(model), task, system_options(name, options)).eval()


def speed_of(system: ComparedSystem[Any], texts: list[EncodedText]) -> float:
    """FLOPs speed-up of a pass."""
    with torch.no_grad():
        output = system.run(TextBatch.from_texts(texts))
    return float(output.full_flops.sum() / output.flops.sum())


#: Families whose layers cannot be run narrower.
WHOLE = ("deberta-v2", "modernbert", "mpnet")
#: Kinds of task, by what their heads read, the systems that run on each, and the families that each runs on.
CASES = [
    (kind, name, family)
    for kind, reads in (("reader", "tokens"), ("classifier", "first_tokens"))
    for name in sorted(SYSTEMS)
    if ONLY.get(name, reads) == reads
    for family in ("bert", "distilbert", "electra", "roberta", *WHOLE)
    if name != "dynabert" or family not in WHOLE
]


def cases_without(*names: str) -> pytest.MarkDecorator:
    """All cases but those of some systems."""
    return pytest.mark.parametrize("case", [case for case in CASES if case[1] not in names], ids="-".join)


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    found: tuple[str, str, str] = request.param
    return found


@pytest.fixture
def kind(request: pytest.FixtureRequest, case: tuple[str, str, str]) -> Kind:
    found: Kind = request.getfixturevalue(case[0])
    return found


@pytest.fixture
def name(case: tuple[str, str, str]) -> str:
    return case[1]


@pytest.fixture
def family(case: tuple[str, str, str]) -> str:
    return case[2]


@pytest.fixture
def texts(make_texts: MakeTexts, kind: Kind) -> list[EncodedText]:
    return make_texts(9, 23, 2, 14, classes=3 if kind[1].reads == "first_tokens" else 0)


@pytest.mark.parametrize("family", WHOLE)
def test_narrower_layers_are_refused_where_there_are_none(
    family: str, make_model: Callable[..., PreTrainedModel]
) -> None:
    with pytest.raises(ValueError, match=f"^layers of the family '{family}' cannot be run narrower: use another syst"):
        made("dynabert", (make_model(family), SpanQA()), ACTIVE["dynabert"])


def test_every_system_is_tested() -> None:
    assert NEUTRAL.keys() == ACTIVE.keys() == SYSTEMS.keys()


@torch.no_grad()
def test_with_nothing_dropped_or_cut_it_is_the_stock_forward(name: str, kind: Kind, texts: list[EncodedText]) -> None:
    system, batch = made(name, kind, NEUTRAL[name]), TextBatch.from_texts(texts)
    expected = StockSystem(*kind).run(batch)
    found = system.run(batch)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5)
    assert found.full_flops.tolist() == expected.flops.tolist()
    if kind[1].reads == "tokens":
        assert found.flops.tolist() == found.full_flops.tolist()
    else:  # the last layer computes first tokens alone
        assert found.flops.tolist() == StagedModel(*kind).cost.keep_all(batch.layout).tolist()
        assert bool((found.flops < found.full_flops).all())


@torch.no_grad()
def test_a_text_does_not_depend_on_its_batch(name: str, kind: Kind, texts: list[EncodedText]) -> None:
    system = made(name, kind, ACTIVE[name])
    together = system.run(TextBatch.from_texts(texts))
    pieces = kind[1].split(together.logits, TextBatch.from_texts(texts).layout)
    for place, text in enumerate(texts):
        alone = system.run(TextBatch.from_texts([text]))
        torch.testing.assert_close(pieces[place], alone.logits, rtol=1e-5, atol=1e-5)
        assert float(alone.flops) == float(together.flops[place])
    back = system.run(TextBatch.from_texts(texts[::-1]))
    torch.testing.assert_close(together.flops.flip(0), back.flops)


@torch.no_grad()
@pytest.mark.parametrize("family", ["bert"])
@pytest.mark.parametrize("title", ["distilled", "dynabert", "deformer"])
@pytest.mark.parametrize("read_by", ["reader", "classifier"])
def test_states_are_the_stock_ones_of_every_token(
    title: str, read_by: str, make_texts: MakeTexts, make_lesson: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    """Of the system, and of the teacher that they are compared with, whatever the head reads."""
    model, task = kind = request.getfixturevalue(read_by)
    texts = make_texts(23, classes=3 if read_by == "classifier" else 0)
    batch = TextBatch.from_texts(texts)
    stock: Any = copy.deepcopy(model)
    stock.base_model.set_attn_implementation("eager")
    ids, types = batch.input_ids[None], batch.token_type_ids[None]
    expected = stock(ids, token_type_ids=types, output_hidden_states=True).hidden_states
    found = made(title, kind, NEUTRAL[title])(batch, states=True).states
    taught = make_lesson(model, task, texts).teacher_states
    for states in (found, taught):
        assert len(states) == len(expected)
        for own, wanted in zip(states, expected, strict=True):
            torch.testing.assert_close(own, wanted[0], rtol=1e-5, atol=1e-5)


@cases_without("early-exit")  # of which texts that leave run no task head: see test_early_exit
@pytest.mark.usefixtures("as_many_rows_as_there_are")
@torch.no_grad()
def test_flops_are_those_that_torch_counts(name: str, kind: Kind, texts: list[EncodedText]) -> None:
    system, batch = made(name, kind, ACTIVE[name]), TextBatch.from_texts(texts)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        system.encoder.embed(batch)
    outside = counter.get_total_flops()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        system.task.logits(system.model, torch.zeros(batch.layout.total_tokens, 48), batch.layout)
    outside += counter.get_total_flops()
    system.requires_grad_(False)
    system.run(batch)  # what no text changes is computed once
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = system.run(batch)
    assert int(output.flops.sum()) == counter.get_total_flops() - outside
    assert float(output.flops.sum()) < float(output.full_flops.sum())


@torch.no_grad()
def test_a_trained_system_is_the_same_when_it_is_made_again(name: str, kind: Kind, texts: list[EncodedText]) -> None:
    system, batch = made(name, kind, ACTIVE[name]), TextBatch.from_texts(texts)
    reference = Reference.of(kind[0], "whole")
    again = (
        type(system)
        .restore(copy.deepcopy(system.model), kind[1], system.settings, reference, system.own_weights)
        .eval()
    )
    found, expected = again.run(batch), system.run(batch)
    assert torch.equal(found.logits, expected.logits)
    assert found.flops.tolist() == expected.flops.tolist()
    assert found.full_flops.tolist() == expected.full_flops.tolist()


@cases_without("early-exit")  # of which the encoder does not learn: see test_early_exit
def test_gradients_reach_every_layer(
    name: str, kind: Kind, texts: list[EncodedText], make_lesson: Callable[..., Any]
) -> None:
    system = made(name, kind, ACTIVE[name])
    system.model.requires_grad_(True)
    lesson = make_lesson(*kind, texts)
    for phase in range(len(system.phases)):
        system.begin(phase, iter([lesson]))
    loss = sum(system.losses(len(system.phases) - 1, lesson))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    for layer in range(system.encoder.num_layers):
        gradients = [
            parameter.grad
            for found, parameter in system.model.named_parameters()
            if f".{layer}." in found and parameter.grad is not None
        ]
        assert gradients
        assert any(bool(gradient.abs().sum() > 0) for gradient in gradients)


@cases_without(*AIMS_LATER)
@pytest.mark.parametrize("number", [0, 1])
def test_options_aim_at_a_speed(name: str, kind: Kind, make_texts: MakeTexts, number: int) -> None:
    model, task = kind
    texts = make_texts(*range(12, 38), classes=3 if task.reads == "first_tokens" else 0)
    speedup = speed_of(made(name, kind, STEPS[name][number]), texts) if name in STEPS else (1.5, 2.0)[number]
    options = system_class(name).aimed(system_options(name, AIMED.get(name, {})), speedup, model, task, texts)
    system = system_class(name)(copy.deepcopy(model), task, options)
    assert speed_of(system, texts) == pytest.approx(speedup, rel=0.05)


@pytest.mark.parametrize("family", ["bert"])
@pytest.mark.parametrize("title", ["distilled", "dynabert", "deformer"])
def test_nothing_left_out_is_no_way_to_a_speed(title: str, classifier: Kind, make_texts: MakeTexts) -> None:
    """The unreduced encoder's short last layer is about as fast as is asked for here."""
    model, task = classifier
    texts = make_texts(*range(12, 38), classes=3)
    speedup = speed_of(made(title, classifier, NEUTRAL[title]), texts)
    with pytest.raises(ValueError, match="give --target-speedup one of them"):
        system_class(title).aimed(system_options(title, AIMED.get(title, {})), speedup, model, task, texts)


@cases_without()
def test_a_speed_that_no_training_reaches_is_refused_before_any(name: str, kind: Kind, make_texts: MakeTexts) -> None:
    model, task = kind
    texts = make_texts(*range(12, 38), classes=3 if task.reads == "first_tokens" else 0)
    refusal = (
        r"times as fast|has (the )?speed-ups|give a --target-speedup below"  # of systems with speeds of other kinds
    )
    with pytest.raises(ValueError, match=refusal):
        system_class(name).aimed(system_options(name, AIMED.get(name, {})), 1000.0, model, task, texts)
