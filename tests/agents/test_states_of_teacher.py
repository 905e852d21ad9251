"""A teacher's states that the task head reads: of first tokens they are remembered with the logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import mse_loss
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
)

from agents.distillation import Teacher
from agents.joint import JointLearner, JointLearnerOptions
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.reward import LengthPrice
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.classification import Classification
from trbert_env.tasks.span_qa import SpanQA


def config() -> BertConfig:
    return BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def classifier(seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    return BertForSequenceClassification(config()).eval()


def task_of(model: PreTrainedModel) -> Classification:
    task = Classification(max_tokens=32)
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    model.config.label2id = {"a": 0, "b": 1, "c": 2}
    task.configure(model.config)
    return task


@pytest.fixture
def texts() -> list[EncodedText]:
    random = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [(9,), (5, 7), (12,), (6,)]  # the second is read in two slices
    return [
        EncodedText(
            text_id=f"t{index}",
            input_ids=random.integers(5, 60, sum(lengths)).astype(np.int32),
            token_type_ids=np.zeros(sum(lengths), np.int32),
            sequence_lengths=lengths,
            target=random.integers(0, 3, 1),
        )
        for index, lengths in enumerate(shapes)
    ]


def by_stock(model: PreTrainedModel, texts: list[EncodedText]) -> torch.Tensor:
    """The last state of each sequence's first token, by transformers."""
    found = []
    with torch.no_grad():
        for text in texts:
            for ids in np.split(text.input_ids, np.cumsum(text.sequence_lengths)[:-1]):
                states = model.base_model(torch.as_tensor(ids[None].astype(np.int64))).last_hidden_state
                found.append(states[0, 0])
    return torch.stack(found)


def test_they_are_those_of_transformers_and_remembered_with_the_logits(
    texts: list[EncodedText], tmp_path: Path
) -> None:
    model = classifier(0)
    fresh, first, second = (Teacher(model, task_of(model)) for _ in range(3))
    logits, states = fresh.logits_and_read_states(texts)
    torch.testing.assert_close(states, by_stock(model, texts), rtol=0, atol=1e-5)
    torch.testing.assert_close(logits, fresh.logits(texts), rtol=0, atol=1e-6)

    first.remember(texts, tmp_path)  # a file of logits alone is none of both
    counts: list[int] = []
    first.remember(texts, tmp_path, counts.append, states=True)
    assert sum(counts) == len(texts)
    assert len(list(tmp_path.iterdir())) == 2
    (file,) = tmp_path.glob("*-states.safetensors")
    assert {name: tuple(values.shape) for name, values in load_file(file).items()} == {
        "logits": (5, 3),
        "states": (5, 16),
    }
    second.remember(texts, tmp_path, states=True)
    for other in (first, second):
        found = other.logits_and_read_states([texts[2], texts[1]])
        expected = fresh.logits_and_read_states([texts[2], texts[1]])
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def test_states_of_all_tokens_are_computed_each_time(texts: list[EncodedText], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BertForQuestionAnswering(config()).eval()
    teacher = Teacher(model, SpanQA(max_tokens=32))
    teacher.remember(texts[:1], tmp_path, states=True)
    (file,) = tmp_path.iterdir()
    assert list(load_file(file)) == ["logits"]
    logits, states = teacher.logits_and_read_states(texts[:1])
    assert states.shape == (9, 16)
    assert logits.equal(teacher.logits(texts[:1]))


def test_a_learner_learns_the_same_from_what_is_remembered(texts: list[EncodedText], tmp_path: Path) -> None:
    own, other = classifier(0), classifier(1)
    staged = StagedModel(own, task_of(own))
    options = JointLearnerOptions(distillation=0.5, states_weight=2.0)
    losses = []
    for remembers in (False, True):
        teacher = Teacher(other, task_of(other))
        if remembers:
            teacher.remember(texts, tmp_path, states=True)
        learner = JointLearner(staged, None, options, teacher, LengthPrice(0.0, "tokens", staged.cost))
        _, loss, metrics = learner.loss(texts, 0.0)
        losses.append(loss.detach())
        distance = mse_loss(by_stock(own, texts), by_stock(other, texts))
        assert metrics["losses/state_distance"] == pytest.approx(float(distance), rel=1e-4)
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-5)


def pooling(pooled: str, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    special = {f"{role}_token_id": 0 for role in ("pad", "bos", "eos", "cls", "sep")}
    config = ModernBertConfig(vocab_size=60, num_labels=3, classifier_pooling=pooled, **sizes, **special)
    return ModernBertForSequenceClassification(config).eval()


@pytest.mark.parametrize(("theirs", "ours"), [("mean", "cls"), ("cls", "mean")])
def test_a_teacher_that_pools_otherwise_has_no_states_to_learn(theirs: str, ours: str) -> None:
    own, other = pooling(ours), pooling(theirs)
    staged, teacher = StagedModel(own, task_of(own)), Teacher(other, task_of(other))
    price = LengthPrice(0.0, "tokens", staged.cost)
    JointLearner(staged, None, JointLearnerOptions(distillation=0.5), teacher, price)
    with pytest.raises(ValueError, match=r"^the teacher's head reads (all|first) tokens, the encoder's (all|first)"):
        JointLearner(staged, None, JointLearnerOptions(distillation=0.5, states_weight=1.0), teacher, price)


def test_a_head_of_means_over_tokens_learns_from_the_states_of_all(texts: list[EncodedText], tmp_path: Path) -> None:
    own, other = pooling("mean"), pooling("mean", seed=1)
    teacher, staged = Teacher(other, task_of(other)), StagedModel(own, task_of(own))
    teacher.remember(texts, tmp_path, states=True)
    logits, states = teacher.logits_and_read_states(texts)
    assert (len(logits), len(states)) == (5, 39)
    options = JointLearnerOptions(distillation=0.5, states_weight=2.0)
    _, _, metrics = JointLearner(staged, None, options, teacher, LengthPrice(0.0, "tokens", staged.cost)).loss(texts, 0)
    with torch.no_grad():
        found = staged.encoder.run_unreduced(TextBatch.from_texts(texts)).states
    assert metrics["losses/state_distance"] == pytest.approx(float(mse_loss(found, states)), rel=1e-4)
