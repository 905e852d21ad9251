"""TokenReductionVectorEnv: token reduction as a vectorised Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from trbert_env.data.backbones import placed
from trbert_env.data.workload import Workload
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.envs.episode import Episode, Outcome
from trbert_env.envs.packed import PackedObservation
from trbert_env.envs.rendering import render_image, render_reduction
from trbert_env.envs.reward import LengthPrice, check_length_penalty
from trbert_env.envs.settings import EnvSettings, InfoScores
from trbert_env.envs.spaces import action_space, batched_observation_space, observation_space
from trbert_env.envs.text_order import TextOrder
from trbert_env.reduction.cost import policy_flops_per_token
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.varied import drawn_text
from trbert_env.validation import (
    check_action,
    check_device,
    check_environment_state,
    check_lengths,
    check_mask,
)

Observation = dict[str, Any]
Infos = dict[str, Any]


class TokenReductionVectorEnv(VectorEnv[Any, Any, Any]):
    """Token reduction in a frozen, fine-tuned encoder, many texts at once.

    ## Description
    An episode is one text on its way through the encoder. Before each of T reduction layers the
    agent keeps or skips every token. A skipped token keeps the state it had; at the end the task
    head reads every token's own last state. Rows of one text are neighbours and share all
    computation up to the first reduction. Nothing in here trains.

    ## Observation
    ================= ================================ ======= =========================================
    key               shape                            dtype   meaning
    ================= ================================ ======= =========================================
    ``hidden_states`` (num_envs, max_tokens, hidden)   float32 states at text positions, 0 if not in play
    ``token_mask``    (num_envs, max_tokens)           int8    1 for tokens still in play
    ``reduction``     (num_envs,)                      int64   the coming reduction, T once ended
    ================= ================================ ======= =========================================

    Where the task head reads first tokens alone, the last layer computes no others: in the terminal observation they
    have the state that they entered it with.

    ## Action
    ``MultiBinary(max_tokens)``: 1 = keep. Entries where the mask is 0 are ignored; each sequence's
    first token is kept whatever the action says.

    ## Reward
    Eq. 4: ``-length_penalty`` for every kept token at each step, and log Pr(gold answer) at the
    last, so that the undiscounted return is R. With ``reward="distillation"`` the last step has
    -KL(unreduced || reduced) of the answer's distribution instead, which needs no gold answer, at
    ``reward_temperature``.

    ## Episode end
    After T steps, all rows together, ``terminated`` is True. ``autoreset_mode`` tells what follows.

    ## Infos
    Of the finished text, in ``infos["final_info"]`` (SAME_STEP) or at the top (other modes):
    ``log_likelihood``, ``has_gold`` (False where the gold answer is not among the text's tokens, so that the likelihood
    and the reward of the answer are 0 and say nothing), ``kept_tokens`` (T numbers), ``full_flops``, ``reduced_flops``,
    ``text_id``, and
    ``divergence`` with ``reward="distillation"``.
    Of the coming text or reduction, at the top: ``text_id``, ``forced_tokens`` (kept in any case),
    ``overlap`` (num_envs, max_tokens, 4; :func:`~trbert_env.reduction.overlap.lexical_overlap`), ``row_valid``
    with ``order="once"``, and ``importance`` with ``info_scores``.

    Args:
        workload: Texts and backbone; :func:`~trbert_env.envs.make.make_vector_env` loads them by name.
        settings: See :class:`~trbert_env.envs.settings.EnvSettings`; the defaults where None.
        exit_offsets: Offsets on the task's logits, which the likelihood is taken of; shared, so that what is
            learned of them counts at once. None changes nothing.

    Raises:
        ValueError: The reduction layers or the offsets do not fit the encoder.

    Example:
        >>> import gymnasium, trbert_env
        >>> envs = gymnasium.make_vec(
        ...     "TRBERT/SQuAD2-v0", num_envs=8, samples_per_text=4, data_source="embedded", backbone="embedded"
        ... )  # doctest: +SKIP
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(EnvSettings.render_modes),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self, workload: Workload, settings: EnvSettings | None = None, exit_offsets: ExitOffsets | None = None
    ) -> None:
        settings = EnvSettings() if settings is None else settings
        if settings.reward == "likelihood":
            workload.require_labels("reward 'likelihood' (take 'distillation')")
        #: Settings as given; ``info_scores`` and ``length_penalty`` may have been set since.
        self.settings = settings
        self.array_type, self.render_mode = settings.array_type, settings.render_mode
        self.autoreset_mode = AutoresetMode(settings.autoreset_mode)
        self._episode: Episode | None = None
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.device = check_device(settings.device)
        self.workload = workload
        self.info_scores = settings.info_scores
        self.num_envs, self.samples_per_text = settings.num_envs, settings.samples_per_text
        model = placed(workload.backbone.model, self.device, getattr(torch, settings.dtype))
        policy_flops = policy_flops_per_token(model.config.hidden_size, settings.policy_size)
        #: The model that it runs.
        self.staged = StagedModel(model, workload.task, settings.reduction_layers, exit_offsets, policy_flops)
        price = workload.preset.length_penalty if settings.length_penalty is None else settings.length_penalty
        self._price = LengthPrice(price, settings.penalty, self.staged.cost)
        self._order = TextOrder(len(workload.texts), settings.order)
        #: True if the last observation of an episode is handed out too (SAME_STEP).
        self.final_obs = settings.final_obs
        self._indices: npt.NDArray[np.int64] = np.arange(0)
        self._row_valid = np.ones(self.num_envs, dtype=np.bool_)
        #: The outcome of the episode that ended last, with the logits that predictions are decoded from.
        self.last_outcome: Outcome | None = None
        self.single_observation_space = observation_space(self.max_tokens, self.hidden_size, self.num_reductions)
        self.single_action_space = action_space(self.max_tokens)
        self.observation_space = batched_observation_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def info_scores(self) -> InfoScores | None:
        """The scores that infos bring; can be set while it runs.

        What an episode has not recorded of attention is recorded by playing it again.

        Raises:
            ValueError: They are set to those that see gold answers, and the texts are unlabelled.
        """
        return self._info_scores

    @info_scores.setter
    def info_scores(self, scores: InfoScores | None) -> None:
        if scores == "residual":
            self.workload.require_labels("info_scores 'residual'")
        self._info_scores = scores
        episode = self._episode
        if scores != "attention" or episode is None or episode.forward.done:
            return
        if episode.forward.received is None:
            self._episode = self._played_again(episode.masks)

    # -- what it is ------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Data set, rows and cuts."""
        return (
            f"TokenReductionVectorEnv({self.workload.preset.name}, num_envs={self.num_envs}, "
            f"samples_per_text={self.samples_per_text}, reduction_layers={self.staged.encoder.reduction_layers}, "
            f"texts={len(self.workload.texts)})"
        )

    @property
    def max_tokens(self) -> int:
        """The most tokens of one text."""
        return self.workload.task.max_text_tokens

    @property
    def num_reductions(self) -> int:
        """T."""
        return self.staged.encoder.num_reductions

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return self.staged.encoder.hidden_size

    @property
    def encoder(self) -> StagedEncoder:
        """The encoder that it runs."""
        return self.staged.encoder

    @property
    def exit_offsets(self) -> ExitOffsets:
        """The offsets on the task's logits, which the likelihood is taken of."""
        return self.staged.exit_offsets

    @property
    def length_penalty(self) -> float:
        """Lambda of eq. 4, in nats per kept token."""
        return self._price.length_penalty

    @length_penalty.setter
    def length_penalty(self, value: float) -> None:
        """Set it, also while an episode runs.

        Raises:
            ValueError: It is negative.
        """
        self._price.length_penalty = check_length_penalty(value)

    # -- the contract ----------------------------------------------------------------------------------

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> Any:
        """Draw new texts for all rows: with ``order="once"`` the first ones, or after an end in DISABLED mode the next.

        Args:
            seed: Fixes the order of the texts from here on; of a list, the first entry counts.
            options: ``{"reset_mask": ...}`` is accepted where all of it is True.

        Raises:
            ValueError: ``reset_mask`` is False somewhere: rows of one environment end together.
        """
        self._check_open()
        mask = None if options is None else options.get("reset_mask")
        if mask is not None and (np.shape(mask) != (self.num_envs,) or not np.all(np.asarray(mask))):
            raise ValueError(f"reset_mask must be all True, of shape ({self.num_envs},): all rows end together")
        first_seed = seed[0] if isinstance(seed, list) else seed
        super().reset(seed=first_seed)
        if first_seed is not None or (self._order.order == "once" and not self._goes_on_by_reset):
            self._order.restart()
        return self._begin()

    def step(self, actions: Any) -> Any:
        """Apply one keep mask a row; see the class.

        Args:
            actions: ``(num_envs, max_tokens)`` bool, integer or float, 0 and 1 only.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or after an end in DISABLED mode.
            ValueError: The actions have another shape, type or value.
        """
        self._check_open()
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if self._episode.forward.done:
            return self._step_after_end()
        keep = check_action(actions, (self.num_envs, self.max_tokens), self.device)
        rewards, outcome = self._advance(self._episode.forward.tokens.layout.gather(keep))
        if outcome is not None:
            return self._end(outcome, self._rewards(rewards))
        observation, infos = self._observe()
        return observation, self._rewards(rewards), self._flags(False), self._flags(False), infos

    # -- the same without padding ----------------------------------------------------------------------

    @property
    def packed_observation(self) -> PackedObservation:
        """The observation of the texts in work, without padding; nothing is computed twice for it.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        return self._running.observation(self.max_tokens, self._running.scores(self.info_scores))

    def step_packed(self, keep: Tensor) -> tuple[Tensor, Outcome | None]:
        """Apply a keep mask of the tokens in play as :meth:`step` does, and pad nothing.

        What comes next is :attr:`packed_observation`: after the last reduction, that of the next texts.

        Args:
            keep: Tokens that go on, ``(tokens in play,)`` bool, packed as :attr:`packed_observation` is.

        Returns:
            Rewards, ``(num_envs,)`` float32 on the device; and, after the last reduction, how the episode ended.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
            ValueError: The mask has another shape or type, or the autoreset mode is not SAME_STEP.
        """
        self._check_open()
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode is {self.autoreset_mode.value}: step_packed() needs 'SameStep'")
        layout = self._running.forward.tokens.layout
        rewards, outcome = self._advance(check_mask(keep, layout.total_tokens, self.device))
        if outcome is not None:
            self._draw()
        return rewards.float().to(self.device), outcome

    @property
    def row_valid(self) -> npt.NDArray[np.bool_]:
        """``(num_envs,)``: rows whose text belongs to the pass of ``order="once"``; all of them where it is endless."""
        return self._row_valid.copy()

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of the texts in work."""
        self._episode = None

    # -- episodes --------------------------------------------------------------------------------------

    @property
    def _goes_on_by_reset(self) -> bool:
        """Whether a reset is what leads to the next texts of a pass, which nothing else does in DISABLED mode."""
        ended = self._episode is not None and self._episode.forward.done
        return ended and self.autoreset_mode is AutoresetMode.DISABLED

    def _advance(self, keep: Tensor) -> tuple[Tensor, Outcome | None]:
        """Apply a packed mask: ``(num_envs,)`` float64 rewards, and the outcome after the last reduction."""
        episode = self._running
        rewards = episode.step(keep, self._price)
        if not episode.forward.done:
            return rewards, None
        settings = self.settings
        temperature = settings.reward_temperature if settings.reward == "distillation" else None
        self.last_outcome = outcome = episode.outcome(temperature, self.workload.labelled)
        softened = outcome.softened_divergence
        quality = outcome.log_likelihood if softened is None else -softened
        return rewards + quality.cpu().double(), outcome

    def _begin(self) -> tuple[Observation, Infos]:
        self._draw()
        return self._observe()

    def _draw(self) -> None:
        """Begin an episode on the texts that come next."""
        count = self.num_envs // self.samples_per_text
        self._indices, valid = self._order.draw(count, self.np_random)
        self._row_valid = valid.repeat(self.samples_per_text)
        self._episode = self._make_episode()

    def _make_episode(self) -> Episode:
        texts = [drawn_text(self.workload.texts, number) for number in self._indices]
        check_lengths(texts, self.max_tokens)
        return Episode(self.staged, texts, self.samples_per_text, self.info_scores == "attention")

    def _end(self, outcome: Outcome, rewards: Any) -> Any:
        finished = self._masked(self._outcome_infos(outcome))
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            observation, infos = self._observe()
            return observation, rewards, self._flags(True), self._flags(False), {**infos, **finished}
        final: Infos = self._masked({"final_info": finished})
        if self.final_obs:
            final = {**self._masked({"final_obs": self._observe()[0]}), **final}
        observation, infos = self._begin()
        return observation, rewards, self._flags(True), self._flags(False), {**infos, **final}

    def _step_after_end(self) -> Any:
        if self.autoreset_mode is AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded("the episode has ended: call reset(), autoreset_mode is Disabled")
        observation, infos = self._begin()
        zeros = torch.zeros(self.num_envs, dtype=torch.float64)
        return observation, self._rewards(zeros), self._flags(False), self._flags(False), infos

    def _observe(self) -> tuple[Observation, Infos]:
        """Observation and infos of the rows in work, padded."""
        packed = self.packed_observation
        observation = {key: self._array(value) for key, value in packed.padded().items()}
        found = packed.padded_infos()
        infos = {name: self._array(value) if isinstance(value, Tensor) else value for name, value in found.items()}
        return observation, self._masked(infos | self._validity())

    def _outcome_infos(self, outcome: Outcome) -> Infos:
        infos: Infos = {name: self._array(value) for name, value in outcome.metrics().items()}
        infos["text_id"] = np.array([text.text_id for text in outcome.texts])
        return infos | self._validity()

    def _validity(self) -> Infos:
        """Which rows hold a text that belongs to the pass; only where there is an end to it."""
        if self._order.order != "once":
            return {}
        return {"row_valid": self._array(torch.from_numpy(self._row_valid))}

    # -- looking at it ---------------------------------------------------------------------------------

    def token_strings(self, row: int) -> list[str]:
        """The tokens of a row's text, in text order.

        Raises:
            ValueError: There is no such row.
        """
        if not 0 <= row < self.num_envs:
            raise ValueError(f"row {row}: there are {self.num_envs}, from 0 on")
        text = self._running.texts[row // self.samples_per_text]
        return list(self.workload.backbone.tokenizer.convert_ids_to_tokens(text.input_ids.tolist()))

    def render(self) -> tuple[Any, ...] | None:
        """Show each row's text, skipped tokens struck out.

        Returns:
            With ``render_mode="ansi"`` strings, with ``"rgb_array"`` pictures, ``(height, width, 3)`` uint8; None
            without a mode.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset.
        """
        if self.render_mode is None:
            return None
        show: Callable[..., Any] = render_reduction if self.render_mode == "ansi" else render_image
        in_play = self._running.observation(self.max_tokens).in_play.cpu()
        return tuple(show(self.token_strings(row), in_play[row].tolist()) for row in range(self.num_envs))

    # -- going on later --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Its place and its generators: all that a resumed run needs to go on bit for bit."""
        episode = self._episode
        return {
            "rows": [self.num_envs, self.samples_per_text],
            "num_texts": len(self.workload.texts),
            "reduction_layers": list(self.staged.encoder.reduction_layers),
            "order": self._order.state_dict(),
            "generator": self.np_random.bit_generator.state,
            "indices": self._indices.copy(),
            "row_valid": self._row_valid.copy(),
            "masks": None if episode is None else [mask.cpu() for mask in episode.masks],
            "length_penalty": self.length_penalty,
        }

    def load_state_dict(self, state: dict[str, Any]) -> tuple[Observation, Infos] | None:
        """Go on from :meth:`state_dict`; an episode that was running is played again up to where it stood.

        Returns:
            The observation and infos of the running episode; None where none ran.

        Raises:
            ValueError: The state is of an environment of other rows, texts or reduction layers, or no state at
                all; the environment then goes on as if nothing had been loaded.
        """
        own, episode = self.state_dict(), self._episode
        check_environment_state(state, own)
        self._order.check_drawn(np.asarray(state["indices"]), state["order"])
        try:
            return self._load(state)
        # What odd values in a state make numpy, torch and plain Python raise; OverflowError is an ArithmeticError.
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError) as error:
            self._load_place(own)
            self._episode = episode
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"the saved environment cannot be gone on with ({reason}): save it anew") from error

    def _load(self, state: dict[str, Any]) -> tuple[Observation, Infos] | None:
        self._load_place(state)
        self._episode = None
        if state["masks"] is None:
            return None
        self._episode = self._played_again(state["masks"])
        return self._observe()

    def _played_again(self, masks: Sequence[Tensor]) -> Episode:
        """An episode of the same texts that keep masks have been applied to."""
        episode = self._make_episode()
        for mask in masks:
            layout = episode.forward.tokens.layout
            episode.replay(check_mask(mask, layout.total_tokens, self.device))
        return episode

    def _load_place(self, state: dict[str, Any]) -> None:
        """Everything but the running episode."""
        self._order.load_state_dict(state["order"])
        self.np_random.bit_generator.state = state["generator"]
        self._indices = np.asarray(state["indices"], dtype=np.int64)
        self._row_valid = np.asarray(state["row_valid"], dtype=np.bool_)
        self.length_penalty = state["length_penalty"]

    # -- small parts -----------------------------------------------------------------------------------

    @property
    def _running(self) -> Episode:
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("no text is in work: call reset() first")
        return self._episode

    def _check_open(self) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError("the environment is closed: make a new one")

    def _array(self, tensor: Tensor) -> Any:
        return tensor.to(self.device) if self.array_type == "torch" else tensor.cpu().numpy()

    def _rewards(self, rewards: Tensor) -> Any:
        return self._array(rewards.float())

    def _flags(self, value: bool) -> Any:
        return self._array(torch.full((self.num_envs,), value))

    def _masked(self, infos: Infos) -> Infos:
        """Gymnasium's convention: beside every key, which rows it speaks of."""
        masks = {f"_{key}": np.ones(self.num_envs, dtype=np.bool_) for key in infos}
        return {**infos, **masks}
