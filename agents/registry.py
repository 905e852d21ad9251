"""The project's own policy gradients, by their names on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from agents.grpo import Grpo, GrpoOptions
from agents.policy_gradient import PolicyGradient, PolicyGradientOptions
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rloo import Rloo

#: Name -> agent and the options that it can be told.
POLICY_GRADIENTS: dict[str, tuple[type[Any], type[PolicyGradientOptions]]] = {
    "reinforce": (Reinforce, ReinforceOptions),
    "rloo": (Rloo, ReinforceOptions),
    "grpo": (Grpo, GrpoOptions),
}


def agent_options(name: str, shared: PolicyGradientOptions, own: Mapping[str, Any]) -> PolicyGradientOptions:
    """The options of an agent: what all share, and its own by name.

    Raises:
        ValueError: The agent or an option is unknown, or a value is of another type.
    """
    if name not in POLICY_GRADIENTS:
        nearest = difflib.get_close_matches(name, POLICY_GRADIENTS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"use one of {', '.join(POLICY_GRADIENTS)}"
        raise ValueError(f"agent {name!r} is unknown: {hint}")
    kind = POLICY_GRADIENTS[name][1]
    known = {field.name: field for field in fields(kind)}
    values = {key: getattr(shared, key) for key in known if hasattr(shared, key)}
    for key, value in own.items():
        if key not in known:
            raise ValueError(f"agent {name!r} has no option {key!r}: it has {', '.join(sorted(known))}")
        expected = type(known[key].default)
        if expected in (int, float, bool, str) and type(value) not in (
            expected,
            *((int,) if expected is float else ()),
        ):
            raise ValueError(f"option {key!r} of agent {name!r} is {value!r}: give {expected.__name__}")
        values[key] = value
    return kind(**values)


def make_policy_gradient(
    name: str,
    hidden_size: int,
    num_reductions: int,
    samples_per_text: int,
    options: PolicyGradientOptions,
    seed: int,
    device: torch.device | str,
) -> PolicyGradient:
    """Make an agent with the options of :func:`agent_options`.

    Raises:
        ValueError: Options that do not fit.
    """
    agent: PolicyGradient = POLICY_GRADIENTS[name][0](
        hidden_size, num_reductions, samples_per_text, options, seed, device
    )
    return agent
