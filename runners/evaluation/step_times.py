"""What training steps cost: in the environment, by REINFORCE, in joint training, and by Stable-Baselines3."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from stable_baselines3 import A2C
from torch import Tensor

from agents.base import AgentSpec
from agents.distillation import Teacher
from agents.heuristics import RandomTokens
from agents.joint import JointLearner, JointLearnerOptions
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from agents.sb3 import TokenActorCriticPolicy, TokenReductionVecEnv
from runners.evaluation.timing import measure, system_pass
from trbert_env.data.backbones import move
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.envs.reward import LengthPrice
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.staged_model import StagedModel
from trbert_env.system import StockSystem


@dataclass(frozen=True)
class StepSettings:
    """What is common to all measurements.

    Attributes:
        keep_fractions: Fraction kept at each reduction.
        reduction_layers: The cuts; None for the encoder's own.
        dtype: Number format of the encoder.
        device: Device to compute on.
        rounds: Rounds that count.
        seed: Seed of texts and masks.
    """

    keep_fractions: tuple[float, ...]
    reduction_layers: tuple[float, ...] | None
    dtype: Literal["float32", "bfloat16"]
    device: str
    rounds: int
    seed: int


@contextmanager
def layers_clock() -> Iterator[list[float]]:
    """Adds up the seconds that encoder layers run, over all encoders."""
    spent = [0.0]
    original = StagedEncoder.run_layers

    def timed(self: StagedEncoder, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(self, *args, **kwargs)
        finally:
            spent[0] += time.perf_counter() - started

    StagedEncoder.run_layers = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        StagedEncoder.run_layers = original  # type: ignore[method-assign]


def training_env(
    workload: Workload, settings: StepSettings, num_envs: int = 128, **options: Any
) -> TokenReductionVectorEnv:
    """8 samples of each text: what train_policy runs."""
    env_settings = EnvSettings(
        num_envs=num_envs,
        samples_per_text=8,
        reduction_layers=settings.reduction_layers,
        dtype=settings.dtype,
        device=settings.device,
        array_type="torch",
        **options,
    )
    return TokenReductionVectorEnv(workload, env_settings)


def make_reinforce(encoder: StagedEncoder, settings: StepSettings, max_tokens: int, samples: int = 8) -> Reinforce:
    """A new agent that keeps the wanted fractions."""
    options = ReinforceOptions(keep_fractions=settings.keep_fractions, imitation_fraction=0.0)
    sizes = (encoder.hidden_size, encoder.num_reductions, max_tokens)
    return Reinforce(AgentSpec(*sizes, samples, settings.seed, settings.device), options)


def native_update(env: TokenReductionVectorEnv, settings: StepSettings) -> Callable[[], None]:
    """One REINFORCE update: a rollout of all rows, and what is learned from it."""
    agent = make_reinforce(env.encoder, settings, env.max_tokens)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=settings.seed)

    def update() -> None:
        agent.learn(collector.collect(0.5))

    return update


def time_environment(workload: Workload, settings: StepSettings) -> dict[str, float]:
    """Measure the share of the environment's steps that is spent outside of the encoder's layers.

    Measured for :meth:`TokenReductionVectorEnv.step`, which pads observations, and for ``step_packed``, which agents of
    this project take.
    """
    env = training_env(workload, settings)
    agent = RandomTokens(settings.keep_fractions, env.num_reductions)
    env.reset(seed=settings.seed)

    def padded(keep: Tensor) -> Callable[[], object]:
        action = env.packed_observation.pad(keep)
        return lambda: env.step(action)

    def packed(keep: Tensor) -> Callable[[], object]:
        return lambda: env.step_packed(keep)

    def outside() -> dict[str, float]:
        return {
            name: _outside_layers(env, agent, step)
            for name, step in (("outside_layers_share", padded), ("packed_outside_layers_share", packed))
        }

    rounds = [outside() for _ in range(settings.rounds + 1)][1:]  # the first warms up
    return {name: statistics.median(shares[name] for shares in rounds) for name in rounds[0]}


def _outside_layers(
    env: TokenReductionVectorEnv, agent: RandomTokens, step: Callable[[Tensor], Callable[[], object]]
) -> float:
    """The share of an episode's steps that is spent outside of the encoder's layers."""
    seconds = 0.0
    with layers_clock() as spent:
        for _ in range(env.num_reductions):
            run = step(agent.act(env.packed_observation))
            started = time.perf_counter()
            run()
            seconds += time.perf_counter() - started
    return 1.0 - spent[0] / seconds


def time_training(workload: Workload, settings: StepSettings) -> dict[str, float]:
    """Texts per second of REINFORCE updates, against the naive way.

    The naive way runs every text 8 times by itself through the stock encoder, padded to 384, with
    skipped tokens masked: nothing is shared and nothing dropped. Its policy and its learning are
    not even counted.
    """
    env = training_env(workload, settings)
    task, texts = workload.task, list(workload.texts[:16])
    naive = move(copy.deepcopy(workload.backbone.model), settings.device, getattr(torch, settings.dtype))
    one_sample = system_pass(StockSystem(naive, task, width=task.max_tokens), texts, len(texts))

    def eight_samples() -> None:
        for _ in range(8):
            one_sample()

    sides: dict[str, Callable[[], None]] = {
        "ours": native_update(env, settings),
        "naive": eight_samples,
    }
    timings = measure(sides, settings.rounds, settings.device)
    ours, naive_rate = (16 / timings[name].median for name in ("ours", "naive"))
    return {
        "training_texts_per_second": ours,
        "naive_texts_per_second": naive_rate,
        "training_speedup": ours / naive_rate,
    }


def time_joint(workload: Workload, settings: StepSettings) -> dict[str, float]:
    """A step of joint training (8 samples, teacher, policy), against unreduced fine-tuning on the same texts.

    Forward and backward of 16 texts each; the optimiser is left out on both sides.
    """
    texts = list(workload.texts[:16])
    autocast = settings.dtype

    def learner(samples: int, **joint: Any) -> JointLearner:
        model = move(copy.deepcopy(workload.backbone.model), settings.device, torch.float32)
        staged = StagedModel(model, workload.task, settings.reduction_layers)
        agent = make_reinforce(staged.encoder, settings, workload.task.max_text_tokens, samples)
        return JointLearner(
            staged,
            agent if samples > 1 else None,
            JointLearnerOptions(**joint, autocast=autocast),
            Teacher(move(workload.backbone.model, settings.device, torch.float32), workload.task, autocast),
            LengthPrice(0.0, "tokens", staged.cost),
        )

    def step(of: JointLearner) -> Callable[[], None]:
        def run_it() -> None:
            of.staged.model.zero_grad(set_to_none=True)
            of.loss(texts, 0.5)[1].backward()

        return run_it

    sides = {"joint": step(learner(8)), "fine-tuning": step(learner(1, distillation=0.0))}
    timings = measure(sides, settings.rounds, settings.device)
    joint, unreduced = (timings[name].median for name in ("joint", "fine-tuning"))
    return {"joint_seconds": joint, "finetuning_seconds": unreduced, "joint_over_finetuning": joint / unreduced}


def time_sb3(workload: Workload, settings: StepSettings) -> dict[str, float]:
    """Stable-Baselines3's own loop against ours: one rollout of 64 rows and one update, by environment step.

    Both learn by one pass over the rollout (A2C there, REINFORCE here); the rollout buffer is in float16.
    """
    env = training_env(workload, settings, num_envs=64)
    steps = env.num_reductions

    def by_a2c(half_precision: bool) -> A2C:
        vec_env = TokenReductionVecEnv(training_env(workload, settings, num_envs=64, final_obs=True), half_precision)
        return A2C(
            TokenActorCriticPolicy,
            vec_env,
            n_steps=steps,
            gamma=1.0,
            seed=settings.seed,
            device=settings.device,
            policy_kwargs={"keep_fractions": settings.keep_fractions},
        )

    def megabytes(model: A2C) -> float:
        observations: dict[str, Any] = model.rollout_buffer.observations  # type: ignore[assignment]
        return float(sum(values.nbytes for values in observations.values())) / 1e6

    model, whole = by_a2c(half_precision=True), by_a2c(half_precision=False)

    def sb3_update() -> None:
        model.learn(steps * env.num_envs, reset_num_timesteps=False)

    sides = {"native": native_update(env, settings), "sb3": sb3_update}
    timings = measure(sides, settings.rounds, settings.device)
    native, sb3 = (timings[name].median / steps for name in ("native", "sb3"))
    return {
        "native_seconds_per_step": native,
        "sb3_seconds_per_step": sb3,
        "sb3_over_native": sb3 / native,
        "sb3_buffer_megabytes_float32": megabytes(whole),
        "sb3_buffer_megabytes_float16": megabytes(model),
    }
