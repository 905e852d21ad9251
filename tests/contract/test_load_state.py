"""A state that cannot be gone on with is refused, and the environment goes on as if nothing had been loaded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

State = dict[str, Any]
Change = Callable[[State], Any]


def without(name: str) -> Change:
    return lambda state: state.pop(name)


def put(name: str, value: Any) -> Change:
    return lambda state: state.__setitem__(name, value)


CHANGES: dict[str, Change] = {
    **{f"no {name}": without(name) for name in ("rows", "num_texts", "order", "generator", "indices", "row_valid")},
    **{f"no {name}": without(name) for name in ("masks", "length_penalty", "reduction_layers")},
    "other rows": put("rows", [8, 2]),
    "other texts": put("num_texts", 99),
    "other cuts": put("reduction_layers", [2, 4]),
    "no order": put("order", None),
    "half an order": put("order", {"queue": np.arange(3)}),
    "an order of text": put("order", {"queue": ["a"], "started": True, "passes": 1}),
    "an order of other texts": put("order", {"queue": np.array([10**5]), "started": True, "passes": 1}),
    "an order of texts below 0": put("order", {"queue": np.array([-2]), "started": True, "passes": 1}),
    "no generator": put("generator", None),
    "another generator": put("generator", {"bit_generator": "MT19937", "state": {}}),
    "half a generator": put("generator", {"bit_generator": "PCG64"}),
    "an index beyond the texts": put("indices", np.array([0, 10**6])),
    "an index below 0": put("indices", np.array([0, -1])),
    "too many indices": put("indices", np.arange(3)),
    "no indices": put("indices", np.arange(0)),
    "indices of text": put("indices", np.array(["a", "b"])),
    "fractional indices": put("indices", np.array([0.5, 1.0])),
    "too few valid rows": put("row_valid", np.ones(1, dtype=np.bool_)),
    "valid rows that are numbers": put("row_valid", np.ones(4)),
    "a negative price": put("length_penalty", -1.0),
    "a price of NaN": put("length_penalty", float("nan")),
    "a price of text": put("length_penalty", "much"),
    "a mask too many": lambda state: state["masks"].extend(state["masks"] * 4),
    "a mask of another length": put("masks", [torch.ones(3, dtype=torch.bool)]),
    "a mask of text": put("masks", ["keep"]),
    "a mask of one token, which would be taken for all": put("masks", [torch.ones(1, dtype=torch.bool)]),
    "a mask for all tokens at once": put("masks", [True]),
    "a mask of numbers": lambda state: state.__setitem__("masks", [mask.long() for mask in state["masks"]]),
    "a mask of two dimensions": lambda state: state.__setitem__("masks", [mask[None] for mask in state["masks"]]),
    "masks that are a number": put("masks", 3),
    "masks that are a dict": put("masks", {}),
    "rows of rows": put("rows", [[4], [2, 2]]),
    "cuts within cuts": put("reduction_layers", [[2, 3]]),
    "indices of indices": put("indices", [[0], [0, 1]]),
    "an order of passes below 0": put("order", {"queue": np.arange(3), "started": True, "passes": -1}),
    "an order of part of a pass": put("order", {"queue": np.arange(3), "started": True, "passes": 0.5}),
    "an order that is a number": put("order", {"queue": 3, "started": True, "passes": 1}),
    "an order of two dimensions": put(
        "order", {"queue": np.zeros((2, 2), dtype=np.int64), "started": True, "passes": 1}
    ),
    "an order of fractions": put("order", {"queue": np.array([0.5]), "started": True, "passes": 1}),
    "an order of nothing": put("order", {"queue": None, "started": True, "passes": 1}),
    "an order that may have started": put("order", {"queue": np.arange(3), "started": "no", "passes": 1}),
    "a generator beyond its numbers": put(
        "generator", {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}
    ),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_failed_load_changes_nothing(name: str, make_env: Any) -> None:
    settings = {"samples_per_text": 2, "info_scores": "residual"}
    env, twin = make_env(4, **settings), make_env(4, **settings)
    keep = np.random.default_rng(0).random((6, 4, env.max_tokens)) < 0.6
    for one in (env, twin):
        one.reset(seed=3)
        one.step(keep[0])
    state = copy.deepcopy(env.state_dict())
    env.step(keep[1])  # so that a half loaded state would show
    twin.step(keep[1])
    CHANGES[name](state)
    with pytest.raises(ValueError, match="the saved environment") as caught:
        env.load_state_dict(state)
    assert "\n" not in str(caught.value)
    assert same(env.state_dict(), twin.state_dict())
    for action in keep[2:]:
        assert same(env.step(action), twin.step(action))


@pytest.mark.parametrize("state", [None, {}, [], 3, "state"])
def test_what_is_no_state(state: Any, make_env: Any) -> None:
    with pytest.raises(ValueError, match="the saved environment lacks"):
        make_env(4).load_state_dict(state)
