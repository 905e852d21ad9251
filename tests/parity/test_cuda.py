"""On a GPU the packed path gives what it gives on a CPU. Needs one; CI has none and skips this."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from trbert_env.data.backbones import move
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.attention import fits_varlen, packed_attention
from trbert_env.encoder.forward import StagedForward
from trbert_env.encoder.sequences import PackedSequences
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import SpanQA

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

LENGTHS = [5, 1, 130, 4]
MakeMasks = Callable[..., list[Tensor]]
Play = Callable[[StagedForward, Sequence[Tensor]], StagedForward]
WorkloadOf = Callable[[PreTrainedModel, Sequence[EncodedText]], Workload]


def random_heads(width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 4, sum(LENGTHS), width, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize(
    ("dtype", "width", "varlen", "tolerance"),
    [
        (torch.bfloat16, 32, True, 3e-2),
        (torch.float16, 64, True, 4e-3),
        (torch.bfloat16, 12, False, 3e-2),
        (torch.float32, 32, False, 1e-5),
    ],
)
def test_attention_and_its_gradients_equal_one_dense_call(
    dtype: torch.dtype, width: int, varlen: bool, tolerance: float, scaling: float | None
) -> None:
    owner = torch.repeat_interleave(torch.tensor(LENGTHS))
    mask = owner[:, None] == owner[None, :]
    dense = [tensor.to(dtype).float().requires_grad_() for tensor in random_heads(width)]
    expected = scaled_dot_product_attention(*dense, attn_mask=mask, scale=scaling).transpose(1, 2)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * weights).sum().backward()

    ours = [tensor.to("cuda", dtype).requires_grad_() for tensor in random_heads(width)]
    packed = PackedSequences.of(torch.tensor(LENGTHS))
    assert fits_varlen(ours[0].device, dtype, width) is varlen
    output, _ = packed_attention(torch.nn.Module(), ours[0], ours[1], ours[2], None, packed, scaling=scaling)
    (output * weights.to("cuda", dtype)).sum().backward()
    torch.testing.assert_close(output.float().cpu(), expected.detach(), rtol=0, atol=tolerance)
    for found, wanted in zip(ours, dense, strict=True):
        assert found.grad is not None
        assert wanted.grad is not None
        torch.testing.assert_close(found.grad.float().cpu(), wanted.grad, rtol=4 * tolerance, atol=4 * tolerance)


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_a_pass_equals_that_on_a_cpu(
    model: PreTrainedModel, texts: list[EncodedText], make_masks: MakeMasks, play: Play, masked: bool
) -> None:
    """With all tokens, and with some: float32 exactly, which the parity of the CPU path then vouches for."""
    masks = [mask | (not masked) for mask in make_masks(texts, 2)]
    on_gpu = move(copy.deepcopy(model), "cuda", torch.float32)
    expected, stops = play(
        StagedForward(StagedEncoder(model, (2, 3)), TextBatch.from_texts(texts)), masks
    ).final_states()
    batch = TextBatch.from_texts(texts, "cuda")
    forward = play(StagedForward(StagedEncoder(on_gpu, (2, 3)), batch), [mask.cuda() for mask in masks])
    states, found = forward.final_states()
    torch.testing.assert_close(states.cpu(), expected, rtol=0, atol=2e-5)
    assert torch.equal(found.cpu(), stops)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 5e-2)])
def test_first_tokens_equal_those_on_a_cpu(
    make_model: Callable[..., PreTrainedModel],
    texts: list[EncodedText],
    make_masks: MakeMasks,
    play: Play,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    """Padded attention in float32, the varlen kernel in bfloat16."""
    model, masks = make_model("bert", hidden=64), make_masks(texts, 2)
    on_gpu = move(copy.deepcopy(model), "cuda", dtype)
    batch, gpu_batch = TextBatch.from_texts(texts), TextBatch.from_texts(texts, "cuda")
    expected, _ = play(StagedForward(StagedEncoder(model, (2, 3), True), batch), masks).final_states()
    forward = StagedForward(StagedEncoder(on_gpu, (2, 3), True), gpu_batch)
    states, _ = play(forward, [mask.cuda() for mask in masks]).final_states()
    first = batch.layout.first_tokens
    torch.testing.assert_close(states.float().cpu()[first], expected[first], rtol=tolerance, atol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_environment_and_the_model_agree_on_a_gpu(
    make_model: Callable[..., PreTrainedModel], workload_of: WorkloadOf, dtype: str
) -> None:
    """Heads of 16, so that bfloat16 takes the varlen kernel."""
    model = make_model("bert", hidden=64)
    random = torch.Generator().manual_seed(0)
    texts = [
        EncodedText(
            text_id=str(length),
            input_ids=torch.randint(5, 60, (length,), generator=random).int().numpy(),
            token_type_ids=torch.zeros(length, dtype=torch.int32).numpy(),
            sequence_lengths=(length,),
            target=torch.tensor([[1, 2]]).numpy(),
        )
        for length in (9, 40, 23)
    ]
    settings = EnvSettings(
        num_envs=3,
        order="once",
        autoreset_mode="Disabled",
        array_type="torch",
        reduction_layers=(2, 3),
        device="cuda",
        dtype=dtype,
    )
    env = TokenReductionVectorEnv(workload_of(model, texts), settings)
    observation, _ = env.reset(seed=0)
    packed = []
    for _ in range(2):
        tokens = observation["token_mask"].bool()
        keep = tokens & (torch.rand(tokens.shape, generator=random).cuda() < 0.6)
        keep[:, 0] = True
        packed.append(keep[tokens])
        observation, rewards, *_ = env.step(keep)
    policy = TokenPolicy(64, 2, 8)
    reduced = TokenReducedModel.from_parts(
        model,
        policy,
        env="SQuAD2",
        task=SpanQA(),
        reduction_layers=(2, 3),
        decision=DecisionRule(),
        exit_offsets=env.exit_offsets,
    )
    reduced = move(reduced, "cuda", getattr(torch, dtype)).eval()
    output = reduced.forward_packed(TextBatch.from_texts(texts, "cuda"), packed)
    assert env.last_outcome is not None
    torch.testing.assert_close(output.logits, env.last_outcome.logits, rtol=0, atol=1e-5)
    assert torch.isfinite(rewards).all()
