"""The checker passes what keeps the rules, and names each rule that is broken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from trbert_env.testing.vector_env_checker import RULES, Finding, VectorEnvError, check_vector_env

MODES = list(AutoresetMode)
MakeEnv = Callable[..., VectorEnv[Any, Any, Any]]


def cart_poles(mode: AutoresetMode, kind: Any = SyncVectorEnv, **options: Any) -> VectorEnv[Any, Any, Any]:
    found: VectorEnv[Any, Any, Any] = kind(
        [lambda: gymnasium.make("CartPole-v1") for _ in range(3)], autoreset_mode=mode, **options
    )
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
def test_gymnasiums_own_pass(mode: AutoresetMode, kind: Any) -> None:
    with pytest.warns(UserWarning, match=r"\[spec\] spec is None"):
        findings = check_vector_env(cart_poles(mode, kind))
    lax = kind is AsyncVectorEnv and mode is AutoresetMode.DISABLED  # its workers do not know that they have ended
    assert [finding.rule for finding in findings] == (["disabled", "spec"] if lax else ["spec"])


def test_made_by_its_id_it_passes_without_a_word() -> None:
    assert check_vector_env(gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")) == []


def test_a_true_defect_of_gymnasium_is_found() -> None:
    """CartPoleVectorEnv overrides close(), and forgets to say that it is closed (gymnasium 1.4)."""
    env = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point")
    with pytest.raises(VectorEnvError) as caught:
        check_vector_env(env)
    assert [finding.rule for finding in caught.value.findings] == ["closing"]


def test_spaces_of_several_parts() -> None:
    class Parts(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Dict(
            {"a": gymnasium.spaces.Box(-1, 1, (2,)), "b": gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(3)])}
        )
        action_space = gymnasium.spaces.MultiBinary(2)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            return self.observe(), {}

        def step(self, action: Any) -> Any:
            return self.observe(), 1.0, bool(self.np_random.random() < 0.3), False, {"noise": 0.5}

        def observe(self) -> Any:
            first = self.np_random.uniform(-1, 1, 2).astype(np.float32)
            return {"a": first, "b": (np.int64(self.np_random.integers(3)),)}

    for mode in MODES:
        assert check_vector_env(SyncVectorEnv([Parts, Parts], autoreset_mode=mode), check_spec=False) == []


@pytest.mark.parametrize("mode", MODES)
def test_the_environment_of_this_project_passes(mode: AutoresetMode, make_env: MakeEnv) -> None:
    env = make_env(autoreset_mode=mode.value, final_obs=mode is AutoresetMode.SAME_STEP)
    assert check_vector_env(env, check_spec=False) == []


def test_a_missing_final_observation_is_a_warning(make_env: MakeEnv) -> None:
    with pytest.warns(UserWarning, match="final_obs"):
        (finding,) = check_vector_env(make_env(), check_spec=False)
    assert (finding.rule, finding.severity) == ("same step", "warning")


class Broken(SyncVectorEnv):
    """Three cart poles that break one rule."""

    def __init__(self, rule: str, mode: AutoresetMode) -> None:
        self.rule = rule
        super().__init__(
            [lambda: gymnasium.make("CartPole-v1") for _ in range(3)], autoreset_mode=mode, copy=rule != "aliasing"
        )
        self.steps = 0
        if rule == "spaces":
            self.observation_space = self.single_observation_space
        if rule == "metadata":
            self.metadata = {**self.metadata, "autoreset_mode": "whenever"}
        if rule == "spec":
            self.spec = copy.deepcopy(gymnasium.spec("CartPole-v1"))
            self.spec.entry_point = "nowhere:Nothing"
            self.spec.vector_entry_point = None

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if self.rule == "seeding":
            seed = None
        if self.rule == "disabled" and options:
            options = {"reset_mask": np.ones(3, dtype=np.bool_)}
        observation, infos = super().reset(seed=seed, options=options)
        if self.rule == "reset":
            return observation
        return observation, infos

    def step(self, actions: Any) -> Any:
        observation, rewards, terminations, truncations, infos = super().step(actions)
        if self.rule == "step":
            return observation, rewards[:2], terminations, truncations, infos
        if self.rule == "dtypes":
            observation = observation.astype(np.float16)
        if self.rule == "info masks":
            infos["speed"] = np.ones(3)
        if self.rule == "next step":
            rewards = np.ones(3)
        if self.rule == "same step":
            infos.pop("final_info", None)
        return observation, rewards, terminations, truncations, infos

    def close(self, **kwargs: Any) -> None:
        if self.rule == "closing":
            return
        super().close(**kwargs)


@pytest.mark.parametrize("rule", RULES)
def test_each_broken_rule_is_named(rule: str) -> None:
    modes = {"same step": AutoresetMode.SAME_STEP, "disabled": AutoresetMode.DISABLED}
    env = Broken(rule, modes.get(rule, AutoresetMode.NEXT_STEP))
    if rule == "metadata":
        with pytest.warns(UserWarning, match=r"\[metadata\] .*'whenever'"):
            check_vector_env(env, check_spec=False)
        return
    with pytest.raises(VectorEnvError) as caught:
        check_vector_env(env, check_spec=rule == "spec")
    assert {finding.rule for finding in caught.value.findings} == {rule}
    assert RULES[rule] in str(caught.value)


def test_going_on_after_an_end_is_said() -> None:
    class GoesOn(SyncVectorEnv):
        def step(self, actions: Any) -> Any:
            self._autoreset_envs[:] = False
            return super().step(actions)

    env = GoesOn([lambda: gymnasium.make("CartPole-v1")], autoreset_mode=AutoresetMode.DISABLED)
    with pytest.warns(UserWarning, match=r"\[disabled\] step\(\) went on"):
        check_vector_env(env, check_spec=False)


def test_an_episode_without_an_end_is_said() -> None:
    with pytest.warns(UserWarning, match="nothing ended within 2 steps"):
        check_vector_env(cart_poles(AutoresetMode.NEXT_STEP), steps=2, check_spec=False)


def test_torch_tensors_are_named(make_env: MakeEnv) -> None:
    with pytest.raises(VectorEnvError, match=r"\[reset\] .*outside its space"):
        check_vector_env(make_env(array_type="torch"), check_spec=False)


def test_a_finding_speaks_for_itself() -> None:
    assert str(Finding("closing", "error", "closed is False")) == (
        f"[closing] closed is False (rule: {RULES['closing']})"
    )
