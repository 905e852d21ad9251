"""TokenReducedModel: a fine-tuned encoder with its policy, as users save, load and run it.

It is a model of transformers: the classes of :mod:`trbert_env.deploy.heads` are what the auto classes give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from trbert_env.data.weights import WrongLoadError, check_nothing_missing, load_weights
from trbert_env.deploy.config import TokenReducedConfig, check_kind
from trbert_env.deploy.inputs import PaddedInputs, not_compiled, refuse
from trbert_env.deploy.losses import task_loss
from trbert_env.deploy.raw_texts import TokenizerPlace
from trbert_env.deploy.trade_off import TradeOff
from trbert_env.encoder.attention import PACKED_ATTENTION
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.positions import exact_frequencies, first_position
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch, spread
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.decision import DecisionRule, logit
from trbert_env.reduction.exit_offsets import ExitOffsets, make_exit_offsets
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import Task, task_name


@dataclass(frozen=True)
class PackedOutput:
    """Result of a packed pass of a model or of its export.

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


@dataclass(frozen=True)
class ReducedOutput(PackedOutput):
    """Result of a packed forward pass.

    Attributes:
        states: Every token's last state in text order, ``(sum of text lengths, hidden)``; where the task head reads
            first tokens alone, others have the state that they entered the last layer with, unless all were asked for.
    """

    states: Tensor


