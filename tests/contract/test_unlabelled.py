"""Texts whose gold answers nobody knows: the reward is nearness to the unreduced model, and no likelihood is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from agents.base import AgentSpec
from agents.policy_agent import PolicyAgentOptions
from agents.registry import make_agent
from agents.rollouts import RolloutCollector, rollout_metrics
from runners.evaluation.quality import measure_quality
from trbert_env.data.workload import Workload
from trbert_env.staged_model import StagedModel
from trbert_env.system import UnreducedSystem


@pytest.fixture
def unlabelled(workload: Workload) -> Workload:
    rows = [{"question": row["question"], "context": row["context"]} for row in workload.examples]
    return workload.unlabelled(rows, workload.examples["id"][:])


def test_what_differs_is_gold_alone(workload: Workload, unlabelled: Workload) -> None:
    assert [text.text_id for text in unlabelled.texts] == [text.text_id for text in workload.texts]
    for ours, theirs in zip(unlabelled.texts, workload.texts, strict=True):
        np.testing.assert_array_equal(ours.input_ids, theirs.input_ids)
    assert unlabelled.fingerprints["texts_fingerprint"] != workload.fingerprints["texts_fingerprint"]


def test_returns_are_those_of_labelled_texts(
    workload: Workload, unlabelled: Workload, make_env: Callable[..., Any]
) -> None:
    played = []
    for one in (workload, unlabelled):
        env = make_env(4, workload=one, reward="distillation", array_type="torch", samples_per_text=2)
        agent = make_agent("reinforce", AgentSpec.of_env(env, 0), PolicyAgentOptions(), {})
        collector = RolloutCollector(env, agent)
        collector.reset(seed=3)
        played.append(collector.collect(1.0))
    labelled, ours = played
    torch.testing.assert_close(ours.returns, labelled.returns, rtol=0, atol=0)
    assert not ours.final_info["has_gold"].any()
    assert not ours.final_info["log_likelihood"].any()
    assert labelled.final_info["has_gold"].all()
    told = rollout_metrics(labelled).keys() - rollout_metrics(ours).keys()
    assert told == {"charts/log_likelihood"}


def test_what_reads_gold_is_refused(unlabelled: Workload, make_env: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"reward 'likelihood' \(take 'distillation'\) needs gold answers"):
        make_env(4, workload=unlabelled)
    options = {"workload": unlabelled, "reward": "distillation"}
    with pytest.raises(ValueError, match="info_scores 'residual' needs gold answers, and the texts are unlabelled"):
        make_env(4, **options, info_scores="residual")
    env = make_env(4, **options)
    env.reset(seed=0)
    env.info_scores = "attention"
    with pytest.raises(ValueError, match="info_scores 'residual' needs gold answers"):
        env.info_scores = "residual"
    assert env.info_scores == "attention"
    staged = StagedModel(unlabelled.backbone.model, unlabelled.task)
    with pytest.raises(ValueError, match="an evaluation needs gold answers, and the texts are unlabelled"):
        measure_quality(UnreducedSystem(staged), unlabelled)


def test_many_texts_and_none(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trbert_env.data.workload._AT_ONCE", 2)
    rows = [{"question": f"Who knows {number}", "context": "A bridge stands in York ."} for number in range(5)]
    found = workload.unlabelled(rows)
    assert [text.text_id.partition("#")[0] for text in found.texts] == [f"{number}" for number in range(5)]
    assert workload.unlabelled(Dataset.from_list(rows)).fingerprints == found.fingerprints
    with pytest.raises(ValueError, match="there are no unlabelled texts: give at least one"):
        workload.unlabelled([])
    with pytest.raises(ValueError, match="5 texts but 4 ids that differ: give one for each, or none"):
        workload.unlabelled(rows, ["a", "b", "c", "d", "a"])
    with pytest.raises(ValueError, match="'Context' is empty"):
        workload.unlabelled([{"question": "Who?", "context": " "}])
