"""A checker for vector environments: any that follow Gymnasium's contract, not only this project's.

Gymnasium's own ``check_env`` takes single environments only. :func:`check_vector_env` plays a few episodes and
names every rule that is broken; :data:`RULES` says what each of them asks for.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

#: What each rule asks for, in the order in which they are looked at.
RULES: dict[str, str] = {
    "spaces": "num_envs is a positive integer, and the batched spaces are those of the single ones",
    "metadata": "metadata['autoreset_mode'] is an AutoresetMode",
    "reset": "reset() returns an observation of observation_space and a dict of infos",
    "step": "step() returns five values: an observation of observation_space, rewards, two flags an environment, infos",
    "dtypes": "observations have their spaces' dtypes, rewards are floats, flags are booleans",
    "info masks": "beside every info of an environment stands a mask '_<name>' of shape (num_envs,), bool",
    "aliasing": "what was returned stays as it was when the environment goes on",
    "seeding": "the same seed and the same actions give the same observations, rewards and flags",
    "next step": "NEXT_STEP: the step after an end gives reward 0 and no flag, and infos hold no final_obs",
    "same step": "SAME_STEP: at an end, infos hold final_info and final_obs of just the environments that ended",
    "disabled": "DISABLED: reset with a reset_mask touches no other environment; stepping on after an end is refused",
    "spec": "spec goes through JSON and makes an environment of the same spaces",
    "closing": "close() sets closed, and can be called twice",
}
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """A rule that is broken.

    Attributes:
        rule: A key of :data:`RULES`.
        severity: ``"error"``, or ``"warning"`` where the contract leaves room or could not be looked at.
        message: Message that was seen.
    """

    rule: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        """Rule, what was seen, and what it asks for."""
        return f"[{self.rule}] {self.message} (rule: {RULES[self.rule]})"


class VectorEnvError(AssertionError):
    """A vector environment breaks rules; ``findings`` lists them."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(str(finding) for finding in findings))


def check_vector_env(
    env: VectorEnv[Any, Any, Any], *, steps: int = 500, seed: int = 0, check_spec: bool = True
) -> list[Finding]:
    """Check a vector environment, and close it.

    Autoreset is checked in the mode that the environment has: make one in each mode to check all three.

    Args:
        env: The environment, with numpy observations.
        steps: The most steps until some environment must have ended, for autoreset to be looked at.
        seed: Seed of resets and of the actions.
        check_spec: True to make a second environment from its spec, which may be costly.

    Returns:
        The warnings, which are also given as warnings of Python.

    Raises:
        VectorEnvError: Rules are broken; each is named.

    Example:
        >>> import gymnasium
        >>> check_vector_env(gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync"))
        []
    """
    findings = list(_Checker(env, steps, seed).run(check_spec))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise VectorEnvError(errors)
    for finding in findings:
        warnings.warn(str(finding), stacklevel=2)
    return findings


