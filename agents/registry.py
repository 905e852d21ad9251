"""Agents by their names on the command line: the project's own, and anyone's."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from agents.base import Agent, AgentSpec, Learner, NoOptions, ShippableAgent
from agents.grpo import Grpo
from agents.padded import PaddedLearner
from agents.policy_agent import PolicyAgent, PolicyAgentOptions
from agents.reinforce import Reinforce
from agents.sb3.agent import A2cAgent, PpoAgent
from trbert_env.ranges import check_ranges
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.suggestions import suggestion

#: What --agent can name.
AGENTS: dict[str, type[PolicyAgent]] = {
    "reinforce": Reinforce,
    "rloo": Reinforce,
    "grpo": Grpo,
    "ppo": PpoAgent,
    "a2c": A2cAgent,
}
#: Options that a name settles.
SETTLED: dict[str, dict[str, Any]] = {"rloo": {"baseline": "leave-one-out"}}


@runtime_checkable
class DeclaresOptions(Protocol):
    """A class of agents that says which options it has."""

    options_class: type[Any]


def agent_options(name: str, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> PolicyAgentOptions:
    """Return the options of an agent, of its own class of options.

    Args:
        name: A key of :data:`AGENTS`.
        shared: Options that all of them have.
        own: Options that this agent has beyond them, by name.

    Raises:
        ValueError: The agent or an option is unknown, or a value is of another type or out of its range.
    """
    own_option_types(name)
    options: PolicyAgentOptions = _fill(name, AGENTS[name].options_class, vars(shared) | SETTLED.get(name, {}), own)
    return options


def plug_in_options(name: str, kind: type, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> Any:
    """Return the options of a class of one's own, of its ``options_class``; :class:`NoOptions` where it has none.

    Args:
        name: ``package.module:Class``.
        kind: The class.
        shared: Options that are told where ``options_class`` derives from :class:`PolicyAgentOptions`.
        own: Its own options, by name.

    Raises:
        ValueError: An option is unknown or missing, or a value is of another type or out of its range.
    """
    options_class = kind.options_class if isinstance(kind, DeclaresOptions) else NoOptions
    if not (isinstance(options_class, type) and is_dataclass(options_class)):
        raise ValueError(f"agent {name!r} has options_class {options_class!r}: make it a dataclass")
    told = vars(shared) if issubclass(options_class, PolicyAgentOptions) else {}
    _refuse_other_defaults(name, options_class, told)
    return _fill(name, options_class, told, own)


def _refuse_other_defaults(name: str, options_class: type[Any], told: Mapping[str, Any]) -> None:
    """Refuse a default that the class gives a shared option, where that of the command line would silently replace it.

    Raises:
        ValueError: There is one.
    """
    usual = {field.name: field.default for field in fields(PolicyAgentOptions)}
    for field in fields(options_class):
        other = field.default not in (MISSING, usual.get(field.name))
        if field.name in usual and other and told.get(field.name) == usual[field.name]:
            option = "--" + field.name.replace("_", "-")
            raise ValueError(
                f"{options_class.__name__} of agent {name!r} has {field.name} {field.default!r} by default, and the "
                f"command line settles it, {usual[field.name]!r} by default: set it by {option}, or leave the field "
                "out of the class"
            )


def takes_policy_options(name: str) -> bool:
    """Return whether a plug-in is told the options that all agents with a policy of eq. 2 share."""
    kind = find_plug_in(name)
    return isinstance(kind, DeclaresOptions) and issubclass(kind.options_class, PolicyAgentOptions)


def _fill(name: str, kind: type[Any], told: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """Make options of a dataclass.

    Args:
        name: The agent's name, for errors.
        kind: The dataclass.
        told: Values of fields that are not the agent's own; others are left out.
        own: Values of its own fields.

    Raises:
        ValueError: An option is unknown or missing, or a value is of another type or out of its range.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind) if field.name not in told}
    given = {}
    for key, value in own.items():
        if key not in known:
            own_names = ", ".join(sorted(known)) or "none"
            raise ValueError(f"agent {name!r} has no option {key!r} of its own: it has {own_names}")
        try:  # as JSON, whose lists may be tuples
            given[key] = TypeAdapter(hints[key]).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise ValueError(f"option {key!r} of agent {name!r} is {value!r}: give {_type_name(hints[key])}") from error
    required = [key for key, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    if missing := [key for key in required if key not in own]:
        raise ValueError(f"agent {name!r} lacks the option {missing[0]!r}: give --agent-options {missing[0]}=VALUE")
    options = kind(**{field.name: told[field.name] for field in fields(kind) if field.name in told}, **given)
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
    shared = {field.name for field in fields(PolicyAgentOptions)} | SETTLED.get(name, {}).keys()
    hints = get_type_hints(AGENTS[name].options_class)
    return {field.name: hints[field.name] for field in fields(AGENTS[name].options_class) if field.name not in shared}


def _type_name(hint: Any) -> str:
    """Return the values that an option takes, for an error: ``float``, or the choices."""
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return str(hint) if get_args(hint) else str(getattr(hint, "__name__", hint))


def make_agent(name: str, spec: AgentSpec, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> Learner:
    """Make an agent by its name, or by ``package.module:Class``.

    Args:
        name: See :data:`AGENTS`.
        spec: Environment that it is made for.
        shared: Options that all of them know.
        own: Its own options.

    Raises:
        ValueError: It cannot be found or made, or is no agent.
    """
    if ":" in name:
        return _make_plug_in(name, spec, shared, own)
    return AGENTS[name](spec, agent_options(name, shared, own))


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
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        raise ValueError(
            f"agent {name!r}: there is no module {module_name!r}; install it, or run where it can be imported from"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"agent {name!r}: module {module_name!r} has no {class_name!r}")
    return found


def check_plug_in(name: str, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> None:
    """Refuse, without making one, what :func:`make_agent` could only refuse once data and encoder are loaded.

    Args:
        name: ``package.module:Class``.
        shared: Options that all agents with a policy of eq. 2 know.
        own: Its own options.

    Raises:
        ValueError: It cannot be found, is no class of agents, or takes no such options.
    """
    kind = find_plug_in(name)
    if not callable(kind):
        raise ValueError(f"agent {name!r} is of type {type(kind).__name__}: give a class, made by Class(spec, options)")
    _check_methods(name, kind)
    plug_in_options(name, kind, shared, own)
    try:
        signature = inspect.signature(kind)
    except ValueError:  # written in C; making it tells
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise _not_made(name, error) from error
    _check_act(name, kind)


def _check_act(name: str, kind: Any) -> None:
    """Refuse a class whose ``act`` is not called as that of agents is.

    Raises:
        ValueError: It takes other arguments.
    """
    act = getattr(kind, "act", None)
    if not inspect.isclass(kind) or not inspect.isfunction(act):
        return
    packed = issubclass(kind, Agent)
    try:
        inspect.signature(act).bind(None, None, *(() if packed else (None,)), deterministic=False)
    except TypeError as error:
        given = "observation" if packed else "observation, infos"
        raise ValueError(
            f"act() of agent {name!r} cannot be called ({error}): define act(self, {given}, *, deterministic=False)"
        ) from error


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


def _make_plug_in(name: str, spec: AgentSpec, shared: PolicyAgentOptions, own: Mapping[str, Any]) -> Learner:
    kind = find_plug_in(name)
    options = plug_in_options(name, kind, shared, own)
    try:
        agent = kind(spec, options)
    except TypeError as error:
        raise _not_made(name, error) from error
    _check_methods(name, agent)
    _check_shippable(name, agent)
    return agent if isinstance(agent, Agent) else PaddedLearner(agent)


def _check_shippable(name: str, agent: object) -> None:
    """Refuse an agent that looks as if it ended in a model to ship, and could not.

    Raises:
        ValueError: Its ``policy`` or ``decision`` is of another type than a model to ship has.
    """
    if not isinstance(agent, ShippableAgent):
        return
    for attribute, found, wanted in (
        ("policy", agent.policy, TokenPolicy),
        ("decision", agent.decision, DecisionRule),
    ):
        if not isinstance(found, wanted):
            raise ValueError(
                f"agent {name!r} has policy and decision, as what is shipped has, but {attribute} is of type "
                f"{type(found).__name__}: make it a {wanted.__name__}, or call it otherwise"
            )


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
    return ValueError(f"agent {name!r} could not be made ({error}): it is made by Class(spec, options)")
