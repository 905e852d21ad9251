"""TokenReducedConfig: what a token-reduced model is made of, registered with transformers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from trbert_env.data.checkpoints import family_in
from trbert_env.presets import get_preset
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import DEFAULT_POLICY_SIZE
from trbert_env.tasks import Task, make_task, task_class, task_of

#: Entries that other programs look up in a model's own configuration, and that are those of the task model.
_CARRIED = ("id2label", "label2id", "pad_token_id", "sentence_transformers", "sbert_ce_default_activation_function")


def class_name(auto_model: Any) -> str:
    """Return the name of the class of token-reduced models that an auto class of transformers gives.

    Args:
        auto_model: The auto class.

    Example:
        >>> from transformers import AutoModelForQuestionAnswering
        >>> class_name(AutoModelForQuestionAnswering)
        'TokenReducedForQuestionAnswering'
    """
    return f"TokenReduced{auto_model.__name__.removeprefix('AutoModel')}"


class TokenReducedConfig(PreTrainedConfig):
    """Configuration of a token-reduced model.

    Args:
        backbone: The configuration of the task model, as a dict; names of classes are taken from it.
        env: The name of the data set that it was trained for.
        task: The kind of task, a key of :data:`trbert_env.tasks.TASKS`; empty for the data set's own.
        task_settings: Settings of the task.
        reduction_layers: Cuts, 1-based: 2 is before layer 2, 1.5 within layer 1; None for the default.
        policy_size: Width of the policy heads.
        weighted_overlap: True if the policy sees lexical overlap.
        threshold: Keep a token whose probability is at least this.
        keep_fractions: If given, keep exactly these fractions of every text instead.
        trained_fractions: Keep fractions of the budget that it was trained under; further training starts from them.
        speedups: FLOPs speed-ups that thresholds were measured to give, rising; see :class:`SpeedTable`.
        thresholds: The thresholds.
        backbone_name: Name of the backbone in records.
        original_backbone: Folder or hub name of the encoder that joint training began with; empty where the
            model's own encoder is as it was.
        original_fingerprint: Fingerprint of that encoder; see :mod:`trbert_env.data.fingerprints`.
        kwargs: Handed on to transformers.

    Raises:
        ValueError: The task is unknown, or it is an earlier version's, whose policies saw a lexical overlap of other
            weights.
    """

    model_type = "trbert"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        env: str = "SQuAD2",
        task: str = "",
        task_settings: dict[str, Any] | None = None,
        reduction_layers: Sequence[float] | None = None,
        policy_size: int = DEFAULT_POLICY_SIZE,
        weighted_overlap: bool = False,
        threshold: float = 0.5,
        keep_fractions: Sequence[float] | None = None,
        trained_fractions: Sequence[float] | None = None,
        speedups: Sequence[float] = (),
        thresholds: Sequence[float] = (),
        backbone_name: str = "",
        original_backbone: str = "",
        original_fingerprint: str = "",
        **kwargs: Any,
    ) -> None:
        self.backbone = {"model_type": "bert"} if backbone is None else backbone
        self.env = env
        self.task, self.task_settings = task, task_settings
        self.reduction_layers = None if reduction_layers is None else list(reduction_layers)
        self.policy_size = policy_size
        if kwargs.pop("overlap", False):
            raise ValueError(
                "the configuration has 'overlap', as an earlier version saved it: its policy saw other numbers, "
                "so train the policy again"
            )
        self.weighted_overlap = weighted_overlap
        self.threshold = threshold
        self.keep_fractions = None if keep_fractions is None else list(keep_fractions)
        self.trained_fractions = None if trained_fractions is None else list(trained_fractions)
        self.speedups, self.thresholds = list(speedups), list(thresholds)
        self.backbone_name = backbone_name
        self.original_backbone, self.original_fingerprint = original_backbone, original_fingerprint
        carried = {name: self.backbone[name] for name in _CARRIED if name in self.backbone}
        super().__init__(**{**carried, **kwargs, "architectures": [class_name(self.task_class.auto_model)]})

    @property
    def task_class(self) -> type[Task]:
        """The class of the task.

        Raises:
            ValueError: The task or data set is unknown.
        """
        return task_class(self.task or get_preset(self.env).task)

    def make_task(self) -> Task:
        """Make the task, with labels and the like as the configuration of the task model has them.

        Raises:
            ValueError: The task or one of its settings is unknown.
        """
        task = task_of(self.task, self.task_settings or {}) if self.task else make_task(get_preset(self.env))
        task.configure(self.backbone_config())
        return task

    @property
    def decision(self) -> DecisionRule:
        """Decision rule of the model."""
        return DecisionRule(self.threshold, None if self.keep_fractions is None else tuple(self.keep_fractions))

    def backbone_config(self) -> PreTrainedConfig:
        """Return the configuration of the task model."""
        values = dict(self.backbone)
        return AutoConfig.for_model(values.pop("model_type"), **values)


def check_kind(source: str, subfolder: str = "") -> None:
    """Refuse a local folder of another kind of model, and say how to make one of it.

    Args:
        source: A folder; of a hub name nothing is known here.
        subfolder: Folder in it that the model lies in.

    Raises:
        ValueError: It is such a folder.
    """
    path = os.path.join(source, subfolder, "config.json")  # not by Path, which fails on long names
    try:
        kind = family_in(Path(path)) if os.path.isfile(path) else None
    except (ValueError, RecursionError):  # what reads it next says how it is damaged
        return
    if kind not in (None, TokenReducedConfig.model_type):
        raise ValueError(
            f"'{source}' holds a '{kind}' model, not a token-reduced one: make a faster model of it by "
            f"runners/make_faster.py --model {shlex.quote(source)}, and give the folder model/ of that run"
        )


# Else AutoTokenizer, which reads the configuration beside a tokenizer, would warn of a type that it does not know.
AutoConfig.register(TokenReducedConfig.model_type, TokenReducedConfig, exist_ok=True)
