"""Start of a training run: a backbone, and the policy of an earlier run where there is one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from agents.policy_agent import PolicyAgentOptions
from runners.cli.display import announce
from runners.cli.flags import refuse_given
from runners.cli.options import DataOptions, EncoderOptions
from runners.cli.run import UserError
from runners.runs.earlier import run_record
from runners.runs.models import load_model
from runners.runs.run_folder import RunFolder
from runners.training.loading import Splits, TrainedOn
from trbert_env.data.backbones import Backbone
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.reduction.policy import TokenPolicy

#: Options that an earlier run settles.
SETTLED = (
    *("--backbone", "--reduction-layers", "--policy-size", "--overlap"),
    *("--initial-keep-probability", "--task-options", "--max-length"),
)
#: Options that only a sampler under a budget reads.
BUDGET = ("--keep-fractions", "--exploration", "--budgeted-share", "--budget-scope")


class StartOptions(Protocol):
    """The groups of options that an earlier run settles some options of."""

    @property
    def data(self) -> DataOptions: ...  # noqa: D102
    @property
    def encoder(self) -> EncoderOptions: ...  # noqa: D102
    @property
    def agent(self) -> PolicyAgentOptions: ...  # noqa: D102


OptionsT = TypeVar("OptionsT", bound=StartOptions)


@dataclass(frozen=True)
class Start(Generic[OptionsT]):
    """Where a run begins.

    Attributes:
        backbone: The task model, fine-tuned; a run that trains it takes a copy.
        options: Options of the run; an earlier run settles the cuts, the policy's form, and the budget unless
            another is named.
        model: The earlier run's model; None without one.
        path: Folder of the earlier run; None without one.
    """

    backbone: Backbone
    options: OptionsT
    model: TokenReducedModel | None = None
    path: Path | None = None

    @classmethod
    def from_run(cls, path: Path, options: OptionsT, *, needs_budget: bool) -> Start[OptionsT]:
        """From a run of stage 2 or 3.

        Args:
            path: Folder of the run.
            options: Options of the new run.
            needs_budget: True if no speed-up is named, which keep fractions follow from, and tokens are skipped.

        Raises:
            FileNotFoundError: It holds no model.
            ValueError: Its model is of another kind.
            UserError: It was made on another data set.
        """
        model, backbone = load_model(path, "cpu")
        if model.config.env != options.data.env:
            raise UserError(f"{path} is a run on {model.config.env}, not on {options.data.env}: give --env")
        trained = model.config.trained_fractions
        fractions = tuple(trained) if trained else model.decision.keep_fractions
        if fractions is None and needs_budget and options.agent.sampler == "budgeted":
            fractions = options.agent.keep_fractions or _measured_fractions(path)
        settled: dict[str, Any] = {
            "encoder": replace(options.encoder, reduction_layers=model.encoder.reduction_layers),
            "agent": replace(
                options.agent,
                policy_size=model.config.policy_size,
                overlap=model.config.weighted_overlap,
                keep_fractions=options.agent.keep_fractions or fractions,
            ),
        }
        return cls(backbone, replace(options, **settled), model, path)  # type: ignore[type-var]

    @property
    def trained(self) -> TrainedOn | None:
        """What the earlier run's model settles of the texts; None without one."""
        return None if self.model is None else TrainedOn.of(self.model, self.path)

    @property
    def task_settings(self) -> dict[str, Any] | None:
        """Settings of the task that the earlier run's model was trained with; None without one."""
        return None if self.model is None else self.model.task.settings

    def hand_over(self, policy: TokenPolicy, exit_offsets: ExitOffsets) -> None:
        """Set weights to the earlier run's, where there is one."""
        if self.model is not None:
            policy.load_state_dict(self.model.policy.state_dict())
            exit_offsets.load_state_dict(self.model.calibration.state_dict())

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the options on the command line do not say, for ``config.json``."""
        layers, agent = self.options.encoder.layers, self.options.agent
        return {
            **self.backbone.facts,
            "reduction_layers": None if layers is None else list(layers),
            "policy_size": agent.policy_size,
            "overlap": agent.overlap,
            "keep_fractions": None if agent.keep_fractions is None else list(agent.keep_fractions),
        }


def _measured_fractions(path: Path) -> tuple[float, ...] | None:
    """Shares that a policy without a budget keeps, which is announced; None where its run was not evaluated."""
    run = next((place for place in (path, path.parent) if RunFolder(place).metrics_path.exists()), None)
    savings = None if run is None else run_record(run).reduced.savings
    if savings is None or not savings.kept_fractions:
        return None
    kept = savings.kept_fractions
    announce(
        f"{path} was trained without a budget: this run has that of what it keeps, --keep-fractions "
        f"{' '.join(f'{share:.2f}' for share in kept)}; --target-speedup or --keep-fractions name another"
    )
    return kept


def identity_facts(splits: Splits) -> dict[str, str]:
    """Return what a run works on, beyond names and paths, for ``config.json``.

    A path may hold something else when the run is resumed; fingerprints tell.

    Args:
        splits: The encoded texts, with the encoder as the run begins with it.
    """
    train = splits.train
    facts = {"data_source": train.data_source} | train.fingerprints
    facts["train_texts_fingerprint"] = facts.pop("texts_fingerprint")
    facts["validation_texts_fingerprint"] = splits.validation.fingerprints["texts_fingerprint"]
    if splits.unlabelled is not None:
        facts["unlabelled_texts_fingerprint"] = splits.unlabelled.fingerprints["texts_fingerprint"]
    if splits.holdout is not None:
        facts["holdout_texts_fingerprint"] = splits.holdout.fingerprints["texts_fingerprint"]
    return facts


def check_loaded(options: StartOptions) -> None:
    """Refuse options that an earlier run settles.

    Raises:
        ValueError: One was given.
    """
    refuse_given(options, SETTLED, "--policy has its own encoder, cuts, heads and settings of the task")


def check_budget(options: StartOptions, *, cloning: bool = False) -> None:
    """Refuse options of a budget where the agent never samples under one, and of none where it always does.

    Args:
        options: Options of the run.
        cloning: True if a ranking is cloned first, which takes the keep fractions whatever the sampler.

    Raises:
        ValueError: One was given.
    """
    if options.agent.sampler == "bernoulli":
        unread = [flag for flag in BUDGET if not (cloning and flag == "--keep-fractions")]
        refuse_given(options, unread, "--sampler bernoulli has no budget")
    elif options.agent.budgeted_share > 0.0:
        # What comes behind a budgeted share begins where the budget has left it.
        reason = "--sampler budgeted compares tokens with each other, whatever all of them begin with"
        refuse_given(options, ("--initial-keep-probability",), reason)
    else:  # the keep fractions are saved, and a later stage begins with them
        refuse_given(options, ("--exploration", "--budget-scope"), "--budgeted-share 0 never samples under a budget")
