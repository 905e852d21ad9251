"""Tiny workloads: a random BERT of 4 layers and texts of a few tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerBase

from agents.base import Actor, AgentSpec, Rollout
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task

VOCABULARY = 50
WIDTH = 16

MakeWorkload = Callable[[Sequence[int | tuple[int, ...]]], Workload]
MakeEnv = Callable[..., TokenReductionVectorEnv]
Play = Callable[..., Rollout]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bert() -> BertForQuestionAnswering:
    """4 layers, so reductions before 2 and 3; weights wide enough that what is skipped matters."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=WIDTH,
        initializer_range=0.4,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(1)
    return BertForQuestionAnswering(config).eval()


@pytest.fixture(scope="session")
def make_workload(tiny_bert: BertForQuestionAnswering) -> MakeWorkload:
    """Make a workload of random texts of the given lengths; of several sequences, the lengths of each."""

    def make(lengths: Sequence[int | tuple[int, ...]]) -> Workload:
        generator = np.random.default_rng(3)
        sequences = [(length,) if isinstance(length, int) else length for length in lengths]
        texts = [
            EncodedText(
                text_id=f"text {index}",
                input_ids=generator.integers(1, VOCABULARY, sum(own)).astype(np.int32),
                token_type_ids=np.zeros(sum(own), dtype=np.int32),
                sequence_lengths=own,
                target=np.array([[2, 3]], dtype=np.int64),
            )
            for index, own in enumerate(sequences)
        ]
        preset = replace(get_preset("SQuAD2"), settings={"max_tokens": WIDTH})
        # Nothing here decodes, so no tokenizer and no examples are needed.
        backbone = Backbone(tiny_bert, cast(PreTrainedTokenizerBase, None), "tiny", "nowhere", True)
        return Workload(preset, make_task(preset), backbone, cast(Dataset, None), texts, "train", "embedded")

    return make


@pytest.fixture
def make_env(make_workload: MakeWorkload) -> MakeEnv:
    """Make an environment of the training kind over random texts."""

    def make(lengths: Sequence[int | tuple[int, ...]] = (6,), **options: Any) -> TokenReductionVectorEnv:
        settings = {"num_envs": 8, "samples_per_text": 8, "length_penalty": 0.05, "policy_size": 0}
        exit_offsets = options.pop("exit_offsets", None)
        env_settings = EnvSettings(array_type="torch", **{**settings, **options})
        return TokenReductionVectorEnv(make_workload(lengths), env_settings, exit_offsets)

    return make


@pytest.fixture
def play() -> Play:
    """Play one episode of a fresh environment."""

    def one(env: TokenReductionVectorEnv, agent: Actor, seed: int = 0) -> Rollout:
        collector = RolloutCollector(env, agent)
        collector.reset(seed=seed)
        return collector.collect(0.0)

    return one


@pytest.fixture(scope="session")
def equal() -> Callable[[Any, Any], bool]:
    """Whether two state dicts are the same, bit for bit."""

    def compare(one: Any, other: Any) -> bool:
        if isinstance(one, Tensor):
            return torch.equal(one, other)
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(compare(one[key], other[key]) for key in one)
        if isinstance(one, (list, tuple)):
            return len(one) == len(other) and all(map(compare, one, other))
        return bool(one == other)

    return compare


@pytest.fixture(scope="session")
def make_agent() -> Callable[..., Reinforce]:
    """Make a REINFORCE agent for an environment: ``make_agent(env, seed, **options)``."""

    def make(env: TokenReductionVectorEnv, seed: int = 0, **options: Any) -> Reinforce:
        settings = {"keep_fractions": (0.6, 0.3), "learning_rate": 1e-2, "overlap": False, **options}
        return Reinforce(AgentSpec.of_env(env, seed), ReinforceOptions(**settings))

    return make
