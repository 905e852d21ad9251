"""Invariants 1, 2, 3, 5 and 8 for every kind of task and every family of encoders: what the task heads read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import get_preset
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.staged_model import StagedModel
from trbert_env.system import StockSystem, UnreducedSystem
from trbert_env.tasks import CandidateQA, Classification, MultiHopQA, MultipleChoice, SpanQA, Task
from trbert_env.tasks.token_task import TokenTask

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
MaskedStock = Callable[[Any, Sequence[Tensor]], AbstractContextManager[None]]
TOLERANCE = 1e-5


@dataclass
class Case:
    """A kind of task, its model and a few texts.

    Attributes:
        task: The task, configured.
        model: A random model of a family.
        texts: Texts with targets of the kind.
    """

    task: Task
    model: PreTrainedModel
    texts: list[EncodedText]


KINDS: dict[str, Callable[[], Task]] = {
    "span QA": SpanQA,
    "span QA, several answers": lambda: SpanQA(null_answer=False, golds="all", metric="mrqa"),
    "span QA, sliced": lambda: SpanQA(max_tokens=20, max_slices=3, golds="all", metric="trivia"),
    "classes": Classification,
    "classes, sliced": lambda: Classification(max_tokens=20, max_slices=3),
    "relevance, sliced": lambda: Classification(max_tokens=20, max_slices=3, head="relevance"),
    "relevance": lambda: Classification(head="relevance"),
    "regression": lambda: Classification(head="regression"),
    "choice": lambda: MultipleChoice(max_tokens=60, max_question_tokens=5),
    "independent choice": lambda: MultipleChoice(max_tokens=60, max_question_tokens=5, form="independent"),
    "multi-hop": lambda: MultiHopQA(max_tokens=60, max_question_tokens=5),
    "multi-hop, supports": lambda: MultiHopQA(max_tokens=60, max_question_tokens=5, support_weight=0.5),
    "candidates": lambda: CandidateQA(max_tokens=60),
}
#: Kinds whose texts are several sequences.
SLICED = ("choice", "multi-hop", "candidates", "sliced")


def is_sliced(kind: str) -> bool:
    return any(name in kind for name in SLICED)


def target_of(kind: str, index: int, length: int) -> np.ndarray[Any, Any]:
    if kind.startswith("span"):
        spans = [[index % length, length - 1], [0, length // 2]]
        return np.array(spans if kind != "span QA" and index % 2 else spans[:1], dtype=np.int64)
    if kind.startswith("multi-hop"):  # span, yes and no in turns; two places of the answer; three sentences
        target = np.full((3, 5), -1, dtype=np.int64)
        target[0, 0] = index % 3
        target[:2, 1:3] = [[1 + index, length - 1], [0, length // 2]]
        target[:, 3:] = [[1, 1], [length // 2, 0], [length - 1, index % 2]]
        return target
    if kind == "candidates":  # three candidates, two of them with a marker in each of two slices
        places = [index, index + 1, length - 2, length - 1, 0]
        which, gold = [0, 1, 0, 1, 2], index % 3
        return np.array([[one, place, one == gold] for one, place in zip(which, places, strict=True)], dtype=np.int64)
    if kind.startswith("relevance"):
        return np.array([float(index % 2)], dtype=np.float32)
    if kind == "regression":
        return np.array([0.7 * index - 1], dtype=np.float32)
    return np.array([index % 3], dtype=np.int64)


def lengths_of(kind: str) -> list[tuple[int, ...]]:
    """Tokens of the sequences of each text."""
    if "sliced" in kind:
        return [(9, 9, 4), (7,), (1,), (6, 7)]
    return [(5, 7, 4), (8, 3, 6, 5), (3, 1, 6)] if is_sliced(kind) else [(9,), (14,), (1,), (6,)]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(kind: str, family: str, make_model: Callable[..., PreTrainedModel], make_texts: MakeTexts) -> Case:
    task = KINDS[kind]()
    config = copy.deepcopy(make_model(family).config)
    config.architectures = None
    if kind.startswith("classes"):
        labels = Dataset.from_dict({"label": ["c", "a", "b"]})
        task.configure(config, labels)
    else:
        if isinstance(task, Classification):
            config.num_labels = 1
        task.configure(config)
    torch.manual_seed(0)
    model: PreTrainedModel = task.auto_model.from_config(config).eval()
    for parameter in model.parameters():  # a fresh pooler and head say nearly the same of every text
        torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() > 1 else None
    made = make_texts(*lengths_of(kind))
    return Case(task, model, [replace(text, target=target_of(kind, row, len(text))) for row, text in enumerate(made)])


def packed_masks(texts: Sequence[EncodedText], masks: Sequence[Tensor]) -> list[Tensor]:
    """Masks in text order, as those of the tokens in play."""
    layout = TextBatch.from_texts(texts).layout
    in_play = [
        torch.ones_like(masks[0]).logical_and(layout.pad(torch.ones_like(layout.first_tokens), masks[0].shape[1]))
    ]
    in_play += list(masks[:-1])
    return [mask[before] for before, mask in zip(in_play, masks, strict=True)]


@torch.no_grad()
def test_keep_all_is_the_stock_model(case: Case, family: str) -> None:
    stock = StockSystem(case.model, case.task)
    batch = TextBatch.from_texts(case.texts)
    system = UnreducedSystem(StagedModel(case.model, case.task, (2, 3)))
    output, plain = system.run(batch), stock.run(batch)
    ours, expected = output.logits, plain.logits
    for found in (output, plain):
        assert found.full_flops.equal(plain.flops)
        assert found.kept_tokens.shape == (len(case.texts), 0)
    for text, flops in zip(case.texts, output.flops.tolist(), strict=True):
        assert flops == sum(3 * one_layer(n, family) + last_layer(n, family, case.task) for n in text.sequence_lengths)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)
    forward = StagedModel(case.model, case.task, (2, 3)).start(TextBatch.from_texts(case.texts))
    while not forward.done:
        forward.advance(torch.ones(forward.tokens.layout.total_tokens, dtype=torch.bool))
    logits, _ = StagedModel(case.model, case.task, (2, 3)).read(forward)
    torch.testing.assert_close(logits, expected, rtol=0, atol=TOLERANCE)
    pieces = case.task.split(logits, forward.layouts[0])
    assert [piece.shape[1] for piece in pieces] == [case.task.num_logits] * len(case.texts)
    alone = [stock.run(TextBatch.from_texts([text])).logits for text in case.texts]
    for piece, other in zip(pieces, alone, strict=True):
        torch.testing.assert_close(piece, other, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_batch_mates_do_not_matter(case: Case, make_masks: MakeMasks) -> None:
    staged = StagedModel(case.model, case.task, (2, 3))
    masks = make_masks(case.texts, 2)

    def results(rows: list[int]) -> tuple[list[Tensor], Tensor]:
        texts = [case.texts[row] for row in rows]
        forward = staged.start(TextBatch.from_texts(texts))
        for mask in packed_masks(texts, [mask[rows][:, : max(map(len, texts))] for mask in masks]):
            forward.advance(mask)
        logits, _ = staged.read(forward)
        layout = forward.layouts[0]
        return case.task.split(logits, layout), case.task.log_likelihood(logits, layout, case.task.targets(texts))

    whole, likelihood = results(list(range(len(case.texts))))
    for rows in ([0], [1], [2, 0], [1, 1]):
        pieces, own = results(rows)
        torch.testing.assert_close(own, likelihood[rows], rtol=0, atol=TOLERANCE)
        for row, piece in zip(rows, pieces, strict=True):
            torch.testing.assert_close(piece, whole[row], rtol=0, atol=TOLERANCE)


def multi_hop_by_hand(kind: str, logits: Tensor, target: np.ndarray[Any, Any], lengths: Sequence[int]) -> float:
    firsts = np.cumsum([0, *lengths[:-1]])
    kinds = torch.stack([logits[first, 2:5] for first in firsts]).amax(0).softmax(0)
    found = float(kinds[target[0, 0]].log())
    if target[0, 0] == 0:
        found += by_hand("span", logits[:, :2], target[:2, 1:3], lengths)
    if "supports" in kind:
        yes = [float(logits[place, 5].sigmoid()) for place in target[:, 3]]
        right = [one if support else 1 - one for one, support in zip(yes, target[:, 4], strict=True)]
        found += 0.5 * float(np.mean(np.log(right)))
    return found


def by_hand(kind: str, logits: Tensor, target: np.ndarray[Any, Any], lengths: Sequence[int]) -> float:
    """The likelihood of one text, a number at a time."""
    if kind.startswith("span"):
        probabilities = logits.softmax(0)
        sides = [
            sum(float(probabilities[place, side]) for place in {int(place) for place in target[:, side]})
            for side in (0, 1)
        ]
        return float(np.mean(np.log(sides)))
    if kind.startswith("multi-hop"):
        return multi_hop_by_hand(kind, logits, target, lengths)
    if kind == "candidates":
        scores = [
            float(np.mean([float(logits[place, 0]) for one, place, _ in target if one == candidate]))
            for candidate in range(3)
        ]
        gold = int(target[target[:, 2] == 1][0, 0])
        return float(np.log(np.exp(scores[gold]) / np.exp(scores).sum()))
    if kind.startswith("classes"):
        return float(logits.amax(0).softmax(0)[int(target[0])].log())
    if kind.startswith("relevance"):
        yes = 1 / (1 + np.exp(-float(logits.max())))
        return float(np.log(yes if target[0] == 1 else 1 - yes))
    if kind == "regression":
        return -0.5 * (float(logits) - float(target[0])) ** 2
    gold = int(target[0])
    if kind == "choice":
        return float(logits[:, 0].softmax(0)[gold].log())
    yes = logits[:, 0].sigmoid()
    return float(torch.stack([yes[i] if i == gold else 1 - yes[i] for i in range(len(yes))]).log().mean())


@torch.no_grad()
def test_environment_and_saved_model_agree_and_the_reward_is_worked_out_by_hand(
    case: Case, kind: str, family: str, make_masks: MakeMasks, tmp_path: Path
) -> None:
    policy = TokenPolicy(case.model.config.hidden_size, 2, 8)
    made = TokenReducedModel.from_parts(
        case.model, policy, env="x", task=case.task, reduction_layers=(2, 3), decision=DecisionRule()
    )
    made.save_pretrained(tmp_path)
    model = TokenReducedModel.from_pretrained(tmp_path)
    assert model.task.settings == case.task.settings
    masks = make_masks(case.texts, 2)
    output = model.forward_packed(TextBatch.from_texts(case.texts), packed_masks(case.texts, masks))
    backbone = Backbone(case.model, cast(PreTrainedTokenizerBase, None), "tiny", "tiny", fine_tuned=True)
    records = Dataset.from_dict({"id": [text.text_id for text in case.texts]})
    workload = Workload(get_preset("SQuAD2"), case.task, backbone, records, case.texts, "train", "local")
    price = 0.25
    settings = EnvSettings(len(case.texts), order="once", reduction_layers=(2, 3), length_penalty=price, policy_size=0)
    env = TokenReductionVectorEnv(workload, settings)
    env.reset()
    total = np.zeros(len(case.texts))
    for mask in masks:
        wide = torch.nn.functional.pad(mask, (0, env.max_tokens - mask.shape[1]))
        _, rewards, _, _, infos = env.step(wide)
        total += rewards
    assert env.last_outcome is not None
    torch.testing.assert_close(env.last_outcome.logits, output.logits, rtol=0, atol=TOLERANCE)
    pieces = case.task.split(output.logits, output.layouts[0])
    for row, text in enumerate(case.texts):
        likelihood = by_hand(kind, pieces[row], text.target, text.sequence_lengths)
        assert infos["final_info"]["log_likelihood"][row] == pytest.approx(likelihood, abs=1e-4)
        kept = sum(int(mask[row].sum()) for mask in masks)
        assert total[row] == pytest.approx(likelihood - price * kept, abs=1e-4)
        # Layer 1 runs on all tokens, layer 2 on those of the first mask, layer 3 on those of the second, and layer 4
        # on what is read of these.
        full = sum(one_layer(length, family) for length in text.sequence_lengths)
        stages = [mask[row, : len(text)].split(list(text.sequence_lengths)) for mask in masks]
        second, third = (sum(one_layer(int(part.sum()), family) for part in parts) for parts in stages)
        fourth = sum(last_layer(int(part.sum()), family, case.task) for part in stages[1])
        assert infos["final_info"]["full_flops"][row] == 4 * full
        assert infos["final_info"]["reduced_flops"][row] == full + second + third + fourth


def one_layer(tokens: int, family: str) -> int:
    """Multiply-adds of one layer on one sequence, twice; DeBERTa's 2 x 8 positions, ModernBERT's third matrix."""
    hidden, feed_forward = 48, 96
    positions, matrices = 16 if family == "deberta-v2" else 0, 3 if family == "modernbert" else 2
    return 2 * tokens * hidden * (4 * hidden + positions + matrices * feed_forward + 2 * tokens)


def last_layer(tokens: int, family: str, task: Task) -> int:
    """The same of the last layer: of a head of first tokens, one query and one token behind the attention."""
    if task.reads == "tokens":
        return one_layer(tokens, family)
    hidden, feed_forward = 48, 96
    positions, matrices = 16 if family == "deberta-v2" else 0, 3 if family == "modernbert" else 2
    projected = 2 * hidden * hidden * (tokens + 1) + 2 * hidden * tokens
    if family in {"deberta-v2", "modernbert"}:  # whose attention runs whole
        projected = tokens * hidden * (4 * hidden + positions + 2 * tokens)
    return 2 * (projected + matrices * hidden * feed_forward)


@torch.no_grad()
def test_dropping_tokens_is_the_stock_model_with_them_masked_out(
    case: Case, family: str, make_masks: MakeMasks, masked_stock: MaskedStock
) -> None:
    case.model.double()  # eager attention rounds otherwise, and some of these heads multiply that
    stock = copy.deepcopy(case.model)
    stock.set_attn_implementation("eager")
    staged, masks = StagedModel(case.model, case.task, (2, 3)), make_masks(case.texts, 2)
    forward = staged.start(TextBatch.from_texts(case.texts))
    for mask in packed_masks(case.texts, masks):
        forward.advance(mask)
    expected = []
    for row, text in enumerate(case.texts):
        start = 0
        for length in text.sequence_lengths:
            part = slice(start, start + length)
            in_play = [torch.ones(length, dtype=torch.bool), *(mask[row, part] for mask in masks)]
            expected.append(masked_stock_logits(stock, case.task, family, text, part, in_play, masked_stock))
            start += length
    torch.testing.assert_close(staged.read(forward)[0], torch.cat(expected).float(), rtol=0, atol=TOLERANCE)


def masked_stock_logits(
    stock: Any,
    task: Task,
    family: str,
    text: EncodedText,
    part: slice,
    in_play: Sequence[Tensor],
    masked_stock: MaskedStock,
) -> Tensor:
    """The stock model's logits of one sequence; ``in_play`` are the tokens of layers 1, 2, and 3 and 4."""
    arguments = {"input_ids": torch.from_numpy(text.input_ids[part]).long()[None]}
    if FAMILIES[family].reads_token_types:
        arguments["token_type_ids"] = torch.from_numpy(text.token_type_ids[part]).long()[None]
    if getattr(stock.config, "classifier_pooling", None):  # its multiple choice reads the mask
        arguments["attention_mask"] = torch.ones_like(arguments["input_ids"])
    with masked_stock(stock, [*in_play, in_play[-1]]):
        outputs = stock(**task.stock_inputs(arguments))
    return task.stock_logits(outputs, Layout.from_lengths([len(in_play[0])], [1]))


