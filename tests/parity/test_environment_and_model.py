"""Invariant 5: stepping the environment with given masks equals TokenReducedModel with the same masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import SpanQA

MakeTexts = Callable[..., list[EncodedText]]
MakeMasks = Callable[..., list[Tensor]]
WorkloadOf = Callable[[PreTrainedModel, Sequence[EncodedText]], Workload]


def make_env(
    workload: Workload, num_envs: int, exit_offsets: ExitOffsets | None = None, **options: Any
) -> TokenReductionVectorEnv:
    settings = EnvSettings(num_envs, order="once", autoreset_mode="Disabled", array_type="torch", **options)
    return TokenReductionVectorEnv(workload, settings, exit_offsets)


def reduced(
    model: PreTrainedModel, layers: tuple[int, ...], overlap: bool = False, **decision: Any
) -> TokenReducedModel:
    torch.manual_seed(0)
    policy = TokenPolicy(model.config.hidden_size, len(layers), 8, overlap=overlap)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    offsets = ExitOffsets(len(layers), 2, model.config.hidden_size)
    torch.nn.init.normal_(offsets.offsets)
    return TokenReducedModel.from_parts(
        model,
        policy,
        env="SQuAD2",
        task=SpanQA(),
        reduction_layers=layers,
        decision=DecisionRule(**decision),
        exit_offsets=offsets,
    )


def run(env: TokenReductionVectorEnv, choose: Callable[..., Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Undiscounted returns and the last infos."""
    observation, infos = env.reset(seed=0)
    returns = torch.zeros(env.num_envs)
    terminated = torch.zeros(env.num_envs, dtype=torch.bool)
    while not terminated.all():
        observation, rewards, terminated, _, infos = env.step(choose(observation, infos))
        returns += rewards
    return returns, infos


