"""How it stands with Gymnasium: ids, specs, the one-row view, stock wrappers, options and their errors."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from trbert_env.data.workload import Workload
from trbert_env.envs.make import make_vector_env
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.single_env import ONE_ROW, TokenReductionEnv
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import PRESETS

ID = "TRBERT/SQuAD2-v0"


def every(env: TokenReductionVectorEnv) -> Any:
    return np.ones((env.num_envs, env.max_tokens), dtype=bool)


def test_every_preset_has_its_id() -> None:
    for name in PRESETS:
        spec = gymnasium.spec(f"TRBERT/{name}-v0")
        assert spec.kwargs == {"env": name}


def test_make_vec_and_back_through_json(on_disk: dict[str, Any]) -> None:
    options = {
        **on_disk,
        "samples_per_text": 2,
        "length_penalty": 0.125,
        "reduction_layers": [2, 3, 4],
        "autoreset_mode": "NextStep",
        "order": "once",
        "split": "validation",
        "max_examples": 5,
    }
    envs = gymnasium.make_vec(ID, num_envs=4, **options)
    assert isinstance(envs, TokenReductionVectorEnv)
    assert envs.spec is not None
    text = envs.spec.to_json()
    assert json.loads(text)["kwargs"]["autoreset_mode"] == "NextStep"
    again = gymnasium.make_vec(EnvSpec.from_json(text), num_envs=4)
    assert again.spec is not None
    assert again.spec.to_json() == text
    assert again.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert repr(again) == repr(envs)
    assert isinstance(again, TokenReductionVectorEnv)
    assert again.length_penalty == 0.125
    ours, theirs = envs.reset(seed=1), again.reset(seed=1)
    for key, value in ours[0].items():
        assert np.array_equal(value, theirs[0][key])


def test_defaults(on_disk: dict[str, Any]) -> None:
    envs = gymnasium.make_vec(ID, **on_disk)
    assert isinstance(envs, TokenReductionVectorEnv)
    assert (envs.num_envs, envs.samples_per_text, envs.array_type) == (1, 1, "numpy")
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert (envs.max_tokens, envs.encoder.reduction_layers) == (384, (2, 3))
    assert envs.workload.split == "train"
    assert str(envs.device) == "cpu"


def test_repr_says_what_it_is(make_env: Any) -> None:
    assert repr(make_env(4, samples_per_text=2)) == (
        "TokenReductionVectorEnv(SQuAD2, num_envs=4, samples_per_text=2, reduction_layers=(2, 3), texts=7)"
    )


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_the_one_row_view_passes_gymnasiums_own_check(on_disk: dict[str, Any], mode: str) -> None:
    env = gymnasium.make(ID, **on_disk, render_mode=mode)
    assert isinstance(env.unwrapped, TokenReductionEnv)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Hidden states have no bounds, which the check frowns at.
        warnings.filterwarnings("ignore", message=".*Box observation space (min|max)imum value is .*infinity")
        check_env(env.unwrapped)
    env.close()


def test_the_one_row_view_is_a_row_of_the_environment(make_env: Any, workload: Workload) -> None:
    one_row = EnvSettings(**ONE_ROW, render_mode="ansi", info_scores="attention")
    view = TokenReductionEnv(TokenReductionVectorEnv(workload, one_row))
    envs = make_env(1, autoreset_mode="Disabled", info_scores="attention")
    observation, info = view.reset(seed=3)
    expected, infos = envs.reset(seed=3)
    assert view.spec is None
    assert info.keys() == {key for key in infos if not key.startswith("_")}
    random = np.random.default_rng(0)
    for _ in range(2):
        assert view.observation_space.contains(observation)
        for key, value in expected.items():
            assert np.array_equal(observation[key], value[0])
        action = random.integers(0, 2, 28, dtype=np.int8)
        observation, reward, terminated, truncated, info = view.step(action)
        expected, rewards, ends, _, infos = envs.step(action[None])
        assert (type(reward), reward) == (float, float(rewards[0]))
        assert (terminated, truncated) == (bool(ends[0]), False)
    assert info["text_id"] == infos["text_id"][0]
    assert info["kept_tokens"].tolist() == infos["kept_tokens"][0].tolist()
    assert view.token_strings() == envs.token_strings(0)
    assert "\x1b[9;2m" in str(view.render())
    assert repr(view) == f"TokenReductionEnv({envs!r})"
    with pytest.raises(gymnasium.error.ResetNeeded):
        view.step(action)
    view.reset()
    with pytest.raises(ValueError, match=r"actions have shape \(1, 3\)"):
        view.step(np.ones(3))
    for option in ({"num_envs": 2}, {"samples_per_text": 2}, {"array_type": "torch"}, {"autoreset_mode": "SameStep"}):
        name = next(iter(option))
        for env in (ID, "TRBERT/Identity-v0"):
            with pytest.raises(ValueError, match=f"^{name} is .*one row, which settles it: leave it out, or use gymn"):
                gymnasium.make(env, **option)
    for option in ({"num_envs": 2}, {"array_type": "torch"}, {"autoreset_mode": "SameStep"}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} .*no view of one row: make it with"):
            TokenReductionEnv(make_env(**{**ONE_ROW, **option}))
    view.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        view.reset()


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_stock_wrapper_counts_the_same_returns(make_env: Any, mode: str) -> None:
    bare = make_env(3, order="once", autoreset_mode="SameStep", length_penalty=0.01)
    env = RecordEpisodeStatistics(make_env(3, order="once", autoreset_mode=mode, length_penalty=0.01))
    env.reset()
    bare.reset()
    returns = sum(bare.step(every(bare))[1] for _ in range(2))
    env.step(every(bare))
    *_, infos = env.step(every(bare))
    record = infos["episode"]
    np.testing.assert_allclose(record["r"], returns, rtol=1e-6)
    assert record["l"].tolist() == [2, 2, 2]


def test_render_strikes_out_what_was_skipped(make_env: Any, workload: Workload) -> None:
    env = make_env(2, order="once", render_mode="ansi")
    env.reset()
    plain = env.render()
    assert plain[0] == "[CLS] who [UNK] [SEP] the red boat sails at noon to oslo . [SEP]"
    assert len(plain) == 2
    action = every(env)
    action[0, 1] = False
    env.step(action)
    struck = env.render()
    assert struck[0] == plain[0].replace(" who", " \x1b[9;2mwho\x1b[0m")
    assert struck[1] == plain[1]
    assert make_env(2).render() is None


def test_pictures_of_all_rows_have_one_size_and_show_what_was_skipped(make_env: Any) -> None:
    env = make_env(2, order="once", render_mode="rgb_array")
    env.reset()
    before = env.render()
    action = every(env)
    action[0, 1] = False
    env.step(action)
    after = env.render()
    assert {picture.shape for picture in (*before, *after)} == {before[0].shape}
    assert before[0].dtype == np.uint8
    assert (before[0] != after[0]).any()
    assert np.array_equal(before[1], after[1])


def test_token_strings(make_env: Any, workload: Workload) -> None:
    env = make_env(4, samples_per_text=2, order="once")
    env.reset()
    convert = workload.backbone.tokenizer.convert_ids_to_tokens
    for row in range(4):
        assert env.token_strings(row) == convert(workload.texts[row // 2].input_ids.tolist())
    for row in (4, -1):
        with pytest.raises(ValueError, match=f"row {row}: there are 4"):
            env.token_strings(row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 5, "samples_per_text": 2}, "num_envs 5 must be a positive multiple of samples_per_text 2"),
        ({"num_envs": 0}, "num_envs 0 must be"),
        ({"num_envs": 2, "samples_per_text": 0}, "samples_per_text 0"),
        ({"array_type": "jax"}, "array_type 'jax' is unknown: use one of 'numpy', 'torch'"),
        ({"autoreset_mode": "same_step"}, "autoreset_mode 'same_step' is unknown: use one of"),
        ({"info_scores": "gradient"}, "info_scores 'gradient' is unknown: use one of"),
        ({"render_mode": "human"}, "render_mode 'human' is unknown: use one of None, 'ansi', 'rgb_array'"),
        ({"dtype": "float16"}, "dtype 'float16' is unknown: use one of"),
        ({"penalty": "time"}, "penalty 'time' is unknown: use one of"),
        ({"order": "random"}, "order 'random' is unknown: use one of"),
        ({"length_penalty": -0.5}, "length_penalty -0.5"),
        ({"env": "SQuAD3"}, "unknown environment name 'SQuAD3'; did you mean 'SQuAD2'"),
        ({"data_source": "disk"}, "unknown data source 'disk'"),
    ],
)
def test_options_are_checked_before_anything_is_loaded(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a backbone was loaded before the options were checked")

    monkeypatch.setattr("trbert_env.data.workload.load_backbone", refuse)
    with pytest.raises(ValueError, match=message):
        make_vector_env(**{"env": "SQuAD2", "data_source": "embedded", **options})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([2, 5], r"reduction_layers \(2, 5\): the encoder has 4 layers, so each must lie in 2..4"),
        ([1], r"reduction_layers \(1,\): the encoder has 4 layers"),
        ([3, 2], r"reduction_layers \(3, 2\): name 1 to 12 different layers in rising order"),
        ([2, 2], "rising order"),
        ([], "name 1 to 12 different layers"),
    ],
)
def test_reduction_layers_that_do_not_fit(make_env: Any, layers: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_env(2, reduction_layers=layers)


def test_missing_files_are_named(on_disk: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"data folder {tmp_path / 'none'} does not exist"):
        gymnasium.make_vec(ID, backbone=on_disk["backbone"], data_dir=str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"backbone '.*none' could not be loaded"):
        gymnasium.make_vec(ID, backbone=str(tmp_path / "none"), data_dir=on_disk["data_dir"])
    with pytest.raises(FileNotFoundError, match=r"has no squad_v2/test\.parquet"):
        gymnasium.make_vec(ID, **on_disk, split="test")


def test_an_untrained_head_is_said_loudly(on_disk: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(on_disk["backbone"]).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(on_disk["backbone"]).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"not fine-tuned for SQuAD2: its task head is untrained"):
        gymnasium.make_vec(ID, backbone=str(tmp_path), data_dir=on_disk["data_dir"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium.make_vec(ID, **on_disk)


def test_a_setting_that_is_none_is_named_before_anything_is_loaded() -> None:
    with pytest.raises(TypeError, match="there is no setting 'data_sorce': did you mean 'data_source'"):
        make_vector_env("SQuAD2", num_envs=2, data_sorce="nowhere")
