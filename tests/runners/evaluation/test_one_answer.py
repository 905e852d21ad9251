"""A system that answers alike whatever it reads is named."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from runners.evaluation.quality import warn_of_one_answer


def test_one_answer_to_everything_is_a_warning() -> None:
    with pytest.warns(
        UserWarning, match=r"unreduced backbone: all 1,200 predictions are 'true', so it has not learned"
    ):
        warn_of_one_answer("unreduced backbone", {str(place): "true" for place in range(1_200)})


#: Alike by chance, as of a sample of skewed data.
FEW = {str(place): "true" for place in range(99)}


@pytest.mark.parametrize("predictions", [{}, {"a": "x"}, {"a": "x", "b": "y"}, {"a": 1.0, "b": 1.5}, FEW])
def test_nothing_else_is(predictions: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_one_answer("system", predictions)