@torch.no_grad()
@pytest.mark.parametrize("layers", [(3,), (2, 3), (2, 3, 4), (1.5, 3.5)])
@pytest.mark.parametrize("samples", [1, 3])
def test_given_masks_give_the_same_through_environment_and_model(
    model: PreTrainedModel,
    make_texts: MakeTexts,
    make_masks: MakeMasks,
    workload_of: WorkloadOf,
    layers: tuple[int, ...],
    samples: int,
) -> None:
    texts = make_texts((9,), (5, 7), (1,), (6,))
    ours = reduced(model, layers)
    env = make_env(
        workload_of(model, texts),
        4 * samples,
        samples_per_text=samples,
        reduction_layers=layers,
        exit_offsets=ours.calibration,
    )
    rows = [text for text in texts for _ in range(samples)]
    masks = make_masks(rows, len(layers))
    wide = [torch.nn.functional.pad(mask, (0, env.max_tokens - mask.shape[1])) for mask in masks]
    _, infos = run(env, lambda observation, _: wide[int(observation["reduction"][0])])
    in_play = [torch.ones(sum(len(text) for text in rows), dtype=torch.bool), *masks]
    shared = TextBatch.from_texts(texts).layout.expand(samples)[0]
    packed = [shared.gather(masks[0])]
    packed += [mask[before] for before, mask in zip(in_play[1:], masks[1:], strict=False)]
    output = ours.forward_packed(TextBatch.from_texts(texts), packed, samples)
    assert env.last_outcome is not None
    torch.testing.assert_close(env.last_outcome.logits, output.logits, rtol=0, atol=1e-5)
    assert infos["kept_tokens"].T.tolist() == [mask.sum(1).tolist() for mask in masks]
    assert [layout.token_counts.tolist() for layout in output.layouts[1:]] == infos["kept_tokens"].T.tolist()
    targets = env.workload.task.targets(rows)
    expected = env.workload.task.log_likelihood(output.logits, output.layouts[0], targets)
    torch.testing.assert_close(infos["log_likelihood"], expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("decision", [{}, {"threshold": 0.3}, {"keep_fractions": (0.7, 0.3)}])
def test_the_policy_decides_the_same_in_both(
    model: PreTrainedModel, make_texts: MakeTexts, workload_of: WorkloadOf, decision: dict[str, Any], overlap: bool
) -> None:
    texts = make_texts((9,), (5, 7), (1,), (16,))
    ours = reduced(model, (2, 3), overlap, **decision)
    env = make_env(workload_of(model, texts), 4, reduction_layers=(2, 3), exit_offsets=ours.calibration)
    rule = ours.decision

    def choose(observation: dict[str, Tensor], infos: dict[str, Any]) -> Tensor:
        """The rule on what an agent sees, which is padded."""
        reduction = int(observation["reduction"][0])
        mask = observation["token_mask"].bool()
        flat = ours.policy(observation["hidden_states"].flatten(0, 1), reduction, infos["overlap"].flatten(0, 1))
        forced = torch.zeros_like(mask)
        forced[:, 0] = True
        forced[1, 5] = True
        lengths = torch.tensor([len(text) for text in texts])
        return rule(flat.view(mask.shape), mask, forced, lengths, reduction)

    _, infos = run(env, choose)
    output = ours.forward_packed(TextBatch.from_texts(texts))
    assert env.last_outcome is not None
    torch.testing.assert_close(env.last_outcome.logits, output.logits, rtol=0, atol=1e-5)
    assert torch.stack([layout.token_counts for layout in output.layouts[1:]], 1).equal(infos["kept_tokens"])
    counts = infos["kept_tokens"]
    assert not counts[:, -1].equal(torch.tensor([9, 12, 1, 16])), "the policy keeps everything: nothing was tested"
    assert [len(logits) for logits in output.policy_logits] == [38, int(counts[:, 0].sum())]
    again = ours.forward_packed(TextBatch.from_texts(texts), output.keep_masks)
    assert again.logits.equal(output.logits)
    assert again.policy_logits == []


@torch.no_grad()
def test_an_observation_holds_the_states_of_the_packed_path(
    model: PreTrainedModel, make_texts: MakeTexts, make_masks: MakeMasks, workload_of: WorkloadOf
) -> None:
    texts = make_texts((9,), (5, 7))
    env = make_env(workload_of(model, texts), 2, reduction_layers=(2, 3))
    masks = [torch.nn.functional.pad(mask, (0, 2)) for mask in make_masks(texts, 2)]
    observation, _ = env.reset()
    stock = model.base_model(
        input_ids=torch.from_numpy(texts[0].input_ids).long()[None],
        **(
            {"token_type_ids": torch.from_numpy(texts[0].token_type_ids).long()[None]}
            if FAMILIES[model.config.model_type].reads_token_types
            else {}
        ),
        output_hidden_states=True,
    ).hidden_states[1][0]
    torch.testing.assert_close(observation["hidden_states"][0, :9], stock, rtol=0, atol=1e-5)
    for mask in masks:
        observation, *_ = env.step(mask)
        assert observation["token_mask"].bool().equal(mask)
        assert not observation["hidden_states"][~mask].any()
        assert observation["hidden_states"][mask].any(-1).all()


@torch.no_grad()
def test_a_padded_call_equals_the_packed_one(model: PreTrainedModel, texts: list[EncodedText]) -> None:
    ours = reduced(model, (2, 3), threshold=0.4)
    packed = ours.forward_packed(TextBatch.from_texts(texts))
    width = 17
    ids = np.zeros((4, width), dtype=np.int64)
    types, mask = np.zeros_like(ids), np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], types[row, : len(text)] = text.input_ids, text.token_type_ids
        mask[row, : len(text)] = 1
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    output = ours(**{key: torch.from_numpy(value) for key, value in tensors.items()})
    in_text = torch.from_numpy(mask).bool()
    logits = torch.stack([output.start_logits, output.end_logits], -1)
    assert logits.shape == (4, width, 2)
    assert logits[in_text].equal(packed.logits)
    assert bool((logits[~in_text] == -torch.inf).all())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1, 1, 1], [0, 0, 0]], "row 1 of input_ids has no tokens"),
        ([[1, 0, 1], [1, 1, 1]], "attention_mask has a 0 between two 1s in row 0: pad on the left or on the right"),
        ([[1, 2, 1], [1, 1, 1]], "attention_mask holds 2: give 1 for tokens and 0 for padding"),
        ([[1, 1], [1, 1]], r"attention_mask has the shape \(2, 2\), and input_ids \(2, 3\): they must agree"),
    ],
)
def test_a_padded_call_refuses_masks_it_would_misread(
    model: PreTrainedModel, mask: list[list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reduced(model, (2, 3))(torch.full((2, 3), 5), torch.tensor(mask))
