"""The per-token actor-critic: what adds to a log-probability, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer
from torch import Tensor
from torch.nn.functional import logsigmoid

import trbert_env  # noqa: F401
from agents.samplers import BudgetedSampler
from agents.sb3 import TokenActorCriticPolicy, TokenReductionVecEnv
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.reduction.policy import TokenPolicy

TWO_STEPS = (0.6, 0.3)


def make_policy(vec_env: TokenReductionVecEnv, **kwargs: Any) -> TokenActorCriticPolicy:
    torch.manual_seed(0)
    policy = TokenActorCriticPolicy(
        vec_env.observation_space,  # type: ignore[arg-type]
        vec_env.action_space,  # type: ignore[arg-type]
        lambda _: 1e-3,
        **kwargs,
    )
    for parameter in policy.parameters():  # far from its start, where all logits are nearly equal
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return policy


@pytest.fixture
def vec_env(make_env: Any) -> TokenReductionVecEnv:
    env: TokenReductionVectorEnv = make_env([6, 9, 12, 16], num_envs=4, samples_per_text=1, final_obs=True)
    return TokenReductionVecEnv(env)


def both_steps(vec_env: TokenReductionVecEnv, policy: TokenActorCriticPolicy) -> list[tuple[dict[str, Tensor], Tensor]]:
    vec_env.seed(0)
    seen, found = vec_env.reset(), []
    for _ in range(2):
        observation = {name: torch.as_tensor(values) for name, values in seen.items()}
        actions, _, _ = policy(observation)
        found.append((observation, actions))
        seen, *_ = vec_env.step(actions.numpy())
    return found


@pytest.mark.parametrize("fractions", [None, TWO_STEPS])
def test_only_choices_count(vec_env: TokenReductionVecEnv, fractions: Any) -> None:
    policy = make_policy(vec_env, keep_fractions=fractions)
    for observation, actions in both_steps(vec_env, policy):
        values, log_probability, entropy = policy.evaluate_actions(observation, actions)
        no_choice = (observation["token_mask"] == 0) | (observation["forced_tokens"] == 1)
        assert no_choice.any()
        other = torch.where(no_choice, 1 - actions, actions)
        noisy = dict(observation)
        nowhere = observation["token_mask"] == 0
        noisy["hidden_states"] = observation["hidden_states"] + 7.0 * nowhere[..., None]
        noisy["overlap"] = observation["overlap"] + 7.0 * nowhere[..., None]
        again = policy.evaluate_actions(noisy, other)
        for one, two in zip((values, log_probability, entropy), again, strict=True):
            torch.testing.assert_close(one, two)


def test_log_probability_is_the_mean_over_choices(vec_env: TokenReductionVecEnv) -> None:
    policy = make_policy(vec_env)
    for reduction, (observation, actions) in enumerate(both_steps(vec_env, policy)):
        _, log_probability, entropy = policy.evaluate_actions(observation, actions)
        for row in range(4):
            free = (observation["token_mask"][row] == 1) & (observation["forced_tokens"][row] == 0)
            logits = policy.actor(observation["hidden_states"][row][free], reduction, observation["overlap"][row][free])
            chosen = actions[row][free].bool()
            expected = logsigmoid(torch.where(chosen, logits, -logits))
            torch.testing.assert_close(log_probability[row], expected.mean() if free.any() else torch.zeros(()))
            by_torch = torch.distributions.Bernoulli(logits=logits).entropy()
            torch.testing.assert_close(entropy[row], by_torch.mean() if free.any() else torch.zeros(()))


@pytest.mark.parametrize("fractions", [None, TWO_STEPS])
def test_a_minibatch_may_mix_reductions_and_be_any_part_of_the_rows(
    vec_env: TokenReductionVecEnv, fractions: Any
) -> None:
    policy = make_policy(vec_env, keep_fractions=fractions)
    steps = both_steps(vec_env, policy)
    apart = [policy.evaluate_actions(observation, actions) for observation, actions in steps]
    joined = {name: torch.cat([observation[name] for observation, _ in steps]) for name in steps[0][0]}
    actions = torch.cat([actions for _, actions in steps])
    rows = torch.tensor([6, 1, 3, 4])
    mixed = policy.evaluate_actions({name: values[rows] for name, values in joined.items()}, actions[rows])
    for index in range(3):
        torch.testing.assert_close(torch.cat([found[index] for found in apart])[rows], mixed[index])


def test_ratios_are_1_before_anything_is_learned(make_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In Stable-Baselines3's own loop, where a rollout holds several episodes and minibatches mix them.

    The texts differ from episode to episode, and so does the temperature that they would have by themselves.
    """
    env = make_env([6, 7, 8, 9, 12, 16, 5, 11], num_envs=4, samples_per_text=1, final_obs=True)
    model = PPO(
        TokenActorCriticPolicy,
        TokenReductionVecEnv(env),
        n_steps=8,
        batch_size=4,
        n_epochs=1,
        learning_rate=0.0,
        gamma=1.0,
        policy_kwargs={"keep_fractions": TWO_STEPS, "exploration": 1.0},
        seed=0,
    )
    for parameter in model.policy.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape)
    policy, found, temperatures = model.policy, [], set()
    real_add, real_settle = DictRolloutBuffer.add, BudgetedSampler.settled

    def add(buffer: DictRolloutBuffer, *arguments: Any) -> None:
        found.append(arguments[-1])
        real_add(buffer, *arguments)

    def settled(sampler: BudgetedSampler, *arguments: Any) -> BudgetedSampler:
        one = real_settle(sampler, *arguments)
        temperatures.add(float(one.temperature(*arguments)))
        return one

    monkeypatch.setattr(DictRolloutBuffer, "add", add)
    monkeypatch.setattr(BudgetedSampler, "settled", settled)
    model.learn(32)
    assert min(temperatures) > 1.0  # else it would be the same for all
    assert len(temperatures) == 2  # one a reduction, for the whole rollout
    for batch in model.rollout_buffer.get(4):
        _, again, _ = policy.evaluate_actions(batch.observations, batch.actions)  # type: ignore[arg-type]
        torch.testing.assert_close(torch.exp(again - batch.old_log_prob), torch.ones(4), rtol=0, atol=1e-5)
    model.learn(32, reset_num_timesteps=False)
    assert len(temperatures) == 4  # the next rollout has its own


