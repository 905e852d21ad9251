"""A per-token actor-critic that Stable-Baselines3's PPO and A2C can train over hundreds of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from agents.samplers import BernoulliSampler, BudgetedSampler, Sampler, bernoulli_entropy
from agents.sb3.observations import check_observation_space
from trbert_env.reduction.decision import DecisionRule, check_keep_fractions
from trbert_env.reduction.policy import DEFAULT_POLICY_SIZE, TokenPolicy

Observation = dict[str, Tensor]


class TokenActorCriticPolicy(ActorCriticPolicy):
    """The policy of eq. 2 as the actor; the mean of a second one over the tokens in play as the critic.

    A row's log-probability is the *mean* over the tokens that could be chosen; padded, forced and skipped
    tokens add nothing to it or to the entropy. PPO's ratio is then the geometric mean of the tokens' ratios:
    a product over hundreds of tokens leaves any clip range at once, their mean stays far inside of the usual
    0.2, so give a narrow ``clip_range``, such as 0.005.

    Args:
        observation_space: :func:`agents.sb3.observations.sb3_observation_space`.
        action_space: ``MultiBinary(max_tokens)``.
        lr_schedule: Learning rate of the optimiser.
        use_sde: Must be False.
        keep_fractions: Sample under this budget, one a reduction; token by token where None.
        exploration: Noise of the budgeted sampler, in units of the logits' deviation.
        policy_size: Width of the heads.
        keep_probability: Keep probability of every token at the start.
        overlap: True for a policy that sees lexical overlap.
        actor: The policy to train, instead of a new one.
        kwargs: Settings of the optimiser: ``optimizer_class`` and ``optimizer_kwargs``.

    Raises:
        ValueError: ``use_sde`` is True: its noise is for continuous actions; or the keep fractions are not one for each
            reduction, falling, in (0, 1]; or the observations lack what infos
            say of the tokens, which :class:`~agents.sb3.vec_env.TokenReductionVecEnv` adds to them.
    """

    sampler: Sampler

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.MultiBinary,
        lr_schedule: Schedule,
        use_sde: bool = False,
        *,
        keep_fractions: Sequence[float] | None = None,
        exploration: float = 0.5,
        policy_size: int = DEFAULT_POLICY_SIZE,
        keep_probability: float = 0.5,
        overlap: bool = True,
        actor: TokenPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde is True: state-dependent noise is for continuous actions, leave it out")
        check_observation_space(observation_space)
        # Adam's eps is 1e-5 in Stable-Baselines3; gradients of a mean over tokens are smaller than that.
        optimizer_kwargs = {"eps": 1e-8} | (kwargs.pop("optimizer_kwargs", None) or {})
        super().__init__(observation_space, action_space, lr_schedule, optimizer_kwargs=optimizer_kwargs, **kwargs)
        hidden_size = int(observation_space["hidden_states"].shape[-1])  # type: ignore[index]
        reductions = int(observation_space["reduction"].n) - 1  # type: ignore[attr-defined]
        if keep_fractions is not None:
            keep_fractions = check_keep_fractions(tuple(keep_fractions), reductions)
        self.actor = actor or TokenPolicy(hidden_size, reductions, policy_size, keep_probability, overlap)
        self.critic = TokenPolicy(hidden_size, reductions, self.actor.policy_size, overlap=self.actor.overlap)
        for prior in self.critic.priors:  # where words are shared is where to keep, not what it is worth
            nn.init.zeros_(prior["logit"].weight)  # type: ignore[index]
        self._own_arguments = {
            "keep_fractions": keep_fractions,
            "exploration": exploration,
            "policy_size": self.actor.policy_size,
            "keep_probability": keep_probability,
            "overlap": self.actor.overlap,
        }
        self.sampler = (
            BernoulliSampler() if keep_fractions is None else BudgetedSampler(tuple(keep_fractions), exploration)
        )
        #: Sampler of each reduction in this rollout, which gives the log-probabilities too.
        self._settled: dict[int, Sampler] = {}
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        """Nothing: there is no flattened network to build."""

    def _get_constructor_parameters(self) -> dict[str, Any]:
        used = ("observation_space", "action_space", "lr_schedule", "use_sde", "optimizer_class", "optimizer_kwargs")
        known = super()._get_constructor_parameters()
        return {name: known[name] for name in used} | self._own_arguments

    # -- what Stable-Baselines3 calls ------------------------------------------------------------------

    def set_training_mode(self, mode: bool) -> None:
        """As everywhere; a rollout begins where training ends, and with it what it is sampled with."""
        if self.training and not mode:
            self._settled.clear()
        super().set_training_mode(mode)

    def forward(self, obs: Observation, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Actions ``(rows, max_tokens)`` int8, values ``(rows, 1)`` and log-probabilities ``(rows,)``."""
        logits = self._per_token(self.actor, obs)
        self._settle(obs, logits)
        keep = self._choose(obs, logits, deterministic)
        log_probabilities, _ = self._score(obs, logits, keep)
        return keep.to(torch.int8), self.predict_values(obs), log_probabilities

    def _predict(self, observation: Observation, deterministic: bool = False) -> Tensor:  # type: ignore[override]
        """Keep masks, ``(rows, max_tokens)`` int8."""
        return self._choose(observation, self._per_token(self.actor, observation), deterministic).to(torch.int8)

    def evaluate_actions(self, obs: Observation, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Values ``(rows, 1)``, and log-probability and entropy ``(rows,)``, means over a row's choices."""
        log_probabilities, entropies = self._score(obs, self._per_token(self.actor, obs), actions.bool())
        return self.predict_values(obs), log_probabilities, entropies

    def predict_values(self, obs: Observation) -> Tensor:  # type: ignore[override]
        """``(rows, 1)``; 0 once a text has ended."""
        mask = obs["token_mask"].bool()
        return (self._per_token(self.critic, obs) * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)

    # -- small parts -----------------------------------------------------------------------------------

    def _settle(self, obs: Observation, logits: Tensor) -> None:
        """Hold the sampler of reductions first seen in a rollout at the temperature that it has on these rows.

        It depends on all rows; were it taken anew from each step or minibatch, ratios would differ from 1 before
        anything was learned.
        """
        for reduction, rows, mask, forced, _ in self._by_reduction(obs):
            if reduction not in self._settled:
                self._settled[reduction] = self.sampler.settled(logits[rows], mask & ~forced)

    def _choose(self, obs: Observation, logits: Tensor, deterministic: bool) -> Tensor:
        """``(rows, max_tokens)`` bool."""
        keep = torch.zeros_like(logits, dtype=torch.bool)
        for reduction, rows, mask, forced, lengths in self._by_reduction(obs):
            if deterministic:
                keep[rows] = self._decision(logits[rows], mask, forced, lengths, reduction)
            else:
                sampler = self._settled.get(reduction, self.sampler)
                noise = torch.rand(logits[rows].shape).to(logits.device)
                keep[rows] = sampler.sample(logits[rows], mask, forced, lengths, reduction, noise)
        return keep

    def _score(self, obs: Observation, logits: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies, ``(rows,)``."""
        self._settle(obs, logits)
        log_probabilities, entropies = logits.new_zeros(len(logits)), logits.new_zeros(len(logits))
        for reduction, rows, mask, forced, lengths in self._by_reduction(obs):
            free = mask & ~forced
            odds = self._settled[reduction].log_odds(logits[rows], mask, forced, lengths, reduction)
            signed = torch.where(keep[rows], odds, -odds)
            choices = free.sum(1).clamp(min=1)
            log_probabilities[rows] = torch.where(free, logsigmoid(signed), 0.0).sum(1) / choices
            entropies[rows] = torch.where(free, bernoulli_entropy(odds), 0.0).sum(1) / choices
        return log_probabilities, entropies

    @property
    def _decision(self) -> DecisionRule:
        fractions = self.sampler.keep_fractions if isinstance(self.sampler, BudgetedSampler) else None
        return DecisionRule(keep_fractions=fractions)

    def _per_token(self, network: TokenPolicy, obs: Observation) -> Tensor:
        """``(rows, max_tokens)`` of an actor or a critic, 0 where no token is in play."""
        mask, reductions = obs["token_mask"].bool(), obs["reduction"].flatten()
        found = torch.zeros(mask.shape, device=mask.device)
        for reduction in range(len(network.heads)):
            here = mask & (reductions == reduction)[:, None]
            overlap = obs["overlap"][here] if network.overlap else None
            found = found.masked_scatter(here, network(obs["hidden_states"][here].float(), reduction, overlap))
        return found

    def _by_reduction(self, obs: Observation) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor]]:
        """Reduction, rows at it, and their mask, forced tokens and full lengths; a minibatch mixes reductions."""
        reductions = obs["reduction"].flatten()
        for reduction in range(len(self.actor.heads)):
            rows = (reductions == reduction).nonzero().flatten()
            if len(rows):
                mask, forced = (obs[name][rows].bool() for name in ("token_mask", "forced_tokens"))
                yield reduction, rows, mask, forced, obs["full_length"][rows].flatten()
