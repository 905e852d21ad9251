"""EnvSettings: all that an environment can be told beside its workload, as JSON values."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from gymnasium.vector import AutoresetMode

from trbert_env.envs.reward import Penalty, Reward, check_length_penalty, check_reward_temperature
from trbert_env.envs.text_order import Order
from trbert_env.reduction.policy import DEFAULT_POLICY_SIZE
from trbert_env.validation import check_device, choose

ArrayType = Literal["numpy", "torch"]
InfoScores = Literal["residual", "attention"]
DType = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class EnvSettings:
    """Settings of an environment, checked when they are made, before anything is loaded.

    Attributes:
        num_envs: Rows; a multiple of ``samples_per_text``.
        samples_per_text: Rows that hold the same text.
        reduction_layers: Cuts, 1-based: 2 is before layer 2, 1.5 within layer 1; None for ``(2, L/2 + 1)``.
        reward: Quality that the last step's reward is: ``"likelihood"``, of the gold answer (eq. 4), or
            ``"distillation"``, minus the divergence of the answer's distribution from the unreduced model's.
        reward_temperature: Divisor of both models' logits in that divergence, which is multiplied by its square. Above
            1 texts count whose answer is sure, of which probabilities tell little and logits much.
        length_penalty: Nats per kept token; None for the preset's. Can be set while the environment runs.
        penalty: Price on ``"tokens"`` or on ``"flops"``.
        policy_size: Width of the policy heads that ``reduced_flops`` charges; 0 charges none.
        dtype: Number format that the encoder computes in, ``"float32"`` or ``"bfloat16"``.
        device: Device that the encoder runs on, ``"cpu"``, ``"cuda"``, ...
        array_type: Kind of observations, rewards and infos, ``"numpy"`` or ``"torch"``.
        autoreset_mode: ``"SameStep"``, ``"NextStep"`` or ``"Disabled"``.
        info_scores: ``"residual"`` or ``"attention"`` adds ``infos["importance"]``; None adds nothing.
        order: ``"shuffle"``, or ``"once"`` for one pass over the split, which a reset with a seed begins anew; so does
            one without a seed, except after an end in DISABLED mode, where it leads to the next texts.
        final_obs: True to add ``infos["final_obs"]`` (SAME_STEP; a large copy).
        render_mode: None, ``"ansi"`` or ``"rgb_array"``.

    Raises:
        ValueError: A value is unknown or out of range; the message names it.

    Example:
        >>> EnvSettings(num_envs=8, samples_per_text=3)
        Traceback (most recent call last):
        ...
        ValueError: num_envs 8 must be a positive multiple of samples_per_text 3
    """

    render_modes: ClassVar[tuple[str, ...]] = ("ansi", "rgb_array")

    num_envs: int = 1
    samples_per_text: int = 1
    reduction_layers: Sequence[float] | None = None
    reward: Reward = "likelihood"
    reward_temperature: float = 1.0
    length_penalty: float | None = None
    penalty: Penalty = "tokens"
    policy_size: int = DEFAULT_POLICY_SIZE
    dtype: DType = "float32"
    device: str = "cpu"
    array_type: ArrayType = "numpy"
    autoreset_mode: str | AutoresetMode = "SameStep"
    info_scores: InfoScores | None = None
    order: Order = "shuffle"
    final_obs: bool = False
    render_mode: str | None = None

    def __post_init__(self) -> None:
        """Check all of them; see the class."""
        for name in ("num_envs", "samples_per_text", "policy_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral):
                raise ValueError(f"{name} is {value!r}: give a whole number")
        if self.policy_size < 0:
            raise ValueError(f"policy_size is {self.policy_size}: give the width of the policy's heads, or 0 for none")
        layers = self.reduction_layers
        if layers is not None and (isinstance(layers, str) or not isinstance(layers, Iterable)):
            raise ValueError(f"reduction_layers is {layers!r}: give a sequence of cuts, such as (2, 5)")
        num_envs, samples = self.num_envs, self.samples_per_text
        if samples < 1 or num_envs < 1 or num_envs % samples:
            raise ValueError(f"num_envs {num_envs} must be a positive multiple of samples_per_text {samples}")
        choose("array_type", self.array_type, get_args(ArrayType))
        choose("info_scores", self.info_scores, (None, *get_args(InfoScores)))
        choose("render_mode", self.render_mode, (None, *self.render_modes))
        if not isinstance(self.autoreset_mode, AutoresetMode):
            choose("autoreset_mode", self.autoreset_mode, tuple(mode.value for mode in AutoresetMode))
        check_device(self.device)
        choose("dtype", self.dtype, get_args(DType))
        choose("reward", self.reward, get_args(Reward))
        check_reward_temperature(self.reward_temperature, self.reward)
        choose("penalty", self.penalty, get_args(Penalty))
        choose("order", self.order, get_args(Order))
        if not isinstance(self.final_obs, bool):
            raise ValueError(f"final_obs is {self.final_obs!r}: give True or False")
        if self.final_obs and AutoresetMode(self.autoreset_mode) is not AutoresetMode.SAME_STEP:
            raise ValueError(f"final_obs is for autoreset_mode 'SameStep', not {self.autoreset_mode!r}: leave it out")
        if self.length_penalty is not None:
            check_length_penalty(self.length_penalty)
