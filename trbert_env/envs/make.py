"""Environments by name: what ``gymnasium.make_vec("TRBERT/<Name>-v0", ...)`` and ``gymnasium.make`` call."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from trbert_env.data.request import DataRequest
from trbert_env.data.workload import Workload
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.single_env import ONE_ROW, TokenReductionEnv, check_one_row
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.suggestions import suggestion


def make_vector_env(
    env: str,
    num_envs: int = 1,
    *,
    backbone: str | None = None,
    split: str = "train",
    max_examples: int | None = None,
    **options: Any,
) -> TokenReductionVectorEnv:
    """Load texts and encoder by their names, and make the environment; all arguments are JSON values.

    Args:
        env: Name of the data set, ``"SQuAD2"``.
        num_envs: Rows; a multiple of ``samples_per_text``.
        backbone: A folder, a hub name, ``"embedded"``, or None for the preset's.
        split: A split of the data set, such as ``"train"`` or ``"validation"``.
        max_examples: Size of a random sample to work on, always the same; None for the whole split.
        options: Fields of :class:`~trbert_env.data.request.DataRequest`, such as ``data_dir`` and ``data_source``,
            and of :class:`~trbert_env.envs.settings.EnvSettings`.

    Raises:
        TypeError: There is no such setting.
        ValueError: A value is unknown or out of range. Settings are checked before anything is loaded.
        FileNotFoundError: A folder or file is missing.
    """
    of_data = {field.name for field in fields(DataRequest)}
    known = of_data | {field.name for field in fields(EnvSettings)}
    for name in options:
        if name not in known:
            raise TypeError(
                f"there is no setting {name!r}: {suggestion(name, known, 'see EnvSettings and DataRequest')}"
            )
    settings = EnvSettings(num_envs, **{name: value for name, value in options.items() if name not in of_data})
    request = DataRequest(env, **{name: value for name, value in options.items() if name in of_data})
    layers = settings.reduction_layers
    workload = Workload.load(request, split, backbone=backbone, max_examples=max_examples, reduction_layers=layers)
    return TokenReductionVectorEnv(workload, settings)


def make_env(env: str, **options: Any) -> TokenReductionEnv:
    """Make the one-row view of :func:`make_vector_env`.

    Args:
        env: Name of the data set, ``"SQuAD2"``.
        options: Those of :func:`make_vector_env`, but for what one row settles: ``num_envs``,
            ``samples_per_text``, ``array_type`` and ``autoreset_mode``.

    Raises:
        TypeError: There is no such option.
        ValueError: A value is unknown or out of range, or an option is one that one row settles.
        FileNotFoundError: A folder or file is missing.
    """
    check_one_row(options)
    return TokenReductionEnv(make_vector_env(env, **ONE_ROW, **options))


# Gymnasium reads the render modes of an entry point here; with them, render_mode="ansi_list" works too.
make_env.metadata = TokenReductionEnv.metadata  # type: ignore[attr-defined]