@torch.no_grad()
def test_the_shipped_models_padded_call_is_the_packed_one(case: Case, kind: str) -> None:
    policy = TokenPolicy(case.model.config.hidden_size, 2, 8)
    model = TokenReducedModel.from_parts(
        case.model, policy, env="x", task=case.task, reduction_layers=(2, 3), decision=DecisionRule()
    )
    batch = TextBatch.from_texts(case.texts)
    packed = model.forward_packed(batch).logits
    several = is_sliced(kind)
    most = int(batch.layout.sequences_per_text.max())
    ids, mask, types = (torch.zeros(len(case.texts), most, 17, dtype=torch.int64) for _ in range(3))
    for row, text in enumerate(case.texts):
        start = 0
        for column, length in enumerate(text.sequence_lengths):
            ids[row, column, :length] = torch.from_numpy(text.input_ids[start : start + length])
            types[row, column, :length] = torch.from_numpy(text.token_type_ids[start : start + length])
            mask[row, column, :length] = 1
            start += length
    if not several:
        ids, mask, types = (values.squeeze(1) for values in (ids, mask, types))
    output: Any = model(ids, attention_mask=mask, token_type_ids=types)
    if kind.startswith("span"):
        both = torch.stack([output.start_logits, output.end_logits], -1)
        assert both.shape == (*ids.shape, 2)
        assert bool((both[~mask.bool()] == -torch.inf).all())
        torch.testing.assert_close(both[mask.bool()], packed)
    elif isinstance(case.task, TokenTask):
        assert output.logits.shape == (*ids.shape, case.task.num_logits)
        assert not bool(output.logits[~mask.bool()].any())
        torch.testing.assert_close(output.logits[mask.bool()], packed)
    elif "choice" in kind:
        there = mask.bool().any(-1)
        assert bool((output.logits[~there] == -torch.inf).all())
        torch.testing.assert_close(output.logits[there], packed.squeeze(1))
    else:
        pieces = case.task.split(packed, batch.layout)
        torch.testing.assert_close(output.logits, torch.stack([piece.amax(0) for piece in pieces]))


def test_divergence_from_itself_is_zero_and_its_gradient_points_to_the_teacher(case: Case) -> None:
    batch, targets = TextBatch.from_texts(case.texts), case.task.targets(case.texts)
    with torch.no_grad():
        teacher = StagedModel(case.model, case.task)(batch)
    generator = torch.Generator().manual_seed(0)
    student = (teacher + torch.randn(teacher.shape, generator=generator)).requires_grad_()
    assert float(case.task.divergence(teacher, teacher, batch.layout, targets, 2.0).abs().max()) < 1e-5
    before = case.task.divergence(student, teacher, batch.layout, targets, 2.0)
    assert before.shape == (len(case.texts),)
    assert bool((before >= -1e-6).all())
    (gradient,) = torch.autograd.grad(before.sum(), student)
    after = case.task.divergence(student.detach() - 0.01 * gradient, teacher, batch.layout, targets, 2.0)
    assert float(after.sum()) < float(before.detach().sum())
