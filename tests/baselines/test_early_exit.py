"""Early exit: its logits text by text, its FLOPs, what learns, the threshold for a speed-up, and its settings."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from baselines.base import Reference
from baselines.early_exit import EarlyExit, EarlyExitOptions
from baselines.lesson import Lesson
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Task

Kind = tuple[PreTrainedModel, Task]
MakeTexts = Callable[..., list[EncodedText]]
only = pytest.mark.parametrize("family", ["bert"])


def made(kind: Kind, **options: Any) -> EarlyExit:
    return EarlyExit(copy.deepcopy(kind[0]), kind[1], EarlyExitOptions(**options)).eval()


@pytest.fixture
def texts(make_texts: MakeTexts) -> list[EncodedText]:
    return make_texts(*range(12, 38), classes=3)


def probabilities_behind_layers(system: EarlyExit, text: EncodedText) -> list[Tensor]:
    """Logits of each off-ramp and of the last head, ``(num_logits,)`` each, by the stock model's hidden states."""
    stock: Any = copy.deepcopy(system.model)
    stock.base_model.set_attn_implementation("eager")
    ids = torch.from_numpy(text.input_ids).long()[None]
    types = torch.from_numpy(text.token_type_ids).long()[None]
    outputs = stock(ids, token_type_ids=types, output_hidden_states=True)
    behind = [states[0, 0] for states in outputs.hidden_states[1:-1]]
    return [*(ramp(first) for ramp, first in zip(system.ramps, behind, strict=True)), outputs.logits[0]]


def entropy_of(logits: Tensor) -> float:
    shares = logits.double().softmax(-1)
    return -float((shares * shares.log()).sum() / torch.tensor(3.0).double().log())


@only
@torch.no_grad()
def test_each_text_leaves_where_the_first_off_ramp_is_sure(classifier: Kind, texts: list[EncodedText]) -> None:
    system = made(classifier, threshold=0.6)
    expected, layers = [], []
    for text in texts:
        found = probabilities_behind_layers(system, text)
        layer = next((layer for layer in range(3) if entropy_of(found[layer]) < 0.6), 3)
        expected.append(found[layer])
        layers.append(layer + 1)
    output = system(TextBatch.from_texts(texts))
    torch.testing.assert_close(output.logits, torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert len(set(layers)) >= 3
    ran = torch.stack([layout.token_counts > 0 for layout in output.layouts]).sum(0)
    assert ran.tolist() == layers


@only
@torch.no_grad()
def test_texts_of_several_sequences_leave_as_one(classifier: Kind, make_texts: MakeTexts) -> None:
    texts = make_texts((9, 14), 23, (7, 5, 12), (2, 30), 11, (8, 8), (6, 21), (4, 4, 4), classes=3)
    batch = TextBatch.from_texts(texts)
    first = made(classifier)._entropies(batch)[:, 0]
    system = made(classifier, threshold=float(first.median()) + 1e-4)
    together = system.run(batch)
    pieces = classifier[1].split(together.logits, batch.layout)
    assert [len(piece) for piece in pieces] == [2, 1, 3, 2, 1, 2, 2, 3]
    for text, piece, flops in zip(texts, pieces, together.flops, strict=True):
        alone = system.run(TextBatch.from_texts([text]))
        torch.testing.assert_close(piece, alone.logits, rtol=1e-5, atol=1e-5)
        assert float(flops) == float(alone.flops)
    several = torch.tensor([len(text.sequence_lengths) > 1 for text in texts])
    left = together.layouts[1].token_counts == 0
    assert bool((several & left).any())
    assert bool((several & ~left).any())


@pytest.mark.usefixtures("as_many_rows_as_there_are")
@only
@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.3, 0.6, 1.0])
def test_flops_are_those_that_torch_counts(classifier: Kind, texts: list[EncodedText], threshold: float) -> None:
    system, task = made(classifier, threshold=threshold), classifier[1]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = system.run(TextBatch.from_texts(texts))
    # The last head, which is not counted, runs on the texts that no off-ramp was sure of.
    last = [1] * int((output.layouts[-1].token_counts > 0).sum())
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as head:
        if last:
            task.logits(system.model, torch.zeros(len(last), 48), Layout.from_lengths(last, last))
    assert int(output.flops.sum()) == counter.get_total_flops() - head.get_total_flops()


