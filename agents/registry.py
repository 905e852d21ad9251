"""Agents by their names on the command line: the project's own, and anyone's."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from agents.base import Agent, AgentSpec
from agents.grpo import Grpo
from agents.policy_agent import PolicyAgent, PolicyAgentOptions
from agents.reinforce import Reinforce
from agents.rloo import Rloo
from agents.sb3.agent import A2cAgent, PpoAgent
from trbert_env.ranges import check_ranges
from trbert_env.suggestions import suggestion

#: What --agent can name.
AGENTS: dict[str, type[PolicyAgent]] = {
    "reinforce": Reinforce,
    "rloo": Rloo,
    "grpo": Grpo,
    "ppo": PpoAgent,
    "a2c": A2cAgent,
}


def agent_options(name: str, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> PolicyAgentOptions:
    """Return the options of an agent, of its own class of options.

    Args:
        name: A key of :data:`AGENTS`.
        shared: Options that all of them have.
        own: Options that this agent has beyond them, by name.

    Raises:
        ValueError: The agent or an option is unknown, or a value is of another type or out of its range.
    """
    known = own_option_types(name)
    for key, value in own.items():
        if key not in known:
            own_names = ", ".join(sorted(known)) or "none"
            raise ValueError(f"agent {name!r} has no option {key!r} of its own: it has {own_names}")
        try:
            TypeAdapter(known[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise ValueError(f"option {key!r} of agent {name!r} is {value!r}: give {_type_name(known[key])}") from error
    values = {field.name: getattr(shared, field.name) for field in fields(PolicyAgentOptions)}
    options = AGENTS[name].options_class(**values, **own)
    check_ranges(options, lambda field: f"option {field!r} of agent {name!r}")
    return options


def own_option_types(name: str) -> dict[str, Any]:
    """Return the options that one agent has beyond those of all, with their types.

    Raises:
        ValueError: The agent is unknown.
    """
    if name not in AGENTS:
        known_names = f"{', '.join(AGENTS)}, or package.module:Class"
        raise ValueError(f"agent {name!r} is unknown: {suggestion(name, AGENTS, f'use one of {known_names}')}")
    shared = {field.name for field in fields(PolicyAgentOptions)}
    hints = get_type_hints(AGENTS[name].options_class)
    return {field.name: hints[field.name] for field in fields(AGENTS[name].options_class) if field.name not in shared}


def _type_name(hint: Any) -> str:
    """Return the values that an option takes, for an error: ``float``, or the choices."""
    return " or ".join(map(repr, get_args(hint))) or str(getattr(hint, "__name__", hint))


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
    """Return the class that ``package.module:Class`` names; the current directory is looked at too.

    A run folder is data: nothing in one is ever imported, whoever names it.

    Raises:
        ValueError: There is no such module or class, or it lies in a run folder.
    """
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise ValueError(f"agent {name!r} names no class: give package.module:Class")
    if str(Path.cwd()) not in sys.path and _run_folder_of(Path.cwd()) is None:
        sys.path.append(str(Path.cwd()))
    _refuse_run_folders(name, module_name)
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


def check_plug_in(name: str, own: Mapping[str, Any]) -> None:
    """Refuse, without making one, what :func:`make_agent` could only refuse once data and encoder are loaded.

    Args:
        name: ``package.module:Class``.
        own: What it is to be told.

    Raises:
        ValueError: It cannot be found, is no class of agents, or takes no such options.
    """
    kind = find_plug_in(name)
    if not callable(kind):
        raise ValueError(f"agent {name!r} is of type {type(kind).__name__}: it is called as Class(spec, **options)")
    if isinstance(kind, type):
        _check_methods(name, kind)
    try:
        signature = inspect.signature(kind)
    except ValueError:  # written in C; making it tells
        return
    try:
        signature.bind(None, **own)
    except TypeError as error:
        raise _not_made(name, error) from error


def _refuse_run_folders(name: str, module_name: str) -> None:
    """Look for a module, package by package, without running any of it.

    Raises:
        ValueError: It would be imported from a run folder.
    """
    importlib.invalidate_caches()
    path: Sequence[str] | None = None
    parts = module_name.split(".")
    for count in range(1, len(parts) + 1):
        full_name = ".".join(parts[:count])
        if full_name in sys.modules:  # what lies in it may not be imported yet
            path = list(getattr(sys.modules[full_name], "__path__", []))
            continue
        spec = PathFinder.find_spec(full_name, path)
        if spec is None:  # installed in another way, or not there: importing it tells
            return
        path = list(spec.submodule_search_locations or [])
        for place in [*path, *([spec.origin] if spec.has_location and spec.origin else [])]:
            run = _run_folder_of(Path(place))
            if run is not None:
                raise ValueError(
                    f"agent {name!r} would be imported from the run folder {run}, and nothing there ever is: "
                    "start the command where the module lies, outside of the run"
                )


def _run_folder_of(place: Path) -> Path | None:
    """The run folder that a place is or lies in: one whose ``config.json`` has a run's options."""
    resolved = place.resolve()
    for folder in (resolved, *resolved.parents):
        try:
            content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # none there, or none of ours
            continue
        if isinstance(content, dict) and isinstance(content.get("options"), dict):
            return folder
    return None


def _make_plug_in(name: str, spec: AgentSpec, own: Mapping[str, Any]) -> Agent:
    kind = find_plug_in(name)
    try:
        agent = kind(spec, **own)
    except TypeError as error:
        raise _not_made(name, error) from error
    if not isinstance(agent, Agent):
        _check_methods(name, agent)
    return cast(Agent, agent)


def _check_methods(name: str, found: Any) -> None:
    """Refuse a class or an object that lacks what every agent does.

    Raises:
        ValueError: It is one; the message names what is missing.
    """
    needed = ("act", "learn", "state_dict", "load_state_dict")
    missing = [method for method in needed if not hasattr(found, method)]
    if missing:
        raise ValueError(f"agent {name!r} lacks {', '.join(missing)}: see agents.base.Agent")


def _not_made(name: str, error: TypeError) -> ValueError:
    return ValueError(f"agent {name!r} could not be made ({error}): it is called as Class(spec, **options)")
