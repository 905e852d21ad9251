"""Options of stage 2."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from agents.policy_agent import PolicyAgentOptions
from agents.registry import (
    AGENTS,
    agent_options,
    check_plug_in,
    own_option_types,
    takes_policy_options,
)
from runners.cli.flags import changed_options, flag, refuse_given
from runners.cli.items import named_columns, named_values
from runners.cli.options import DataOptions, EncoderOptions, Group, Part, RunOptions
from runners.cli.run import UserError
from runners.evaluation.speed_table import check_target
from runners.runs.earlier import data_of_run
from runners.training.loop import DEFAULT_UPDATES, default_texts
from runners.training.start import check_budget, check_loaded
from trbert_env.data.checkpoints import EMBEDDED_BACKBONE
from trbert_env.data.workload import Workload
from trbert_env.envs.reward import Penalty, Reward
from trbert_env.envs.settings import InfoScores
from trbert_env.ranges import Range
from trbert_env.staged_model import reads_first_tokens

#: Texts of a run on real data, where no number is given.
DEFAULT_TEXTS = 20_000


#: Updates below which a policy has chosen worse than at random: 50 did on articles of 700 tokens (RESULTS.md).
FEW_UPDATES = 100


#: What fits the demo's minutes instead.
EMBEDDED_TEXTS = 3_200


#: Of its short passages less can be skipped; the small encoder knows the answer from its fourth layer on.
EMBEDDED_KEEP_FRACTIONS, EMBEDDED_REDUCTION_LAYERS = (0.89, 0.12), (2, 5)


@dataclass(frozen=True)
class AlgorithmOptions:
    """The algorithm, and the options that only some algorithms have."""

    agent: str = "reinforce"
    """The algorithm: reinforce, rloo, grpo, ppo, a2c, or package.module:Class for one of your own."""

    agent_options: tuple[str, ...] = ()
    """Options of this algorithm alone, as name=value (n_epochs=4 of ppo), or a YAML file of names and values."""

    baseline: Literal["mean", "leave-one-out", "none"] | None = None
    """Baseline of a return, for reinforce alone: the mean of the text's samples (the default), the mean of its other
    samples, or none."""

    log_probability: Literal["sum", "mean"] | None = None
    """Log-probability of a mask, for reinforce, rloo and grpo: the sum over its tokens (eq. 6; the default), or the
    mean over those of a reduction, which ppo and a2c always take."""

    @property
    def plug_in(self) -> bool:
        """Whether the algorithm is none of the project's own."""
        return ":" in self.agent

    def own_options(self) -> dict[str, Any]:
        """Return the options that the algorithm has beyond those of all, by name.

        Raises:
            ValueError: An item is malformed, or the algorithm is unknown.
            UserError: An option is given twice, or is another algorithm's.
        """
        own = named_values("--agent-options", self.agent_options)
        flags = {"baseline": self.baseline, "log_probability": self.log_probability}
        for name, value in flags.items():
            if value is None:
                continue
            owners = [agent for agent in AGENTS if name in own_option_types(agent)]
            if self.agent not in owners:
                raise UserError(
                    f"{flag(name)} is of --agent {', '.join(owners)}; {self.agent} has its own: leave it out"
                )
            if name in own:
                raise UserError(f"{flag(name)} and {name} of --agent-options say the same: leave one out")
            own[name] = value
        return own


