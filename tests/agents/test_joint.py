"""A joint step against one that is written out by hand, token by token, on stock layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import BertConfig, BertForQuestionAnswering

from agents.base import AgentSpec, Rollout
from agents.distillation import Teacher
from agents.joint import JointLearner, JointLearnerOptions, scale_gradient
from agents.learning import warmup_decay
from agents.reinforce import Reinforce, ReinforceOptions
from trbert_env.data.workload import Workload
from trbert_env.envs.reward import LengthPrice
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.staged_model import StagedModel

SAMPLES, LENGTHS, PRICE = 4, (6, 9, 5), 0.02
MakeLearner = Callable[..., JointLearner]


@pytest.fixture
def workload(make_workload: Any) -> Workload:
    found: Workload = make_workload(LENGTHS)
    return found


@pytest.fixture
def teacher(tiny_bert: BertForQuestionAnswering) -> BertForQuestionAnswering:
    """A model that differs from the student."""
    model = copy.deepcopy(tiny_bert)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def make_learner(tiny_bert: BertForQuestionAnswering, teacher: BertForQuestionAnswering, workload: Workload) -> Any:
    def make(agent_options: dict[str, Any] | None = None, reduce: bool = True, **options: Any) -> JointLearner:
        model = copy.deepcopy(tiny_bert)
        settings = {"sampler": "bernoulli", "imitation_fraction": 0.0, "overlap": False, **(agent_options or {})}
        spec = AgentSpec(model.config.hidden_size, 2, workload.task.max_text_tokens, SAMPLES, 1, "cpu")
        agent = Reinforce(spec, ReinforceOptions(**settings))
        offsets = ExitOffsets(2, 2, 16)
        offsets.offsets.data = torch.tensor([[-0.5, -0.3], [-0.2, 0.1], [0.4, 0.2]])
        offsets.weights.data.normal_(std=0.1, generator=torch.Generator().manual_seed(7))
        staged = StagedModel(model, workload.task, (2, 3), offsets, agent.policy.flops_per_token)
        return JointLearner(
            staged,
            agent if reduce else None,
            JointLearnerOptions(**options),
            Teacher(teacher, workload.task),
            LengthPrice(PRICE, "tokens", staged.cost),
        )

    return make


def by_hand(learner: JointLearner, teacher: Any, workload: Workload, rollout: Rollout) -> Tensor:
    """The loss of a step whose masks are known."""
    options, model = learner.options, learner.staged.model
    layers, agent = model.base_model.encoder.layer, learner.agent
    assert isinstance(agent, Reinforce)
    golds, distances, returns, log_probabilities = [], [], [], []
    squares = list[Tensor]()
    for row in range(len(LENGTHS) * SAMPLES):
        text = workload.texts[row // SAMPLES]
        ids = torch.from_numpy(text.input_ids.astype("int64"))[None]
        states = layers[0](model.base_model.embeddings(ids))
        places = torch.arange(len(text))
        final: list[Tensor | None] = [None] * len(text)
        offsets = torch.zeros(len(text), 2)
        log_probability, price = torch.zeros(()), 0.0
        for reduction in range(2):
            seen = states[0].detach() if options.policy_weight == 0.0 else states[0]
            logits = agent.policy(seen, reduction)
            kept = rollout.observations[reduction].pad(rollout.actions[reduction])[row][places]
            for index, place in enumerate(places.tolist()):
                if place:
                    log_probability = log_probability + logsigmoid(logits[index] if kept[index] else -logits[index])
                if not kept[index]:
                    final[place] = states[0, index]
                    read_out = learner.staged.exit_offsets.weights[reduction]
                    normalised = torch.nn.functional.layer_norm(states[0, index], (16,))
                    offsets[place] = learner.staged.exit_offsets.offsets[reduction] + read_out @ normalised
            price += PRICE * int(kept.sum())
            states, places = states[:, kept], places[kept]
            for layer in layers[reduction + 1 : reduction + 2] if reduction == 0 else layers[2:]:
                states = layer(states)
        for index, place in enumerate(places.tolist()):
            final[place] = states[0, index]
        skipped = sum(place not in places.tolist() for place in range(len(text))) / len(text)
        offsets[0] = skipped * learner.staged.exit_offsets.offsets[2]
        logits = model.qa_outputs(torch.stack(final)) + offsets  # type: ignore[arg-type]
        log_p = logits.log_softmax(0)
        gold = (log_p[text.target[0, 0], 0] + log_p[text.target[0, 1], 1]) / 2
        with torch.no_grad():
            outputs = teacher(ids)
            log_q = torch.stack([outputs.start_logits[0], outputs.end_logits[0]], -1).log_softmax(0)
            taught = teacher.base_model(ids).last_hidden_state[0]
        squares.extend((states[0, index] - taught[place]) ** 2 for index, place in enumerate(places.tolist()))
        distance = (log_q.exp() * (log_q - log_p)).sum() / 2
        golds.append(gold)
        distances.append(distance)
        returns.append((gold if options.reward == "likelihood" else -distance).detach() - price)
        log_probabilities.append(log_probability)
    grouped = torch.stack(returns).view(-1, SAMPLES)
    advantages = (grouped - grouped.mean(1, keepdim=True)).flatten()
    policy_loss = -(advantages * torch.stack(log_probabilities)).mean()
    share = options.distillation
    loss = (1 - share) * -torch.stack(golds).mean() + share * torch.stack(distances).mean() + policy_loss
    return loss + options.states_weight * torch.stack(squares).mean()


def parameters_of(learner: JointLearner) -> list[Tensor]:
    assert isinstance(learner.agent, Reinforce)
    # The pooler has no part in question answering, and the gradient of key biases is 0 but for rounding.
    names = [name for name, _ in learner.staged.model.named_parameters() if "key.bias" not in name]
    found = dict(learner.staged.model.named_parameters())
    offsets = learner.staged.exit_offsets
    return [*(found[name] for name in names), *learner.agent.policy.parameters(), offsets.offsets, offsets.weights]


@pytest.mark.parametrize("reward", ["likelihood", "distillation"])
@pytest.mark.parametrize("policy_weight", [0.0, 1.0])
@pytest.mark.parametrize("distillation", [0.0, 0.3, 1.0])
def test_the_loss_and_its_gradients_are_those_worked_out_by_hand(
    make_learner: MakeLearner, teacher: Any, workload: Workload, reward: Any, policy_weight: float, distillation: float
) -> None:
    learner = make_learner(reward=reward, policy_weight=policy_weight, distillation=distillation)
    rollout, loss, _ = learner.loss(list(workload.texts), 0.0)
    parameters = parameters_of(learner)
    ours = torch.autograd.grad(loss, parameters)
    expected = by_hand(learner, teacher, workload, rollout)
    theirs = torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=2e-5)
    kept = torch.stack([mask.sum() for mask in rollout.actions])
    assert int(kept[1]) < int(kept[0]) < SAMPLES * sum(LENGTHS)  # something was skipped at each reduction


def test_the_distance_of_states_is_the_one_worked_out_by_hand(
    make_learner: MakeLearner, teacher: Any, workload: Workload
) -> None:
    learner = make_learner(distillation=0.3, states_weight=2.0)
    rollout, loss, metrics = learner.loss(list(workload.texts), 0.0)
    expected = by_hand(learner, teacher, workload, rollout)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)
    assert metrics["losses/state_distance"] > 0.01
    parameters = parameters_of(learner)
    pairs = zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True)
    for mine, reference in pairs:
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=5e-5)


def test_states_of_a_teacher_of_another_size_are_refused(make_learner: MakeLearner, workload: Workload) -> None:
    config = BertConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, vocab_size=60)
    learner = make_learner()
    with pytest.raises(ValueError, match="the teacher's states have 24 numbers, the encoder's 16"):
        JointLearner(
            learner.staged,
            learner.agent,
            JointLearnerOptions(states_weight=1.0),
            Teacher(BertForQuestionAnswering(config), workload.task),
            learner.price,
        )


def test_tokens_that_stopped_teach_the_first_layer(make_learner: MakeLearner, workload: Workload) -> None:
    """With everything but [CLS] skipped at once, later layers see [CLS] only, and the first still learns of all."""
    learner = make_learner(distillation=0.0)
    assert isinstance(learner.agent, Reinforce)
    for head in learner.agent.policy.heads:
        head[-1].bias.data.fill_(-50.0)  # type: ignore[index, union-attr]
    _, loss, figures = learner.loss(list(workload.texts), 0.0)
    loss.backward()
    embeddings = learner.staged.model.base_model.get_input_embeddings().weight.grad  # type: ignore[operator]
    for text in workload.texts:
        for token in text.input_ids[1:].tolist():
            assert embeddings[token].abs().sum() > 0
    assert figures["charts/kept_fraction_1"] == pytest.approx(len(LENGTHS) / sum(LENGTHS))


def test_without_an_agent_nothing_is_skipped(make_learner: MakeLearner, teacher: Any, workload: Workload) -> None:
    learner = make_learner(reduce=False, distillation=0.0)
    _, loss, figures = learner.loss(list(workload.texts), 0.0)
    golds = []
    for text in workload.texts:
        outputs = learner.staged.model(torch.from_numpy(text.input_ids.astype("int64"))[None])
        log_p = torch.stack([outputs.start_logits[0], outputs.end_logits[0]], -1).log_softmax(0)
        golds.append((log_p[text.target[0, 0], 0] + log_p[text.target[0, 1], 1]) / 2)
    torch.testing.assert_close(loss, -torch.stack(golds).mean(), rtol=0, atol=1e-5)
    assert figures["charts/kept_fraction_2"] == 1.0


def test_parts_of_a_batch_are_averaged(make_learner: MakeLearner, workload: Workload) -> None:
    """Where the masks are fixed, two parts give the step that one batch gives."""
    gradients = []
    for accumulate in (False, True):
        learner = make_learner(distillation=0.0, max_encoder_norm=1e9)
        assert isinstance(learner.agent, Reinforce)
        for head in learner.agent.policy.heads:
            head[-1].weight.data *= 1e6  # type: ignore[index, operator, union-attr]
        texts = [workload.texts[0], workload.texts[1]]
        learner.step([[text] for text in texts] if accumulate else [texts], (0.5, 0.6))
        gradients.append([parameter.grad for parameter in learner.staged.model.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5)


def test_a_step_lowers_the_loss(make_learner: MakeLearner, workload: Workload) -> None:
    learner = make_learner(encoder_rate=2e-3, warmup=0.0)
    figures = [learner.step([list(workload.texts)], (step / 60, (step + 1) / 60)) for step in range(60)]
    losses = [figure["losses/task_loss"] for figure in figures]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert figures[0].keys() >= {
        "losses/distillation_loss",
        "losses/policy_loss",
        "charts/flops_speedup",
        "charts/learning_rate",
    }


def test_goes_on_bit_for_bit(make_learner: MakeLearner, workload: Workload, equal: Any) -> None:
    parts = [list(workload.texts)]
    whole = make_learner()
    whole.step(parts, (0.0, 0.3))
    saved = copy.deepcopy(whole.state_dict())
    whole.step(parts, (0.3, 0.6))
    resumed = make_learner()
    resumed.load_state_dict(saved)
    resumed.step(parts, (0.3, 0.6))
    assert equal(resumed.state_dict(), whole.state_dict())


def test_a_teacher_remembers(teacher: Any, workload: Workload, tmp_path: Path) -> None:
    fresh = Teacher(teacher, workload.task)
    expected = fresh.logits(workload.texts[1:])
    counts: list[int] = []
    first, second = Teacher(teacher, workload.task), Teacher(teacher, workload.task)
    first.remember(workload.texts, tmp_path, counts.append)
    second.remember(workload.texts, tmp_path, counts.append)
    assert counts == [len(LENGTHS)] * 2
    (file,) = tmp_path.iterdir()  # the second read what the first wrote
    assert second.logits(workload.texts).equal(first.logits(workload.texts))
    torch.testing.assert_close(second.logits(workload.texts[1:]), expected, rtol=0, atol=1e-5)
    everything = second.logits(workload.texts)
    before = next(teacher.parameters()).data.clone()
    next(teacher.parameters()).data += 0.1
    third = Teacher(teacher, workload.task)
    third.remember(workload.texts, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # other weights, other logits
    assert not third.logits(workload.texts).equal(second.logits(workload.texts))
    other = copy.deepcopy(teacher)
    other.config.layer_norm_eps = 0.5  # weights alone do not tell it apart
    Teacher(other, workload.task).remember(workload.texts, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    file.write_bytes(file.read_bytes()[:-9])
    next(teacher.parameters()).data = before
    fourth = Teacher(teacher, workload.task)
    with pytest.warns(UserWarning, match="damaged"):
        fourth.remember(workload.texts, tmp_path)
    torch.testing.assert_close(fourth.logits(workload.texts), everything, rtol=0, atol=1e-5)


NAN_AT_THE_END = lambda logits: torch.cat([logits[:-1], torch.full_like(logits[-1:], float("nan"))])  # noqa: E731


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda logits: {}, "no logits"),
        (lambda logits: {"other": logits}, "no logits"),
        (lambda logits: {"logits": logits[:-1]}, "shape"),
        (lambda logits: {"logits": logits[:, :1]}, "shape"),
        (lambda logits: {"logits": NAN_AT_THE_END(logits)}, "not finite"),
    ],
)
def test_a_teachers_file_that_holds_something_else_is_computed_again(
    change: Any, reason: str, teacher: Any, workload: Workload, tmp_path: Path
) -> None:
    first = Teacher(teacher, workload.task)
    first.remember(workload.texts, tmp_path)
    expected = first.logits(workload.texts)
    (file,) = tmp_path.iterdir()
    save_file({name: values.contiguous() for name, values in change(load_file(file)["logits"]).items()}, file)
    second = Teacher(teacher, workload.task)
    with pytest.warns(UserWarning, match=f"is damaged .*{reason}.* computed again"):
        second.remember(workload.texts, tmp_path)
    assert second.logits(workload.texts).equal(expected)
    Teacher(teacher, workload.task).remember(workload.texts, tmp_path)  # whole again: no warning


def test_a_missing_teacher_is_named(tiny_bert: BertForQuestionAnswering, workload: Workload) -> None:
    staged = StagedModel(copy.deepcopy(tiny_bert), workload.task, (2, 3))
    price = LengthPrice(PRICE, "tokens", staged.cost)
    arguments = (staged, None)
    with pytest.raises(ValueError, match="needs a teacher"):
        JointLearner(*arguments, JointLearnerOptions(), None, price)
    JointLearner(*arguments, JointLearnerOptions(distillation=0.0), None, price)


@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0])
def test_scale_gradient(factor: float) -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    scaled = scale_gradient(values * 1.0, factor)
    assert scaled.tolist() == [1.0, 2.0]
    assert scaled.requires_grad == (factor > 0)
    if factor:
        scaled.sum().backward()
        assert values.grad is not None
        assert values.grad.tolist() == [factor, factor]


def test_warmup_decay() -> None:
    rates = [warmup_decay(step / 10, (step + 1) / 10, 0.2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[3:] == pytest.approx([0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert warmup_decay(0.0, 0.1, 0.0) == 1.0
