"""Invariant 8: the reward is eq. 4 worked out by hand; FLOPs are the closed form, and torch's own count."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from trbert_env.data.workload import Workload
from trbert_env.encoder.families import LayerSize
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.cost import CostModel, flops_speedup, layer_flops, policy_flops_per_token
from trbert_env.reduction.policy import TokenPolicy

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
Play = Callable[[StagedForward, Sequence[Tensor]], StagedForward]
WorkloadOf = Callable[[PreTrainedModel, Sequence[EncodedText]], Workload]

HIDDEN, FEED_FORWARD = 48, 96


#: Rows of the tiny DeBERTa's table of relative positions, for keys and for queries.
POSITIONS = 2 * 8


def one_layer(tokens: int, family: str) -> int:
    """Multiply-adds counted one matrix product at a time, twice."""
    query_key_value = 3 * tokens * HIDDEN * HIDDEN
    scores_and_mix = 2 * tokens * tokens * HIDDEN
    with_positions = tokens * POSITIONS * HIDDEN if family == "deberta-v2" else 0
    output = tokens * HIDDEN * HIDDEN
    feed_forward = (3 if family == "modernbert" else 2) * tokens * HIDDEN * FEED_FORWARD
    return 2 * (query_key_value + scores_and_mix + with_positions + output + feed_forward)


@pytest.mark.parametrize("penalty", ["tokens", "flops"])
@pytest.mark.parametrize("layers", [(3,), (2, 4)])
def test_the_return_is_equation_4(
    model: PreTrainedModel,
    family: str,
    make_texts: MakeTexts,
    make_masks: MakeMasks,
    workload_of: WorkloadOf,
    penalty: Any,
    layers: tuple[int, ...],
) -> None:
    texts = make_texts((9,), (5, 7), (1,))
    price = 0.25
    settings = EnvSettings(
        num_envs=3, order="once", reduction_layers=layers, length_penalty=price, penalty=penalty, policy_size=8
    )
    env = TokenReductionVectorEnv(workload_of(model, texts), settings)
    env.reset()
    masks = make_masks(texts, len(layers))
    rewards = []
    for mask in masks:
        _, reward, _, _, infos = env.step(torch.nn.functional.pad(mask, (0, 2)))
        rewards.append(reward)
    assert env.last_outcome is not None
    logits = env.last_outcome.logits.split([len(text) for text in texts])
    depths = [after - before for before, after in zip(layers, (*layers[1:], 5), strict=True)]
    # Of one token's, without what grows with the square of the tokens.
    unit = (one_layer(1, family) - 4 * HIDDEN) * sum(depths) / len(depths)
    for row, text in enumerate(texts):
        start, end = text.target[0].tolist()
        log_start = logits[row][start, 0] - logits[row][:, 0].logsumexp(0)
        log_end = logits[row][end, 1] - logits[row][:, 1].logsumexp(0)
        likelihood = float(log_start + log_end) / 2
        charges = []
        for depth, mask in zip(depths, masks, strict=True):
            kept = [int(part.sum()) for part in mask[row, : len(text)].split(list(text.sequence_lengths))]
            charges.append(
                sum(kept) if penalty == "tokens" else depth * sum(one_layer(tokens, family) for tokens in kept) / unit
            )
        assert infos["final_info"]["log_likelihood"][row] == pytest.approx(likelihood, abs=1e-5)
        assert sum(float(reward[row]) for reward in rewards) == pytest.approx(
            likelihood - price * sum(charges), abs=1e-4
        )
        # All but the likelihood is paid where it is run up.
        for reward, charge in zip(rewards[:-1], charges[:-1], strict=True):
            assert float(reward[row]) == pytest.approx(-price * charge, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
@pytest.mark.parametrize("lengths", [((9,), (14,)), ((5, 7), (4,))])
def test_the_return_of_distillation_is_the_distance_from_the_unreduced_model(
    model: PreTrainedModel,
    make_texts: MakeTexts,
    make_masks: MakeMasks,
    workload_of: WorkloadOf,
    lengths: tuple[tuple[int, ...], ...],
    temperature: float,
) -> None:
    texts = make_texts(*lengths)
    settings = EnvSettings(
        num_envs=4,
        samples_per_text=2,
        order="once",
        reward="distillation",
        reward_temperature=temperature,
        length_penalty=0.25,
        policy_size=8,
        reduction_layers=(2, 3),
    )
    env = TokenReductionVectorEnv(workload_of(model, texts), settings)
    env.reset()
    total = torch.zeros(4)
    for mask in make_masks([text for text in texts for _ in range(2)], 2):
        mask[0] = True  # Nothing of the first row is skipped.
        _, reward, _, _, infos = env.step(torch.nn.functional.pad(mask, (0, env.max_tokens - mask.shape[1])))
        total += torch.as_tensor(reward)
    outcome = env.last_outcome
    assert outcome is not None
    rows = outcome.logits.split([len(text) for text in texts for _ in range(2)])
    for row, found in enumerate(rows):
        text, pieces, start = texts[row // 2], [], 0
        for length in text.sequence_lengths:
            ids, segments = (
                torch.tensor(values[start : start + length])[None].long()
                for values in (text.input_ids, text.token_type_ids)
            )
            named = {"token_type_ids": segments} if segments.any() else {}
            with torch.no_grad():
                stock = model(input_ids=ids, **named)
            pieces.append(torch.stack([stock.start_logits[0], stock.end_logits[0]], 1))
            start += length
        sharp, distance = (
            (full.exp() * (full - (found / divisor).log_softmax(0))).sum(0).mean() * divisor**2
            for divisor in (1.0, temperature)
            for full in [(torch.cat(pieces) / divisor).log_softmax(0)]
        )
        assert infos["final_info"]["divergence"][row] == pytest.approx(float(sharp), abs=1e-5)
        charges = 0.25 * float(infos["final_info"]["kept_tokens"][row].sum())
        assert float(total[row]) == pytest.approx(-float(distance) - charges, abs=1e-4)
    assert infos["final_info"]["divergence"][0] == pytest.approx(0.0, abs=1e-5)
    assert infos["final_info"]["divergence"][1] > 1e-3


@pytest.mark.parametrize("tokens", [1, 7, 384])
def test_a_layer_in_closed_form(tokens: int) -> None:
    assert layer_flops(tokens, LayerSize(HIDDEN, FEED_FORWARD)) == one_layer(tokens, "bert")
    assert layer_flops(tokens, LayerSize(HIDDEN, FEED_FORWARD, matrices=3)) == one_layer(tokens, "modernbert")
    size = LayerSize(HIDDEN, FEED_FORWARD, position_rows=POSITIONS)
    assert layer_flops(tokens, size) == one_layer(tokens, "deberta-v2")


def test_the_released_table_of_bert_base() -> None:
    # Multiply-adds of one layer, out of the original's macs_list.json.
    assert layer_flops(128, LayerSize(768, 3072)) == 2 * 931_135_488


@pytest.mark.usefixtures("as_many_rows_as_there_are")
@torch.no_grad()
@pytest.mark.parametrize("first_tokens_only", [False, True])
@pytest.mark.parametrize("layers", [(2,), (2, 3), (2, 3, 4), (1.5, 3), (2.5, 3.5)])
def test_reduced_flops_equal_torchs_own_count(
    model: PreTrainedModel,
    make_texts: MakeTexts,
    make_masks: MakeMasks,
    play: Play,
    layers: tuple[float, ...],
    first_tokens_only: bool,
) -> None:
    texts = make_texts((9,), (5, 7), (3, 1, 6))
    masks = make_masks(texts, len(layers))
    encoder = StagedEncoder(model, layers, first_tokens_only)
    policy = TokenPolicy(HIDDEN, len(layers), 8)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        # The embeddings of ELECTRA are projected, which is not a layer's work.
        embedded = encoder.embed(TextBatch.from_texts(texts))
    outside = counter.get_total_flops()
    assert outside == (2 * 31 * 24 * HIDDEN if model.config.model_type == "electra" else 0)
    # Nor is the projection of DeBERTa's positions a text's: a frozen encoder projects them once.
    model.requires_grad_(False)
    encoder.run_layers(embedded, 0, encoder.num_layers)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward = StagedForward(encoder, TextBatch.from_texts(texts))
        for mask in masks:
            policy(forward.tokens.states, forward.reduction)
            forward.advance(forward.tokens.layout.gather(mask))
    cost = CostModel.of(encoder, policy.flops_per_token)
    assert int(cost.reduced(forward.layouts).sum()) == counter.get_total_flops() - outside
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder.run_layers(embedded, 0, encoder.num_layers)
    assert int(cost.keep_all(embedded.layout).sum()) == counter.get_total_flops()
    assert (cost.keep_all(embedded.layout) < cost.full(embedded.layout)).all() == first_tokens_only


@torch.no_grad()
def test_costs_of_each_text_in_closed_form(
    model: PreTrainedModel, family: str, make_texts: MakeTexts, make_masks: MakeMasks, play: Play
) -> None:
    texts = make_texts((9,), (5, 7))
    masks = make_masks(texts, 2)
    encoder = StagedEncoder(model, (2, 4))
    forward = play(StagedForward(encoder, TextBatch.from_texts(texts)), masks)
    head = policy_flops_per_token(HIDDEN, 8)
    assert head == 2 * (HIDDEN * 8 + 8)
    cost = CostModel.of(encoder, head)
    first, second = int(masks[0][0].sum()), int(masks[1][0].sum())
    expected = one_layer(9, family) + head * 9 + 2 * one_layer(first, family) + head * first + one_layer(second, family)
    assert float(cost.reduced(forward.layouts)[0]) == expected
    # Attention stays within a sequence, and so does its cost.
    assert cost.full(forward.layouts[0]).tolist() == [
        4 * one_layer(9, family),
        4 * (one_layer(5, family) + one_layer(7, family)),
    ]


def test_the_speed_up_is_a_ratio_of_means_not_a_mean_of_ratios() -> None:
    full, reduced = torch.tensor([100.0, 10.0]), torch.tensor([50.0, 10.0])
    assert flops_speedup(full, reduced) == pytest.approx(110 / 60)
    assert not math.isclose(flops_speedup(full, reduced), 1.5)