@dataclass(frozen=True)
class PolicyTrainingOptions:
    """The training of stage 2."""

    total_texts: Annotated[int, Range(1)] | None = None
    """Texts to train on, repeats counted; when not given, 20,000, four passes over a small training split (but 200
    updates), or 3,200 on the embedded corpus."""

    texts_per_step: Annotated[int, Range(1)] = 16
    """Texts of one update."""

    samples_per_text: Annotated[int, Range(1)] = 8
    """Rows that hold the same text, whose returns are compared."""

    reward: Reward = "distillation"
    """Reward of the policy, beside the price: distillation, an answer near the unreduced model's, or likelihood, of the
    gold answer (eq. 4)."""

    reward_temperature: Annotated[float, Range(above=0, most=100)] = 1.0
    """Divisor of both models' logits in the reward distillation, which is multiplied by its square. Above 1, as 8,
    texts count whose answer is sure, as of an encoder that knows its training texts by heart. Neither a price nor what
    the exit offsets are fitted by changes with it."""

    length_penalty: Annotated[float, Range(0)] | None = None
    """Lambda of eq. 4, in nats per kept token; the data set's own when not given. Samples of a text that keep equally
    many tokens pay alike and learn nothing by it: those of --sampler budgeted with --budget-scope text."""

    penalty: Penalty = "tokens"
    """Unit that lambda is the price of: tokens, or FLOPs."""

    penalty_rise: Annotated[float, Range(0, 1)] = 0.0
    """Share of the run over which lambda rises from 0 to its value."""

    cloning_texts: Annotated[int, Range(0)] = 0
    """Texts on which to clone a ranking of their tokens before reinforcement learning starts."""

    cloning_scores: InfoScores = "residual"
    """Ranking that is cloned: residual, by what stopping a token costs the gold answer, as the paper's imitation; or
    attention, by the attention that a token receives in the last layer before the cut."""

    calibration_rate: Annotated[float, Range(0)] = 0.05
    """Learning rate of the exit offsets: what the states of skipped tokens add to the logits; 0 for none."""

    unlabelled_file: tuple[Path, ...] = ()
    """Learn from texts without labels in place of the training texts, whose answers an encoder may have memorised:
    tables with columns of the task's fields (text and text_pair, or question and context), text files, and folders of
    both. A price, as of --sampler bernoulli, holds these texts to a speed-up, and a budget the training texts."""

    unlabelled_columns: tuple[str, ...] = ()
    """Names of the columns of these tables, as text=body; others are guessed, which is announced."""

    checkpoint_every: Annotated[int, Range(1)] = 50
    """Updates between two checkpoints."""


@dataclass(frozen=True)
class PolicyStageOptions:
    """Options of stage 2."""

    algorithm: Part[AlgorithmOptions] = field(default_factory=AlgorithmOptions)
    agent: Part[PolicyAgentOptions] = field(default_factory=PolicyAgentOptions)
    training: Part[PolicyTrainingOptions] = field(default_factory=PolicyTrainingOptions)