class _Checker:
    """One check; each ``_check_*`` method yields what it finds."""

    def __init__(self, env: VectorEnv[Any, Any, Any], steps: int, seed: int) -> None:
        self.env, self.steps, self.seed = env, steps, seed
        self.mode: Any = env.metadata.get("autoreset_mode")

    def run(self, check_spec: bool) -> Iterator[Finding]:
        """All rules in their order, up to the first part that is broken: what comes after would only follow from it."""
        parts = [self._check_spaces, self._check_reset, self._check_trajectory, self._check_seeding]
        parts += [self._check_autoreset, *([self._check_spec] if check_spec else [])]
        for part in parts:
            broken = False
            for finding in part():
                broken = broken or finding.severity == "error"
                yield finding
            if broken:
                break
        yield from self._check_closing()

    # -- what it says of itself ------------------------------------------------------------------------

    def _check_spaces(self) -> Iterator[Finding]:
        env = self.env
        if not isinstance(env.num_envs, (int, np.integer)) or env.num_envs < 1:
            yield Finding("spaces", "error", f"num_envs is {env.num_envs!r}")
            return
        for kind in ("observation", "action"):
            single = getattr(env, f"single_{kind}_space", None)
            batched = getattr(env, f"{kind}_space", None)
            if not isinstance(single, gymnasium.Space) or not isinstance(batched, gymnasium.Space):
                yield Finding("spaces", "error", f"single_{kind}_space is {single!r}, {kind}_space {batched!r}")
            elif batch_space(single, env.num_envs) != batched:
                yield Finding(
                    "spaces", "error", f"{kind}_space {batched} is not the batch of single_{kind}_space {single}"
                )
        if not isinstance(self.mode, AutoresetMode):
            yield Finding("metadata", "warning", f"metadata['autoreset_mode'] is {self.mode!r}")

    def _check_spec(self) -> Iterator[Finding]:
        spec = self.env.spec
        if spec is None:
            yield Finding("spec", "warning", "spec is None: the environment was not made by make_vec")
            return
        try:
            again = EnvSpec.from_json(spec.to_json())
            other = gymnasium.make_vec(again)
        except Exception as error:  # whatever it is, it is what is to be reported
            yield Finding("spec", "error", f"it cannot be made from its spec: {type(error).__name__}: {error}")
            return
        for name in ("num_envs", "single_observation_space", "single_action_space"):
            if getattr(other, name) != getattr(self.env, name):
                yield Finding("spec", "error", f"{name} is {getattr(other, name)} when made from the spec")
        other.close()

    # -- how it plays ----------------------------------------------------------------------------------

    def _check_reset(self) -> Iterator[Finding]:
        returned = self.env.reset(seed=self.seed)
        if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], dict):
            yield Finding("reset", "error", f"reset() returned {_shape_of(returned)}")
            return
        observation, infos = returned
        if not self.env.observation_space.contains(observation):
            yield Finding(
                "reset", "error", f"reset() returned an observation outside its space: {_shape_of(observation)}"
            )
        yield from self._masks(infos)

    def _check_trajectory(self) -> Iterator[Finding]:
        """A few steps: what they return, and whether earlier returns stay as they were."""
        self.env.action_space.seed(self.seed)
        observation, _ = self.env.reset(seed=self.seed)
        reported: set[str] = set()
        for _ in range(min(self.steps, 10)):
            before = copy.deepcopy(observation)
            returned = self.env.step(self.env.action_space.sample())
            if not isinstance(returned, tuple) or len(returned) != 5:
                yield Finding("step", "error", f"step() returned {_shape_of(returned)}")
                return
            if not data_equivalence(before, observation, exact=True):
                yield from _once(
                    reported, Finding("aliasing", "error", "an observation changed when step() was called")
                )
            for finding in (*self._values(*returned[:4]), *self._masks(returned[4])):
                yield from _once(reported, finding)
            observation = returned[0]
            if np.any(returned[2]) or np.any(returned[3]):
                return  # what follows depends on the mode

    def _values(self, observation: Any, rewards: Any, terminations: Any, truncations: Any) -> Iterator[Finding]:
        if not self.env.observation_space.contains(observation):
            yield Finding("step", "error", f"an observation lies outside its space: {_shape_of(observation)}")
        yield from _dtypes(self.env.observation_space, observation)
        shape = (self.env.num_envs,)
        for name, value, kind in (
            ("rewards", rewards, np.floating),
            ("terminations", terminations, np.bool_),
            ("truncations", truncations, np.bool_),
        ):
            if not isinstance(value, np.ndarray) or value.shape != shape:
                yield Finding("step", "error", f"{name} are {_shape_of(value)} instead of an array of shape {shape}")
            elif not np.issubdtype(value.dtype, kind):
                yield Finding("dtypes", "error", f"{name} are {value.dtype} instead of {kind.__name__}")

    def _masks(self, infos: dict[str, Any]) -> Iterator[Finding]:
        for name, value in infos.items():
            if isinstance(value, dict) and name != "final_obs":
                yield from self._masks(value)
            if name.startswith("_"):
                continue
            mask = infos.get(f"_{name}")
            if not isinstance(mask, np.ndarray) or mask.shape != (self.env.num_envs,) or mask.dtype != np.bool_:
                yield Finding("info masks", "error", f"infos['{name}'] has the mask {_shape_of(mask)}")

    def _check_seeding(self) -> Iterator[Finding]:
        first, second = (self._play(20) for _ in range(2))
        for step, (one, other) in enumerate(zip(first, second, strict=False)):
            if not data_equivalence(one, other, exact=True):
                yield Finding("seeding", "error", f"two runs of seed {self.seed} differ from step {step} on")
                return

    def _play(self, steps: int) -> list[Any]:
        """Observations, rewards and flags of a run, up to the first end."""
        self.env.action_space.seed(self.seed)
        observation, _ = self.env.reset(seed=self.seed)
        seen: list[Any] = [copy.deepcopy(observation)]
        for _ in range(min(self.steps, steps)):
            observation, rewards, terminations, truncations, _ = self.env.step(self.env.action_space.sample())
            seen.append(copy.deepcopy((observation, rewards, terminations, truncations)))
            if np.any(terminations | truncations):
                break
        return seen

    # -- autoreset -------------------------------------------------------------------------------------

    def _check_autoreset(self) -> Iterator[Finding]:
        rules = {AutoresetMode.SAME_STEP: self._same_step, AutoresetMode.DISABLED: self._disabled}
        rule = rules.get(self.mode, self._next_step)
        found = self._play_to_an_end()
        if found is None:
            name = rule.__name__.strip("_").replace("_", " ")
            yield Finding(name, "warning", f"nothing ended within {self.steps} steps, so autoreset was not looked at")
            return
        yield from rule(*found)

    def _play_to_an_end(self) -> tuple[Any, npt.NDArray[np.bool_], dict[str, Any]] | None:
        """Observation, which environments have ended, and infos; None where none ends."""
        self.env.action_space.seed(self.seed)
        self.env.reset(seed=self.seed)
        for _ in range(self.steps):
            observation, _, terminations, truncations, infos = self.env.step(self.env.action_space.sample())
            ended = np.asarray(terminations) | np.asarray(truncations)
            if ended.any():
                return observation, ended, infos
        return None

    def _next_step(self, observation: Any, ended: npt.NDArray[np.bool_], infos: dict[str, Any]) -> Iterator[Finding]:
        if "final_obs" in infos:
            yield Finding("next step", "error", "infos hold final_obs, though the observation is the final one")
        _, rewards, terminations, truncations, _ = self.env.step(self.env.action_space.sample())
        if np.any(np.asarray(rewards)[ended] != 0):
            yield Finding("next step", "error", f"the step after an end gave rewards {np.asarray(rewards)[ended]}")
        if np.any((np.asarray(terminations) | np.asarray(truncations))[ended]):
            yield Finding("next step", "error", "the step after an end gave a flag again")

    def _same_step(self, observation: Any, ended: npt.NDArray[np.bool_], infos: dict[str, Any]) -> Iterator[Finding]:
        severities: dict[str, Severity] = {"final_info": "error", "final_obs": "warning"}
        for name, severity in severities.items():
            if name not in infos:
                yield Finding("same step", severity, f"infos hold no {name} at an end")
                continue
            mask = infos.get(f"_{name}")
            if not isinstance(mask, np.ndarray) or not np.array_equal(mask, ended):
                yield Finding("same step", "error", f"_{name} is {mask}, where {ended} have ended")
        yield from self._final_observations(infos.get("final_obs"), ended)

    def _final_observations(self, final: Any, ended: npt.NDArray[np.bool_]) -> Iterator[Finding]:
        if final is None:
            return
        rows = final if isinstance(final, np.ndarray) and final.dtype == object else None
        if rows is None:
            fits = self.env.observation_space.contains(final)
        else:
            fits = all(self.env.single_observation_space.contains(row) for row in rows[ended])
        if not fits:
            yield Finding("same step", "error", f"final_obs lies outside its space: {_shape_of(final)}")

    def _disabled(self, observation: Any, ended: npt.NDArray[np.bool_], infos: dict[str, Any]) -> Iterator[Finding]:
        before = copy.deepcopy(observation)
        try:
            observation, _ = self.env.reset(options={"reset_mask": ended.copy()})
        except Exception as error:  # what it is, is reported
            yield Finding("disabled", "error", f"reset with a reset_mask failed: {type(error).__name__}: {error}")
            return
        if not self.env.observation_space.contains(observation):
            yield Finding("disabled", "error", "reset with a reset_mask returned an observation outside its space")
        elif not _same_rows(self.env, before, observation, ~ended):
            yield Finding("disabled", "error", "reset with a reset_mask changed environments that had not ended")
        self.env.step(self.env.action_space.sample())
        self._play_to_an_end()
        try:
            self.env.step(self.env.action_space.sample())
        except Exception:  # an assertion, a ResetNeeded: any refusal will do
            return
        yield Finding("disabled", "warning", "step() went on after an end")

    def _check_closing(self) -> Iterator[Finding]:
        env = self.env
        try:
            env.close()
            env.close()
        except Exception as error:  # what it is, is reported
            yield Finding("closing", "error", f"close() failed: {type(error).__name__}: {error}")
            return
        if not env.closed:
            yield Finding("closing", "error", "closed is False after close()")