def test_budgets_are_kept(vec_env: TokenReductionVecEnv) -> None:
    policy = make_policy(vec_env, keep_fractions=TWO_STEPS)
    lengths = np.array([6, 9, 12, 16])
    for deterministic in (False, True):
        vec_env.seed(0)
        seen = vec_env.reset()
        order = seen["full_length"][:, 0]
        assert sorted(order) == sorted(lengths)
        for fraction in TWO_STEPS:
            actions, _ = policy.predict(seen, deterministic=deterministic)  # type: ignore[arg-type]
            kept = (actions.astype(bool) & (seen["token_mask"] == 1)).sum(1)
            np.testing.assert_array_equal(kept, np.maximum(1, np.round(fraction * order)))
            seen, *_ = vec_env.step(actions)


def test_a_saved_policy_comes_back(vec_env: TokenReductionVecEnv, tmp_path: Any) -> None:
    policy = make_policy(vec_env, keep_fractions=TWO_STEPS, policy_size=24)
    policy.save(tmp_path / "policy.zip")
    loaded = TokenActorCriticPolicy.load(tmp_path / "policy.zip")
    seen = vec_env.reset()
    one, two = (each.predict(seen, deterministic=True)[0] for each in (policy, loaded))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one, two)


def test_a_policy_around_an_actor_comes_back_too(vec_env: TokenReductionVecEnv, tmp_path: Any) -> None:
    policy = make_policy(vec_env, actor=TokenPolicy(16, 2, policy_size=24, overlap=False))
    policy.save(tmp_path / "policy.zip")
    assert TokenActorCriticPolicy.load(tmp_path / "policy.zip").critic.policy_size == 24


def test_values_begin_near_0_whatever_words_are_shared(vec_env: TokenReductionVecEnv) -> None:
    """What says where to keep says nothing of what a text is worth."""
    torch.manual_seed(0)
    spaces: Any = (vec_env.observation_space, vec_env.action_space)
    policy = TokenActorCriticPolicy(*spaces, lambda _: 1e-3)
    observation = {name: torch.as_tensor(values) for name, values in vec_env.reset().items()}
    observation["overlap"] = torch.ones_like(observation["overlap"])
    assert policy.predict_values(observation).abs().max() < 0.5


def test_small_gradients_are_not_lost_in_the_optimiser(vec_env: TokenReductionVecEnv) -> None:
    assert make_policy(vec_env).optimizer.defaults["eps"] == 1e-8


def test_noise_for_continuous_actions_is_refused(vec_env: TokenReductionVecEnv) -> None:
    with pytest.raises(ValueError, match="use_sde"):
        make_policy(vec_env, use_sde=True)


@pytest.mark.parametrize("fractions", [(50.0, 20.0), (0.2, 0.5), (0.5,)])
def test_keep_fractions_that_skip_nothing_or_do_not_fit_are_refused(
    vec_env: TokenReductionVecEnv, fractions: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="keep_fractions"):
        make_policy(vec_env, keep_fractions=fractions)


def test_the_one_row_view_is_fit_for_stable_baselines(make_env: Any) -> None:
    """``check_env`` and ``make_vec_env`` take it as they take any environment."""
    from stable_baselines3.common.env_checker import check_env
    from stable_baselines3.common.env_util import make_vec_env

    from trbert_env.envs.single_env import ONE_ROW, TokenReductionEnv

    def one_row() -> TokenReductionEnv:
        settings = EnvSettings(**ONE_ROW, reduction_layers=(2, 3))
        return TokenReductionEnv(TokenReductionVectorEnv(make_env([6, 9]).workload, settings))

    check_env(one_row(), warn=True)
    vec_env = make_vec_env(one_row, n_envs=2)
    seen = vec_env.reset()
    assert isinstance(seen, dict)
    assert seen["hidden_states"].shape[0] == 2
    _, rewards, dones, _ = vec_env.step(np.array([vec_env.action_space.sample() for _ in range(2)]))
    assert rewards.shape == dones.shape == (2,)
