"""Agents by their names on the command line: the project's own, and anyone's."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from agents.base import Agent, AgentSpec
from agents.grpo import Grpo
from agents.policy_agent import PolicyAgent, PolicyAgentOptions
from agents.reinforce import Reinforce
from agents.rloo import Rloo
from agents.sb3.agent import A2cAgent, PpoAgent

#: What --agent can name.
AGENTS: dict[str, type[PolicyAgent]] = {
    "reinforce": Reinforce,
    "rloo": Rloo,
    "grpo": Grpo,
    "ppo": PpoAgent,
    "a2c": A2cAgent,
}


def agent_options(name: str, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> PolicyAgentOptions:
    """The options of an agent: what all share, and its own by name.

    Raises:
        ValueError: The agent or an option is unknown, or a value is of another type.
    """
    if name not in AGENTS:
        nearest = difflib.get_close_matches(name, AGENTS, n=1)
        known_names = f"{', '.join(AGENTS)}, or package.module:Class"
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"use one of {known_names}"
        raise ValueError(f"agent {name!r} is unknown: {hint}")
    kind = AGENTS[name].options_class
    values = {field.name: getattr(shared, field.name) for field in fields(kind) if hasattr(shared, field.name)}
    known = {field.name: field for field in fields(kind) if not hasattr(shared, field.name)}
    for key, value in own.items():
        if key not in known:
            own_names = ", ".join(sorted(known)) or "none"
            raise ValueError(f"agent {name!r} has no option {key!r} of its own: it has {own_names}")
        expected = type(known[key].default)
        if expected in (int, float, bool, str) and type(value) not in (
            expected,
            *((int,) if expected is float else ()),
        ):
            raise ValueError(f"option {key!r} of agent {name!r} is {value!r}: give {expected.__name__}")
        values[key] = value
    return kind(**values)


def make_agent(name: str, spec: AgentSpec, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> Agent:
    """Make an agent by its name, or by ``package.module:Class``.

    Args:
        name: See :data:`AGENTS`.
        spec: What it is made for.
        shared: Options that all of them know; a class of one's own is not told them.
        own: Its own options.

    Raises:
        ValueError: It cannot be found or made, or is no agent.
    """
    if ":" in name:
        return _make_plug_in(name, spec, own)
    options = agent_options(name, shared, own)
    return AGENTS[name].from_spec(spec, options)


def find_plug_in(name: str) -> Any:
    """The class that ``package.module:Class`` names; the current directory is looked at too.

    Raises:
        ValueError: There is no such module or class.
    """
    module_name, _, class_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there; what it imports is not
        raise ValueError(
            f"agent {name!r}: there is no module {module_name!r}; install it, or run where it can be imported from"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"agent {name!r}: module {module_name!r} has no {class_name!r}")
    return found


def _make_plug_in(name: str, spec: AgentSpec, own: Mapping[str, Any]) -> Agent:
    kind = find_plug_in(name)
    try:
        agent = kind(spec, **own)
    except TypeError as error:
        raise ValueError(
            f"agent {name!r} could not be made ({error}): it is called as Class(spec, **options)"
        ) from error
    if not isinstance(agent, Agent):
        needed = ("act", "learn", "state_dict", "load_state_dict")
        missing = [method for method in needed if not hasattr(agent, method)]
        raise ValueError(f"agent {name!r} lacks {', '.join(missing)}: see agents.base.Agent")
    return agent
