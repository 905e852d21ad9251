"""What stage 2 does where nothing is set, by the kind of task."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from datasets import Dataset
from transformers import BertConfig, ModernBertConfig, PreTrainedConfig

from agents.policy_agent import PolicyAgentOptions
from runners.training.options.policy import (
    AlgorithmOptions,
    PolicyTrainingOptions,
    TrainPolicyOptions,
    few_updates,
)
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.presets import get_preset
from trbert_env.tasks.base import Task
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.multiple_choice import MultipleChoice
from trbert_env.tasks.span_qa import SpanQA


@pytest.mark.parametrize(
    ("task", "agent", "given", "scope"),
    [
        (Classification(), "reinforce", None, "batch"),
        (MultipleChoice(), "grpo", None, "batch"),
        (Classification(), "reinforce", "text", "text"),
        (Classification(), "ppo", None, None),  # it learns from minibatches
        (SpanQA(), "reinforce", None, None),
        (SpanQA(), "reinforce", "batch", "batch"),
    ],
)
def test_texts_share_budgets_where_first_tokens_are_read(task: Task, agent: str, given: Any, scope: str | None) -> None:
    assert settled_scope(task, BertConfig(), agent, given) == scope


@pytest.mark.parametrize(
    ("task", "pooling", "scope"),
    [
        (Classification(), "mean", None),
        (Classification(), "cls", "batch"),
        (MultipleChoice(), "mean", None),
    ],
)
def test_a_head_that_reads_means_over_tokens_shares_none(task: Task, pooling: Any, scope: str | None) -> None:
    assert settled_scope(task, ModernBertConfig(classifier_pooling=pooling), "reinforce", None) == scope


def settled_scope(task: Task, config: PreTrainedConfig, agent: str, given: Any) -> str | None:
    options = TrainPolicyOptions(algorithm=AlgorithmOptions(agent=agent))
    options = replace(options, agent=replace(options.agent, budget_scope=given))
    return options.for_workload(workload_of(task, config)).agent.budget_scope


def workload_of(task: Task, config: PreTrainedConfig | None = None) -> Workload:
    """Nothing is run, so no weights and no records are needed."""
    backbone = cast(Backbone, SimpleNamespace(model=SimpleNamespace(config=config or BertConfig())))
    return Workload(get_preset("IMDB"), task, backbone, cast(Dataset, None), [], "train", "local")


def test_a_temperature_without_effect_is_refused() -> None:
    options = TrainPolicyOptions(training=PolicyTrainingOptions(reward_temperature=2.0))
    with pytest.raises(ValueError, match="plain regression are not softened: leave --reward-temperature out"):
        options.for_workload(workload_of(Classification(head="regression")))
    with pytest.raises(ValueError, match="--reward likelihood has none: leave --reward-temperature out"):
        replace(options, training=replace(options.training, reward="likelihood")).check()


@pytest.mark.parametrize(
    ("texts", "given", "said"),
    [
        (800, {}, "50 updates are few for an untrained policy.*: --total-texts 3,200 makes 200$"),
        (1_584, {}, "99 updates are few"),
        (1_600, {}, None),
        (800, {"texts_per_step": 8}, None),
        (800, {"cloning_texts": 400}, None),
    ],
)
def test_few_updates_are_told(texts: int, given: dict[str, int], said: str | None) -> None:
    options = TrainPolicyOptions(training=PolicyTrainingOptions(total_texts=texts, **given))
    found = few_updates(options)
    assert (found is None) if said is None else re.match(said, str(found))
    assert few_updates(replace(options, policy=Path("run"))) is None


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_what_all_tokens_begin_with_is_refused_where_a_budget_comes_first(share: float) -> None:
    agent = PolicyAgentOptions(budgeted_share=share, initial_keep_probability=0.9)
    with pytest.raises(ValueError, match="leave --initial-keep-probability out"):
        TrainPolicyOptions(agent=agent).check()
    TrainPolicyOptions(agent=replace(agent, budgeted_share=0.0)).check()