@dataclass(frozen=True)
class TrainPolicyOptions:
    """Options of the runner of stage 2."""

    policy: Path | None = None
    """A run to go on from, with its encoder, policy and exit offsets; stage 3's makes this a stage behind it."""

    target_speedup: Annotated[float, Range(above=1)] | None = None
    """FLOPs speed-up to reach; keep fractions and price then follow from it."""

    full_from: Path | None = None
    """A run's folder to take the unreduced backbone's metrics from, instead of running it again."""

    resume: Path | None = None
    """Go on with this run, with the options that it was begun with."""

    data: Group[DataOptions] = field(default_factory=DataOptions)
    encoder: Group[EncoderOptions] = field(default_factory=EncoderOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)
    algorithm: Group[AlgorithmOptions] = field(default_factory=AlgorithmOptions)
    agent: Group[PolicyAgentOptions] = field(default_factory=PolicyAgentOptions)
    training: Group[PolicyTrainingOptions] = field(default_factory=PolicyTrainingOptions)

    def defaults(self) -> TrainPolicyOptions:
        """Return the defaults: the data of the run that this one goes on from."""
        return TrainPolicyOptions(data=data_of_run(self.policy, self.data))

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        self._check_agent()
        check_budget(self, cloning=self.training.cloning_texts > 0)
        if self.target_speedup is not None:
            check_target(self.target_speedup, self.training.length_penalty, self.training.penalty_rise)
        if self.training.length_penalty == 0.0:
            refuse_given(self, ("--penalty", "--penalty-rise"), "--length-penalty 0 is no price")
        self._check_unlabelled()
        if self.training.reward != "distillation":
            refuse_given(self, ("--reward-temperature",), f"--reward {self.training.reward} has none")
        if not self.training.cloning_texts:
            refuse_given(self, ("--cloning-scores",), "--cloning-texts is 0, so nothing is cloned")
        if self.policy is not None:
            check_loaded(self)

    def _check_unlabelled(self) -> None:
        training = self.training
        named_columns("--unlabelled-columns", training.unlabelled_columns)
        if not training.unlabelled_file:
            refuse_given(self, ("--unlabelled-columns",), "there is no --unlabelled-file")
            return
        if training.reward == "likelihood":
            raise UserError("--reward likelihood is of the gold answer, which --unlabelled-file has not: leave one out")
        if training.cloning_texts and training.cloning_scores == "residual":
            raise UserError(
                "--cloning-scores residual sees the gold answer, which --unlabelled-file has not: take attention"
            )
        if not self.algorithm.plug_in and self.agent.resolved_imitation_fraction > 0:
            raise UserError(
                "imitation, also the default of --sampler bernoulli, sees the gold answer, which --unlabelled-file has "
                "not: give --imitation-fraction 0"
            )

    def _check_agent(self) -> None:
        name, own = self.algorithm.agent, self.algorithm.own_options()
        if not self.algorithm.plug_in:
            made = agent_options(name, self.agent, own)
            compares = name in ("rloo", "grpo") or getattr(made, "baseline", "none") != "none"
            if compares and self.training.samples_per_text < 2:
                raise UserError(f"--samples-per-text is 1; {name} compares samples of a text, so give at least 2")
            return
        check_plug_in(name, self.agent, own)
        if self.training.cloning_texts or self.policy is not None:
            raise UserError(f"--cloning-texts and --policy know the project's own policies only, not {name}")
        if self != (known := self.for_plug_in()):
            unknown = sorted(set(changed_options(self)) - set(changed_options(known)))
            raise UserError(f"{name} knows no {' '.join(unknown)}: leave it out, or give --agent-options")

    def for_plug_in(self) -> TrainPolicyOptions:
        """Return the same without options that the plug-in does not have, but for what the policy costs."""
        if takes_policy_options(self.algorithm.agent):
            return self
        return replace(self, agent=PolicyAgentOptions(policy_size=self.agent.policy_size))

    def for_workload(self, workload: Workload, practice: Workload | None = None) -> TrainPolicyOptions:
        """Return the same with the number of texts, and with the embedded encoder's own cuts on embedded data.

        Args:
            workload: The training split.
            practice: Texts that are learned from in its place; None for the split itself.

        Raises:
            ValueError: A temperature of the reward is given, and the task has no use for it.
        """
        if not workload.task.has_temperature:
            refuse_given(self, ("--reward-temperature",), "differences of plain regression are not softened")
        embedded = workload.data_source == "embedded"
        total = stage2_texts(self.training, embedded, len((practice or workload).texts))
        options = replace(self, training=replace(self.training, total_texts=total), agent=self._agent_for(workload))
        if not embedded:
            return options
        names_cuts = self.encoder.layers not in (None, EMBEDDED_REDUCTION_LAYERS)
        names_cuts = names_cuts or self.agent.keep_fractions is not None
        if names_cuts or workload.backbone.name != EMBEDDED_BACKBONE:
            return options
        return replace(
            options,
            agent=replace(options.agent, keep_fractions=EMBEDDED_KEEP_FRACTIONS),
            encoder=replace(self.encoder, reduction_layers=EMBEDDED_REDUCTION_LAYERS),
        )

    def _agent_for(self, workload: Workload) -> PolicyAgentOptions:
        """The agent's options, with the scope of its budgets where a head of first tokens decides it.

        Where one token of a text says it all, texts differ much in how many others that one needs (RESULTS.md, 3).
        """
        if self.agent.budget_scope is not None or self.algorithm.plug_in:
            return self.agent
        if not reads_first_tokens(workload.task, workload.backbone.model.config):
            return self.agent
        shares = agent_options(self.algorithm.agent, self.agent, self.algorithm.own_options()).shares_budgets
        return replace(self.agent, budget_scope="batch") if shares else self.agent


def few_updates(options: TrainPolicyOptions) -> str | None:
    """Return a line on a number of texts that leaves an untrained policy untrained; None where it is enough.

    Args:
        options: Options of a run, with its number of texts.
    """
    training = options.training
    assert training.total_texts is not None, "for_workload() fills it in"
    updates = max(1, round(training.total_texts / training.texts_per_step))
    if options.policy is not None or training.cloning_texts or updates >= FEW_UPDATES:
        return None
    number = f"{updates:,} updates are" if updates > 1 else "1 update is"
    return (
        f"{number} few for an untrained policy, which may then choose worse than at random: "
        f"--total-texts {DEFAULT_UPDATES * training.texts_per_step:,} makes {DEFAULT_UPDATES}"
    )


def stage2_texts(training: PolicyTrainingOptions, embedded: bool, split: int) -> int:
    """Return the texts of reinforcement learning in a run of stage 2.

    Args:
        training: Options of the training.
        embedded: True on an embedded corpus.
        split: Texts of the training split.
    """
    default = EMBEDDED_TEXTS if embedded else default_texts(DEFAULT_TEXTS, split, training.texts_per_step)
    return training.total_texts or default