class TokenReducedModel(TradeOff, PreTrainedModel):
    """A fine-tuned encoder that skips the tokens its policy finds unimportant.

    Making or loading one gives the class of its kind of task, such as
    :class:`~trbert_env.deploy.heads.TokenReducedForQuestionAnswering`, which is also what the auto class of that kind
    gives. Padded calls take what stock models take, labels included; packed calls are :meth:`forward_packed`.

    Args:
        config: Its configuration.

    Raises:
        WrongLoadError: It is made by the class of another kind of task, or with another number of labels.
        ValueError: The configuration cannot be built.

    Example:
        >>> model = TokenReducedModel.from_pretrained("runs/SQuAD2/.../model")  # doctest: +SKIP
        >>> outputs = model(**tokenizer(question, context, return_tensors="pt"))  # doctest: +SKIP
    """

    config_class = TokenReducedConfig
    base_model_prefix = "trbert"
    # The attention function is set by StagedEncoder, for packed and stock calls alike.
    _supports_sdpa = True
    #: Trainer: losses are means over the texts of a call.
    accepts_loss_kwargs = False
    config: TokenReducedConfig

    #: The auto class of transformers that gives this class; None for any.
    auto_model: ClassVar[Any] = None
    #: Where the tokenizer beside it is loaded from; None where the model was loaded from nowhere.
    tokenizer_place: TokenizerPlace | None = None
    #: The class of each auto class.
    _classes: ClassVar[dict[Any, Any]] = {}

    def __init_subclass__(cls, auto_model: Any = None, **kwargs: Any) -> None:
        """Note which auto class gives the class."""
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]
        if auto_model is not None:
            cls.auto_model = auto_model
            TokenReducedModel._classes[auto_model] = cls

    @classmethod
    def classes(cls) -> dict[Any, type[TokenReducedModel]]:
        """Return the class of each auto class of transformers."""
        return dict(TokenReducedModel._classes)

    def __new__(cls, config: TokenReducedConfig | None = None, *arguments: Any, **options: Any) -> TokenReducedModel:
        """Make the class of the configuration's kind of task; copies give no configuration."""
        if config is None:
            return super().__new__(cls)
        wanted = config.task_class.auto_model
        if cls.auto_model not in (None, wanted):
            raise WrongLoadError(
                f"the model's task is {config.task_class.__name__}: load it by {wanted.__name__} or TokenReducedModel, "
                f"not by {cls.auto_model.__name__}"
            )
        kind: type[TokenReducedModel] = cls if cls is not TokenReducedModel else cls._classes.get(wanted, cls)
        return super().__new__(kind)

    def __init__(self, config: TokenReducedConfig) -> None:
        super().__init__(config)
        _check_attention(config._attn_implementation)
        self.task = config.make_task()
        backbone_config = config.backbone_config()
        if config.num_labels != backbone_config.num_labels:
            raise WrongLoadError(
                f"num_labels is {config.num_labels}, and the model has {backbone_config.num_labels} outputs: leave "
                "num_labels out, or restore its config.json"
            )
        self.backbone: PreTrainedModel = self.task.auto_model.from_config(backbone_config)
        encoder = StagedEncoder(self.backbone, config.reduction_layers)
        self.decision.check(encoder.num_reductions)
        self.policy = TokenPolicy(
            encoder.hidden_size, encoder.num_reductions, config.policy_size, overlap=config.weighted_overlap
        )
        # The exit offsets; the name is that of the saved weights.
        self.calibration = make_exit_offsets(
            self.task.reads, encoder.num_reductions, self.task.num_logits, encoder.hidden_size
        )
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *arguments: Any,
        output_loading_info: bool = False,
        backend: str = "torch",
        precision: str = "float32",
        **options: Any,
    ) -> Any:
        """Load a saved model, whole or not at all; arguments are those of transformers.

        Args:
            pretrained_model_name_or_path: A folder or a hub name.
            arguments: Handed on to transformers.
            output_loading_info: True to return a report too, as transformers does.
            backend: ``"torch"``; or ``"onnx"`` or ``"openvino"`` for an export beside the model, which gives a
                :class:`~trbert_env.deploy.export.model.ExportedModel`.
            precision: Number format of the export.
            options: Handed on to transformers.

        Raises:
            FileNotFoundError: There is no model, or its weights are a pickle; or there is no such export.
            WrongLoadError: It is loaded by the class of another kind of task, or with another number of labels.
            TypeError: There is no such option.
            ValueError: Weights are missing, left over, of another shape, damaged or not finite, or the
                configuration is of no use; or the export is of other weights.
        """
        if backend != "torch":
            from trbert_env.deploy.export.model import ExportedModel  # which is built upon this module

            if arguments or options or output_loading_info:
                raise ValueError(f"backend {backend!r} takes a precision and no other option: leave the rest out")
            return ExportedModel.from_pretrained(pretrained_model_name_or_path, backend, precision)
        if precision != "float32":
            raise ValueError(f"precision {precision!r} is of an export: name its backend, or give dtype= instead")
        source = str(pretrained_model_name_or_path)
        what = f"token-reduced model '{source}'"
        check_kind(source, options.get("subfolder") or "")
        for name in ("use_safetensors", "ignore_mismatched_sizes"):
            options.pop(name, None)
        model, missing = load_weights(super().from_pretrained, source, what, positional=arguments, **options)
        check_nothing_missing(missing, what, source)
        # Absolute, for the working folder may change before the tokenizer is asked for.
        folder = str(Path(source).absolute()) if Path(source).is_dir() else source
        assert isinstance(model, TokenReducedModel), "what was loaded is of this class"
        model.tokenizer_place = TokenizerPlace.of(folder, options)
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
        reduction_layers: Sequence[float],
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
        if exit_offsets is not None:
            model.calibration.load_state_dict(exit_offsets.state_dict())
        model.eval()  # type: ignore[no-untyped-call]
        return model

    @cached_property
    def staged(self) -> StagedModel:
        """The backbone with all that runs it; not a submodule, for its parts are."""
        layers, flops = self.config.reduction_layers, self.policy.flops_per_token
        return StagedModel(self.backbone, self.task, layers, self.calibration, flops)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; where it is a part of what runs, that is put together anew.

        So exchanged parts are run, and replicas of :class:`torch.nn.DataParallel`, whose parts are set one by one, run
        their own.
        """
        super().__setattr__(name, value)
        if name in ("backbone", "calibration", "policy"):
            self.__dict__.pop("staged", None)

    @property
    def encoder(self) -> StagedEncoder:
        """The backbone's encoder, cut at the reduction layers."""
        return self.staged.encoder

    @property
    def num_reductions(self) -> int:
        """Number of reductions: T."""
        return self.encoder.num_reductions

    @property
    def cost(self) -> CostModel:
        """What its passes cost, the policy included."""
        return self.staged.cost

    def forward_packed(
        self,
        batch: TextBatch,
        keep_masks: Sequence[Tensor] | None = None,
        samples: int = 1,
        decision: DecisionRule | None = None,
        all_states: bool = False,
    ) -> ReducedOutput:
        """Run a packed batch; gradients flow wherever they are enabled.

        Args:
            batch: The texts.
            keep_masks: T packed bool masks to apply instead of the policy's own.
            samples: Rows of each text; they share the first stage.
            decision: Decision rule to apply instead of the model's own.
            all_states: True for the last states of all tokens, whatever the task head reads.

        Raises:
            ValueError: A sequence has more tokens than the encoder has positions, or another attention function was
                set.
        """
        staged = self.staged
        if self.encoder.family.attention_interface:  # any other function would attend from one text to the next
            _check_attention(self.backbone.config._attn_implementation, PACKED_ATTENTION)
        rule = self.decision if decision is None else decision
        forward = staged.start(batch, samples, all_states=all_states)
        masks, policy_logits = [], []
        while not forward.done:
            layout = forward.tokens.layout
            if keep_masks is None:
                logits = self.policy(forward.tokens.states, forward.reduction, forward.overlap)
                policy_logits.append(logits)
                mask = decide(rule, logits, layout, forward.reduction)
            else:
                mask = keep_masks[forward.reduction]
            masks.append(mask | layout.first_tokens)
            forward.advance(mask)
        logits, _ = staged.read(forward)
        return ReducedOutput(logits, forward.layouts, masks, policy_logits, forward.final_states()[0])

    @not_compiled
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Run a tokenizer's padded batch; the padding is taken out and costs nothing.

        Args:
            input_ids: ``(num_texts, width)``, padded on either side; ``(num_texts, sequences, width)`` where a text has
                several: the options of a choice, the slices of a long text. Of a text that has fewer, the last are all
                padding.
            attention_mask: 1 for tokens, 0 for padding, of the same shape; all are tokens where it is None.
            token_type_ids: Token type ids of the same shape.
            position_ids: Positions of the same shape, which must count from each sequence's first token on, as they do
                where it is None.
            labels: Gold answers, for a loss: of classes, numbers and options as stock models take them,
                ``(num_texts,)``; of token classifiers as :meth:`Task.targets` gives them.
            output_hidden_states: True to return each token's last state too; None for what the configuration says.
            return_dict: False to return a tuple; None for what the configuration says.
            others: Other inputs of stock models, which are refused by name.

        Returns:
            Outputs of the stock model of the task: ``loss`` where labels are given; for questions ``start_logits`` and
            ``end_logits``, shaped like ``input_ids``, minus infinity on padding, else ``logits``, one row a text, or of
            multi-hop questions and candidates one a token; and ``hidden_states``, one tensor of the shape of
            ``input_ids`` and the hidden size, 0 on padding. Logits are float32.

        Raises:
            ValueError: An input is not supported, the batch cannot be read as texts, the encoder embeds no such token
                id, or a sequence has more tokens than the encoder has positions.
        """
        inputs = self._read(input_ids, attention_mask, token_type_ids, position_ids, others)
        wants_states = self._wants_states(output_hidden_states)
        packed = self.forward_packed(inputs.batch, all_states=wants_states)
        output = self.task.model_output(packed.logits, inputs.batch.layout, inputs.mask)
        loss = None if labels is None else self._loss(output, packed, labels)
        return self._outputs(output, loss, packed, inputs, wants_states, return_dict)

    def _read(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        others: Mapping[str, Any],
    ) -> PaddedInputs:
        """Texts of a padded call, whose other inputs are refused."""
        refuse(others, type(self).__name__)
        inputs = PaddedInputs.of(input_ids, attention_mask, token_type_ids)
        # Embeddings that were exchanged may be more or fewer; quantised and adapted ones do not say.
        embeddings = self.get_input_embeddings()
        config = self.backbone.config
        vocabulary = int(getattr(embeddings, "num_embeddings", config.vocab_size))
        inputs.check_tokens(vocabulary, self.encoder.family.token_types(config))
        if position_ids is not None:
            inputs.check_positions(position_ids, first_position(self.backbone))
        return inputs

    def _loss(self, output: Any, packed: ReducedOutput, labels: Tensor) -> Tensor:
        """Loss of a padded call."""
        return task_loss(self.task, packed.logits, packed.layouts[0], labels)

    def _wants_states(self, output_hidden_states: bool | None) -> bool:
        """Whether a padded call returns states: what it says, or else the configuration."""
        return bool(self.config.output_hidden_states if output_hidden_states is None else output_hidden_states)

    def _outputs(
        self,
        output: ModelOutput,
        loss: Tensor | None,
        packed: ReducedOutput,
        inputs: PaddedInputs,
        wants_states: bool,
        return_dict: bool | None,
    ) -> ModelOutput | tuple[Tensor, ...]:
        """What a padded call returns."""
        states = (spread(packed.states, inputs.mask),) if wants_states else None
        output = type(output)(**{**output, "loss": loss, "hidden_states": states})
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    def _apply(self, fn: Any, recurse: bool = True) -> TokenReducedModel:
        """Cast and move as torch does, by which rotary positions stay exact, as in a model that is loaded so."""
        with exact_frequencies(self):
            return cast(TokenReducedModel, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def set_attn_implementation(self, attn_implementation: Any, allow_all_kernels: bool = False) -> None:
        """Refuse any attention function but its own.

        Args:
            attn_implementation: Name of a function.
            allow_all_kernels: Not needed here.

        Raises:
            WrongLoadError: It is another one.
        """
        _check_attention(attn_implementation)

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings of the encoder."""
        found: nn.Module = self.backbone.get_input_embeddings()
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Exchange the word embeddings of the encoder.

        Args:
            value: The new ones.
        """
        self.backbone.set_input_embeddings(value)

    def resize_token_embeddings(self, *arguments: Any, **options: Any) -> nn.Embedding:
        """Resize the word embeddings of the encoder; arguments are those of transformers."""
        found: nn.Embedding = self.backbone.resize_token_embeddings(*arguments, **options)
        self.config.backbone = {**self.config.backbone, "vocab_size": found.num_embeddings}
        return found


def _check_attention(name: Any, own: str = "sdpa") -> None:
    """Refuse an attention function that knows nothing of packed texts.

    Raises:
        WrongLoadError: It is one.
    """
    if name != own:
        raise WrongLoadError(
            f"attn_implementation {name!r} is not supported: a token-reduced model attends within packed texts, by "
            "scaled_dot_product_attention; leave it out, or load the model again where it was set"
        )


def decide(rule: DecisionRule, logits: Tensor, layout: Layout, reduction: int) -> Tensor:
    """Return the packed mask of a decision rule.

    Args:
        rule: Decision rule.
        logits: Packed logits of keeping.
        layout: Layout of the tokens in play.
        reduction: 0-based.
    """
    if rule.keep_fractions is None:  # each token for itself: nothing to pad for
        return (logits.detach() >= logit(rule.threshold)) | layout.first_tokens
    width = int(layout.text_lengths.max())
    in_play = layout.pad(torch.ones_like(layout.first_tokens), width)
    forced = layout.pad(layout.first_tokens, width)
    padded = layout.pad(logits.detach(), width)
    return layout.gather(rule(padded, in_play, forced, layout.text_lengths, reduction))
