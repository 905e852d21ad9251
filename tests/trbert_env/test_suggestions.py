from __future__ import annotations

import pytest

from trbert_env.suggestions import nearest_name, suggestion


@pytest.mark.parametrize(
    ("name", "nearest"), [("reinforc", "reinforce"), ("REINFORCE", "reinforce"), ("ppo3", "ppo"), ("sarsa", None)]
)
def test_the_nearest_name(name: str, nearest: str | None) -> None:
    assert nearest_name(name, ["reinforce", "ppo"]) == nearest
    hint = suggestion(name, ["reinforce", "ppo"], "use one of reinforce, ppo")
    assert hint == (f"did you mean {nearest!r}?" if nearest else "use one of reinforce, ppo")


def test_capitals_of_the_known_name_are_kept() -> None:
    assert nearest_name("squad", ["SQuAD", "RACE"]) == "SQuAD"
    assert nearest_name("squad", []) is None
