from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trbert_env.validation import check_action, choose

CPU = torch.device("cpu")


def test_choose() -> None:
    assert choose("color", "red", ("red", None)) == "red"
    assert choose("color", None, ("red", None)) is None
    with pytest.raises(ValueError, match=r"^color 'blue' is unknown: use one of 'red', None$"):
        choose("color", "blue", ("red", None))


@pytest.mark.parametrize(
    "action",
    [
        [[1, 0], [0, 1]],
        [[True, False], [False, True]],
        np.array([[1.0, 0.0], [-0.0, 1.0]]),
        np.eye(2, dtype=np.uint8)[::-1][::-1],
        torch.eye(2, dtype=torch.float16),
        torch.eye(2).bool(),
    ],
)
def test_numbers_become_masks(action: Any) -> None:
    found = check_action(action, (2, 2), CPU)
    assert found.dtype == torch.bool
    assert found.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([[1, 0]], r"actions have shape \(1, 2\): give \(2, 2\), \(num_envs, max_tokens\)"),
        (1, r"actions have shape \(\): give \(2, 2\)"),
        ([[1, 0], [0, 7]], "action 7 in row 1, token 1: give 1 to keep and 0 to skip, nothing else"),
        (torch.tensor([[1, 0], [float("inf"), 0]]), "action inf in row 1, token 0"),
        (np.array([[1, 0], [np.nan, 0]]), "action nan in row 1, token 0"),
        ([["1", "0"], ["0", "1"]], "actions of dtype <U1 are not numbers"),
        (np.zeros((2, 2), dtype="datetime64[s]"), r"actions of dtype datetime64\[s\] are not numbers"),
    ],
)
def test_anything_else_is_refused(action: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_action(action, (2, 2), CPU)
