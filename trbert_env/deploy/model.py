"""TokenReducedModel: a fine-tuned encoder with its policy, as users save, load and run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from trbert_env.data.weights import check_nothing_missing, load_weights
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.presets import get_preset
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.decision import DecisionRule, check_keep_fractions, logit
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.reduction.policy import DEFAULT_POLICY_SIZE, TokenPolicy
from trbert_env.reduction.speed_table import SpeedTable
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Task, make_task, task_name, task_of


class TokenReducedConfig(PreTrainedConfig):
    """What a token-reduced model is made of.

    Args:
        backbone: The configuration of the task model, as a dict; names of classes are taken from it.
        env: The name of the data set that it was trained for.
        task: The kind of task, a key of :data:`trbert_env.tasks.TASKS`; empty for the data set's own.
        task_settings: Settings of the task.
        reduction_layers: 1-based; None for the default.
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
        ValueError: It is an earlier version's, whose policies saw a lexical overlap of other weights.
    """

    model_type = "trbert"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        env: str = "SQuAD2",
        task: str = "",
        task_settings: dict[str, Any] | None = None,
        reduction_layers: Sequence[int] | None = None,
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
        # A classifier's users look the names of classes up here, as in any model of transformers.
        labels = {name: self.backbone[name] for name in ("id2label", "label2id") if name in self.backbone}
        super().__init__(**{**labels, **kwargs})

    def make_task(self) -> Task:
        """Make the task, with labels and the like as the configuration of the task model has them.

        Raises:
            ValueError: The task or one of its settings is unknown.
        """
        task = task_of(self.task, self.task_settings or {}) if self.task else make_task(get_preset(self.env))
        task.configure(self.backbone_config())
        return task

    def backbone_config(self) -> PreTrainedConfig:
        """The configuration of the task model."""
        values = dict(self.backbone)
        return AutoConfig.for_model(values.pop("model_type"), **values)


# Else AutoTokenizer, which reads the configuration beside a tokenizer, would warn of a type that it does not know.
AutoConfig.register(TokenReducedConfig.model_type, TokenReducedConfig, exist_ok=True)


@dataclass(frozen=True)
class ReducedOutput:
    """What a packed forward pass gives.

    Attributes:
        logits: The task's logits, rows of texts end to end.
        layouts: The tokens of each of the T + 1 stages.
        keep_masks: The T packed masks that were applied.
        policy_logits: The T packed policy logits; empty where masks were given.
    """

    logits: Tensor
    layouts: list[Layout]
    keep_masks: list[Tensor]
    policy_logits: list[Tensor]


class TokenReducedModel(PreTrainedModel):
    """A fine-tuned encoder that skips the tokens its policy finds unimportant.

    Args:
        config: Its configuration.

    Example:
        >>> model = TokenReducedModel.from_pretrained("runs/SQuAD2/.../model")  # doctest: +SKIP
        >>> outputs = model(**tokenizer(question, context, return_tensors="pt"))  # doctest: +SKIP
    """

    config_class = TokenReducedConfig
    base_model_prefix = "trbert"
    # The attention function is set by StagedEncoder, for packed and stock calls alike.
    _supports_sdpa = True
    config: TokenReducedConfig

    def __init__(self, config: TokenReducedConfig) -> None:
        super().__init__(config)
        self.task = config.make_task()
        self.backbone: PreTrainedModel = self.task.auto_model.from_config(config.backbone_config())
        encoder = StagedEncoder(self.backbone, config.reduction_layers)
        self._check_decision(self.decision, encoder.num_reductions)
        self.policy = TokenPolicy(
            encoder.hidden_size, encoder.num_reductions, config.policy_size, overlap=config.weighted_overlap
        )
        # None where the head reads first tokens; the name is that of the saved weights.
        self.calibration: ExitOffsets | None = None
        if self.task.reads == "tokens":
            self.calibration = ExitOffsets(encoder.num_reductions, self.task.num_logits, encoder.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *arguments: Any,
        output_loading_info: bool = False,
        **options: Any,
    ) -> Any:
        """Load a saved model, whole or not at all; arguments are those of transformers.

        Raises:
            FileNotFoundError: There is no model, or its weights are a pickle.
            ValueError: Weights are missing, left over, of another shape, damaged or not finite, or the
                configuration is of no use.
        """
        source = str(pretrained_model_name_or_path)
        what = f"token-reduced model '{source}'"
        for name in ("use_safetensors", "ignore_mismatched_sizes"):
            options.pop(name, None)
        model, missing = load_weights(super().from_pretrained, source, what, positional=arguments, **options)
        check_nothing_missing(missing, what, source)
        report: dict[str, Any] = {
            "missing_keys": set(),
            "unexpected_keys": set(),
            "mismatched_keys": set(),
            "error_msgs": [],
        }
        return (model, report) if output_loading_info else model

    @classmethod
    def from_parts(
        cls,
        backbone: PreTrainedModel,
        policy: TokenPolicy,
        *,
        env: str,
        task: Task,
        reduction_layers: Sequence[int],
        decision: DecisionRule,
        exit_offsets: ExitOffsets | None = None,
        backbone_name: str = "",
        trained_fractions: Sequence[float] | None = None,
    ) -> TokenReducedModel:
        """Join a task model, a policy and exit offsets; weights are copied, as float32."""
        form = backbone.config.to_diff_dict() | {"model_type": backbone.config.model_type}
        # Else a backbone that was loaded in half precision would be built in it.
        form.pop("dtype", None)
        config = TokenReducedConfig(
            backbone=form,
            env=env,
            task=task_name(task),
            task_settings=task.settings,
            reduction_layers=reduction_layers,
            policy_size=policy.policy_size,
            weighted_overlap=policy.overlap,
            threshold=decision.threshold,
            keep_fractions=decision.keep_fractions,
            trained_fractions=trained_fractions,
            backbone_name=backbone_name,
        )
        model = cls(config)
        model.backbone.load_state_dict(backbone.state_dict())
        model.policy.load_state_dict(policy.state_dict())
        if model.calibration is not None and exit_offsets is not None:
            model.calibration.load_state_dict(exit_offsets.state_dict())
        model.eval()  # type: ignore[no-untyped-call]
        return model

    @cached_property
    def staged(self) -> StagedModel:
        """The backbone with all that runs it; not a submodule, for its parts are."""
        layers, flops = self.config.reduction_layers, self.policy.flops_per_token
        return StagedModel(self.backbone, self.task, layers, self.calibration, flops)

    @property
    def encoder(self) -> StagedEncoder:
        """The backbone's encoder, cut at the reduction layers."""
        return self.staged.encoder

    @property
    def cost(self) -> CostModel:
        """What its passes cost, the policy included."""
        return self.staged.cost

    @property
    def decision(self) -> DecisionRule:
        """How it decides."""
        fractions = self.config.keep_fractions
        return DecisionRule(self.config.threshold, None if fractions is None else tuple(fractions))

    @property
    def speed_table(self) -> SpeedTable:
        """Which threshold gives which speed-up; empty where none was measured."""
        return SpeedTable(tuple(self.config.speedups), tuple(self.config.thresholds))

    @speed_table.setter
    def speed_table(self, table: SpeedTable) -> None:
        """Save it with the model."""
        self.config.speedups, self.config.thresholds = list(table.speedups), list(table.thresholds)

    @staticmethod
    def _check_decision(decision: DecisionRule, num_reductions: int) -> None:
        if decision.keep_fractions is not None:
            check_keep_fractions(decision.keep_fractions, num_reductions)

    def set_decision(self, decision: DecisionRule) -> None:
        """Decide by another rule from now on, and when loaded again.

        Raises:
            ValueError: Its keep fractions are not one for each reduction, falling within (0, 1].
        """
        self._check_decision(decision, self.encoder.num_reductions)
        fractions = decision.keep_fractions
        self.config.threshold = decision.threshold
        self.config.keep_fractions = None if fractions is None else list(fractions)

    def forward_packed(
        self,
        batch: TextBatch,
        keep_masks: Sequence[Tensor] | None = None,
        samples: int = 1,
        decision: DecisionRule | None = None,
    ) -> ReducedOutput:
        """Run a packed batch; gradients flow wherever they are enabled.

        Args:
            batch: The texts.
            keep_masks: T packed bool masks to apply instead of the policy's own.
            samples: Rows of each text; they share the first stage.
            decision: Decision rule to apply instead of the model's own.
        """
        rule = self.decision if decision is None else decision
        forward = self.staged.start(batch, samples)
        masks, policy_logits = [], []
        while not forward.done:
            layout = forward.tokens.layout
            if keep_masks is None:
                logits = self.policy(forward.tokens.states, forward.reduction, forward.overlap)
                policy_logits.append(logits)
                mask = _decide(rule, logits, layout, forward.reduction)
            else:
                mask = keep_masks[forward.reduction]
            masks.append(mask | layout.first_tokens)
            forward.advance(mask)
        logits, _ = self.staged.read(forward)
        return ReducedOutput(logits, forward.layouts, masks, policy_logits)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> ModelOutput:
        """Run a tokenizer's padded batch; the padding is taken out and costs nothing.

        Args:
            input_ids: ``(num_texts, width)``, padded on the right; ``(num_texts, sequences, width)`` where a text has
                several: the options of a choice, the slices of a long text. Of a text that has fewer, the last are all
                padding.
            attention_mask: 1 for tokens, 0 for padding, of the same shape.
            token_type_ids: Token type ids of the same shape.

        Returns:
            Outputs of the stock model of the task: for questions ``start_logits`` and ``end_logits``, shaped like
            ``input_ids``, minus infinity on padding; else ``logits``, one row a text, or of multi-hop questions and
            candidates one a token.

        Raises:
            ValueError: A sequence has more tokens than the encoder has positions, or the batch holds no text.
        """
        batch = TextBatch.from_padded(input_ids, attention_mask, token_type_ids)
        output = self.forward_packed(batch)
        return self.task.model_output(output.logits, batch.layout, input_ids.shape)


def _decide(rule: DecisionRule, logits: Tensor, layout: Layout, reduction: int) -> Tensor:
    """Return the packed mask of a decision rule."""
    if rule.keep_fractions is None:  # each token for itself: nothing to pad for
        return (logits.detach() >= logit(rule.threshold)) | layout.first_tokens
    width = int(layout.text_lengths.max())
    in_play = layout.pad(torch.ones_like(layout.first_tokens), width)
    forced = layout.pad(layout.first_tokens, width)
    padded = layout.pad(logits.detach(), width)
    return layout.gather(rule(padded, in_play, forced, layout.text_lengths, reduction))
