"""Stable-Baselines3 as its users know it: an id, or ``make_vec_env``, and its own policy."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env

import trbert_env  # noqa: F401
from agents.sb3 import TokenActorCriticPolicy

ID = "TRBERT/Identity-v0"


@pytest.mark.filterwarnings("error:.*render_mode")
def test_an_id_is_enough() -> None:
    model = PPO("MultiInputPolicy", ID, n_steps=4, batch_size=4)
    model.learn(8)
    assert model.num_timesteps == 8


@pytest.mark.filterwarnings("error:.*render_mode")
def test_make_vec_env() -> None:
    envs = make_vec_env(ID, n_envs=3, seed=0)
    A2C("MultiInputPolicy", envs, n_steps=2).learn(12)
    pictures = envs.get_images()
    assert len(pictures) == 3
    for picture in pictures:
        assert picture is not None
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3


def cart_poles() -> Any:
    return make_vec_env("CartPole-v1")


@pytest.mark.parametrize(
    "make", [lambda: ID, lambda: make_vec_env(ID, n_envs=2), cart_poles, lambda: gymnasium.make(ID)]
)
def test_our_policy_names_the_view_that_it_needs(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^the observations lack .*overlap.*: .*TokenReductionVecEnv") as caught:
        PPO(TokenActorCriticPolicy, make())
    assert "\n" not in str(caught.value)