def _once(reported: set[str], finding: Finding) -> Iterator[Finding]:
    """A finding, unless the same was made at an earlier step."""
    if finding.rule + finding.message not in reported:
        reported.add(finding.rule + finding.message)
        yield finding


def _dtypes(space: gymnasium.Space[Any], value: Any) -> Iterator[Finding]:
    """Arrays of an observation whose dtype is not their space's."""
    if isinstance(space, gymnasium.spaces.Dict) and isinstance(value, dict):
        for name, part in space.spaces.items():
            yield from _dtypes(part, value.get(name))
    elif isinstance(space, gymnasium.spaces.Tuple) and isinstance(value, tuple):
        for part, piece in zip(space.spaces, value, strict=False):
            yield from _dtypes(part, piece)
    elif isinstance(value, np.ndarray) and space.dtype is not None and value.dtype != space.dtype:
        yield Finding("dtypes", "error", f"an observation is {value.dtype}, its space {space.dtype}")


def _same_rows(env: VectorEnv[Any, Any, Any], one: Any, other: Any, rows: npt.NDArray[np.bool_]) -> bool:
    """Whether two batched observations agree in some environments."""
    first, second = (list(gymnasium.vector.utils.iterate(env.observation_space, value)) for value in (one, other))
    return all(data_equivalence(first[row], second[row], exact=True) for row in np.flatnonzero(rows))


def _shape_of(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}, {value.dtype}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shape_of(part)}" for name, part in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_shape_of(part) for part in value) + ")"
    return type(value).__name__ if value is not None else "None"
