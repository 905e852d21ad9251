"""A data set without a published price is not trained on by that price alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from runners.cli.run import UserError
from runners.training.budgets import Budgets, check_price
from trbert_env.presets import get_preset


@dataclass
class Told:
    """What the check reads of budgets."""

    target_speedup: float | None


@pytest.mark.parametrize(
    ("name", "target", "given", "refused"),
    [
        ("WikiHop", None, None, True),
        ("WikiHop", 2.0, None, False),
        ("WikiHop", None, 0.01, False),
        ("TriviaQA", None, None, False),
    ],
)
def test_a_price_that_nobody_published_is_refused(
    name: str, target: float | None, given: float | None, refused: bool
) -> None:
    arguments: tuple[Any, ...] = (cast(Budgets, Told(target)), get_preset(name), given)
    if not refused:
        check_price(*arguments)
        return
    with pytest.raises(UserError, match="WikiHop has no published price of a token: give --target-speedup or --length"):
        check_price(*arguments)
