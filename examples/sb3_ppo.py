r"""PPO of Stable-Baselines3 with its own loop, on the toy or on text.

python examples/sb3_ppo.py
python examples/sb3_ppo.py --flattened --steps 60000  # Stable-Baselines3's default policy: does not learn the toy
python examples/sb3_ppo.py --env TRBERT/SQuAD2-v0 --steps 4096 --keep-fractions 0.5 0.2 \
    --options '{"data_source": "embedded", "backbone": "embedded", "samples_per_text": 8}'
"""

import json
import time

import gymnasium
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import trbert_env  # noqa: F401 - registers the ids
from agents.sb3 import TokenActorCriticPolicy, TokenReductionVecEnv


def main(
    env: str = "TRBERT/Identity-v0",
    rows: int = 32,
    steps: int = 8_000,
    learning_rate: float = 2e-3,
    keep_fractions: tuple[float, ...] | None = None,
    flattened: bool = False,
    seed: int = 0,
    options: str = "{}",
) -> None:
    """Train for so many steps of the rows, and say what a deterministic policy returns; options are the env's, JSON."""
    envs = gymnasium.make_vec(env, num_envs=rows, final_obs=True, **json.loads(options))
    vec_env = VecMonitor(TokenReductionVecEnv(envs.unwrapped, half_precision=True))
    ours = {"policy": TokenActorCriticPolicy, "policy_kwargs": {"keep_fractions": keep_fractions}}
    model = PPO(
        **({"policy": "MultiInputPolicy"} if flattened else ours),
        env=vec_env,
        n_steps=4 * envs.unwrapped.num_reductions,  # whole episodes: rows end together
        batch_size=2 * rows,
        n_epochs=4,
        gamma=1.0,
        learning_rate=learning_rate,
        seed=seed,
    )
    started = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - started
    mean, _ = evaluate_policy(model, vec_env, n_eval_episodes=4 * rows)
    print(f"{model.num_timesteps:,} steps, {seconds:.1f} s: return {mean:.3f}")


if __name__ == "__main__":
    tyro.cli(main)