@only
def test_off_ramps_learn_from_the_last_head_and_the_encoder_does_not(
    classifier: Kind, texts: list[EncodedText], make_lesson: Callable[..., Lesson]
) -> None:
    system, lesson = made(classifier), make_lesson(*classifier, texts)
    system.model.requires_grad_(True)
    system.train()
    optimizer = torch.optim.Adam([parameter for parameter, _ in system.extra_parameters(10)], lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        [loss] = system.losses(0, lesson)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is None for parameter in system.model.parameters())
    assert all(parameter.grad is not None for parameter in system.ramps.parameters())


@only
def test_a_share_of_the_texts_is_for_the_encoder_alone(
    classifier: Kind, texts: list[EncodedText], make_lesson: Callable[..., Lesson]
) -> None:
    system, lesson = made(classifier, encoder_share=0.25), make_lesson(*classifier, texts)
    assert [(phase.name, phase.share) for phase in system.phases] == [("encoder", 0.25), ("off-ramps", 0.75)]
    assert system.unread(system.options) == ()
    assert "teacher" in system.unread(EarlyExitOptions())
    system.model.requires_grad_(True)
    [loss] = system.losses(0, lesson)
    logits = StagedModel(classifier[0], classifier[1])(lesson.batch)
    torch.testing.assert_close(loss, lesson.loss(logits))
    loss.backward()
    assert all(parameter.grad is None for parameter in system.ramps.parameters())
    assert all(parameter.grad is not None for name, parameter in system.model.named_parameters() if "layer.0" in name)
    system.zero_grad(set_to_none=True)
    [loss] = system.losses(1, lesson)
    loss.backward()
    assert all(parameter.grad is None for parameter in system.model.parameters())


@only
@pytest.mark.parametrize("speedup", [1.3, 2.0])
def test_the_threshold_is_set_for_a_speedup_once_training_is_over(
    classifier: Kind, texts: list[EncodedText], make_lesson: Callable[..., Lesson], speedup: float
) -> None:
    options = EarlyExit.aimed(EarlyExitOptions(), speedup, *classifier, texts)
    system = EarlyExit(copy.deepcopy(classifier[0]), classifier[1], options).eval()
    lessons = repeat(make_lesson(*classifier, texts))
    system.begin(0, lessons)
    assert system.options == options
    system.begin(1, lessons)
    with torch.no_grad():
        output = system.run(TextBatch.from_texts(texts))
    assert float(output.full_flops.sum() / output.flops.sum()) == pytest.approx(speedup, rel=0.05)


@only
@torch.no_grad()
def test_off_ramps_are_weights_of_its_own(classifier: Kind, texts: list[EncodedText]) -> None:
    system, batch = made(classifier, threshold=0.6), TextBatch.from_texts(texts)
    for parameter in system.ramps.parameters():
        parameter.mul_(1.5)
    settings, weights = json.loads(json.dumps(system.settings)), system.own_weights
    assert sum(values.numel() for values in weights.values()) == sum(p.numel() for p in system.ramps.parameters())
    model, whole = copy.deepcopy(classifier[0]), Reference.of(classifier[0], "whole")
    again = EarlyExit.restore(model, classifier[1], settings, whole, weights)
    assert torch.equal(again.eval().run(batch).logits, system.run(batch).logits)
    other = made(classifier)
    other.load_settings(settings)
    assert other.options == system.options
    with pytest.raises(ValueError, match=r"^weights of early-exit have the shapes \{\}: give \{'ramps"):
        EarlyExit.restore(model, classifier[1], settings, whole)


@only
@torch.no_grad()
def test_an_encoder_in_bfloat16(classifier: Kind, texts: list[EncodedText]) -> None:
    """As evaluations move a system: the task model, and nothing else of it."""
    system, batch = made(classifier, threshold=0.6), TextBatch.from_texts(texts)
    expected = system.run(batch)
    system.model.to(torch.bfloat16)  # type: ignore[arg-type]
    found = system.run(batch)
    assert found.logits.dtype == torch.float32
    torch.testing.assert_close(found.logits, expected.logits, rtol=0.1, atol=0.1)


@only
def test_what_has_no_classes_or_too_few_layers_is_refused(classifier: Kind, reader: Kind) -> None:
    with pytest.raises(ValueError, match="a SpanQA has none here: give another --system"):
        made(reader)
    with pytest.raises(ValueError, match="give a --target-speedup below 4"):
        EarlyExit.aimed(EarlyExitOptions(), 4.0, *classifier, [])
    with pytest.raises(ValueError, match="threshold settles the speed-up: leave --target-speedup out"):
        EarlyExit.aimed(EarlyExitOptions(threshold=0.2), 2.0, *classifier, [])
