"""What a training run starts from: a backbone, and the policy of an earlier run where there is one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from runners.cli.options import flag
from runners.cli.run import UserError
from runners.runs.models import load_model
from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.reduction.policy import TokenPolicy

#: What an earlier run settles, so that no option may.
BROUGHT = ("backbone", "reduction_layers", "policy_size", "overlap")


class StartOptions(Protocol):
    """The options that an earlier run has a say in."""

    @property
    def env(self) -> str: ...  # noqa: D102
    @property
    def reduction_layers(self) -> tuple[int, ...] | None: ...  # noqa: D102
    @property
    def keep_fractions(self) -> tuple[float, ...] | None: ...  # noqa: D102
    @property
    def policy_size(self) -> int: ...  # noqa: D102
    @property
    def overlap(self) -> bool: ...  # noqa: D102


OptionsT = TypeVar("OptionsT", bound=StartOptions)


@dataclass(frozen=True)
class Start(Generic[OptionsT]):
    """Where a run begins.

    Attributes:
        backbone: The task model, fine-tuned; a run that trains it takes a copy.
        options: With what the earlier run settles: cuts, the policy's form, and its budget unless another is named.
        model: The earlier run's model; None without one.
    """

    backbone: Backbone
    options: OptionsT
    model: TokenReducedModel | None = None

    @classmethod
    def from_run(cls, path: Path, options: OptionsT) -> Start[OptionsT]:
        """From a run of stage 2 or 3.

        Raises:
            FileNotFoundError: It holds no model.
            ValueError: Its model is of another kind.
            UserError: It was made on another data set.
        """
        model, backbone = load_model(path, "cpu")
        if model.config.env != options.env:
            raise UserError(f"{path} is a run on {model.config.env}, not on {options.env}: give --env")
        trained = model.config.trained_fractions
        settled: dict[str, Any] = {
            "reduction_layers": model.encoder.reduction_layers,
            "policy_size": model.config.policy_size,
            "overlap": model.config.overlap,
            "keep_fractions": options.keep_fractions or (tuple(trained) if trained else model.decision.keep_fractions),
        }
        return cls(backbone, replace(options, **settled), model)  # type: ignore[type-var]

    def hand_over(self, policy: TokenPolicy, exit_offsets: ExitOffsets | None) -> None:
        """Set weights to the earlier run's, where there is one."""
        if self.model is not None:
            policy.load_state_dict(self.model.policy.state_dict())
            if exit_offsets is not None and self.model.calibration is not None:
                exit_offsets.load_state_dict(self.model.calibration.state_dict())

    @property
    def facts(self) -> dict[str, Any]:
        """What the options on the command line do not say, for ``config.json``."""
        layers, fractions = self.options.reduction_layers, self.options.keep_fractions
        return {
            "backbone": self.backbone.source,
            "reduction_layers": None if layers is None else list(layers),
            "policy_size": self.options.policy_size,
            "overlap": self.options.overlap,
            "keep_fractions": None if fractions is None else list(fractions),
        }


def identity_facts(train: Workload, validation: Workload, holdout: Workload | None = None) -> dict[str, str]:
    """Return what a run works on, beyond names and paths, for ``config.json``.

    A path may hold something else when the run is resumed; fingerprints tell.

    Args:
        train: The training split, with the encoder as the run begins with it.
        validation: The split of the closing record.
        holdout: Texts set aside from the training split; None for none.
    """
    facts = {"data_source": train.data_source} | train.fingerprints
    facts["train_texts_fingerprint"] = facts.pop("texts_fingerprint")
    facts["validation_texts_fingerprint"] = validation.fingerprints["texts_fingerprint"]
    if holdout is not None:
        facts["holdout_texts_fingerprint"] = holdout.fingerprints["texts_fingerprint"]
    return facts


def check_brought(options: Any, defaults: Any) -> None:
    """Refuse options that an earlier run settles.

    Raises:
        UserError: One was given.
    """
    given = [flag(name) for name in BROUGHT if getattr(options, name) != getattr(defaults, name)]
    if given:
        raise UserError(f"--policy brings its own encoder, cuts and heads: leave {' '.join(given)} out")
