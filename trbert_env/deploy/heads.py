"""The classes that auto classes of transformers give, one a kind of head, with the loss of the stock head.

========================================  ======================================
auto class                                class
========================================  ======================================
``AutoModelForSequenceClassification``    :class:`TokenReducedForSequenceClassification`
``AutoModelForQuestionAnswering``         :class:`TokenReducedForQuestionAnswering`
``AutoModelForMultipleChoice``            :class:`TokenReducedForMultipleChoice`
``AutoModelForTokenClassification``       :class:`TokenReducedForTokenClassification`
========================================  ======================================

Other auto classes that encoders have refuse to load a token-reduced model, by name.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForNextSentencePrediction,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from trbert_env.deploy.answering import AnswersQuestions
from trbert_env.deploy.config import TokenReducedConfig, class_name
from trbert_env.deploy.inputs import not_compiled
from trbert_env.deploy.losses import checked_choices, choice_loss, classification_loss, span_loss, task_loss_of_counted
from trbert_env.deploy.model import ReducedOutput, TokenReducedModel
from trbert_env.deploy.scoring import ScoresTexts
from trbert_env.tasks import Classification, MultipleChoice
from trbert_env.tasks.settling import write_activation, write_problem_type


class TokenReducedForSequenceClassification(
    ScoresTexts, TokenReducedModel, auto_model=AutoModelForSequenceClassification
):
    """A token-reduced classifier, reranker or regression model; see :class:`TokenReducedModel`.

    Example:
        >>> model = TokenReducedForSequenceClassification.from_pretrained("runs/IMDB/.../model")  # doctest: +SKIP
        >>> model.score(["A fine film.", "Two hours of my life."]).argmax(1)  # doctest: +SKIP
        tensor([1, 0])
    """

    def __init__(self, config: TokenReducedConfig) -> None:
        super().__init__(config)
        if isinstance(self.task, Classification) and self.task.head is not None:
            write_problem_type(config, self.task.head, bounded=self.task.bounded)
            if self.task.head == "regression" and getattr(config, "sentence_transformers", None) is None:
                write_activation(config, bounded=self.task.bounded)

    def _loss(self, output: Any, packed: ReducedOutput, labels: Tensor) -> Tensor:
        if isinstance(self.task, Classification):
            return classification_loss(self.task, output.logits, labels)
        return super()._loss(output, packed, labels)


class TokenReducedForMultipleChoice(TokenReducedModel, auto_model=AutoModelForMultipleChoice):
    """A token-reduced multiple-choice model; see :class:`TokenReducedModel`."""

    def _loss(self, output: Any, packed: ReducedOutput, labels: Tensor) -> Tensor:
        if isinstance(self.task, MultipleChoice) and self.task.form == "softmax":
            return choice_loss(output.logits, labels)
        labels = checked_choices(output.logits, labels)
        return task_loss_of_counted(self.task, packed.logits, packed.layouts[0], labels)


class TokenReducedForTokenClassification(TokenReducedModel, auto_model=AutoModelForTokenClassification):
    """A token-reduced model whose head gives every token logits; see :class:`TokenReducedModel`."""


class TokenReducedForQuestionAnswering(AnswersQuestions, TokenReducedModel, auto_model=AutoModelForQuestionAnswering):
    """A token-reduced model that answers questions by spans of contexts; see :class:`TokenReducedModel`.

    Example:
        >>> model = TokenReducedForQuestionAnswering.from_pretrained("runs/SQuAD2/.../model")  # doctest: +SKIP
        >>> model.answer(question="Who sold drums?", context="Ada sold drums.").text  # doctest: +SKIP
        'Ada'
    """

    # The names of labels are how Trainer knows them, and those of other heads are not its.
    @not_compiled
    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        """Run a tokenizer's padded batch; see :meth:`TokenReducedModel.forward`.

        Args:
            input_ids: Token ids.
            attention_mask: 1 for tokens, 0 for padding.
            token_type_ids: Token type ids.
            position_ids: Positions, which must be those that the encoder reads.
            start_positions: Places of the first tokens of answers, for a loss; see
                :func:`~trbert_env.deploy.losses.span_loss`.
            end_positions: Places of their last tokens.
            output_hidden_states: True to return each token's last state too.
            return_dict: False to return a tuple.
            others: Other inputs of stock models, which are refused by name.

        Raises:
            ValueError: An input is not supported, or the batch cannot be read as texts.
        """
        if (start_positions is None) != (end_positions is None):
            raise ValueError("one of start_positions and end_positions is missing: give both, or none for no loss")
        inputs = self._read(input_ids, attention_mask, token_type_ids, position_ids, others)
        wants_states = self._wants_states(output_hidden_states)
        packed = self.forward_packed(inputs.batch, all_states=wants_states)
        output: Any = self.task.model_output(packed.logits, inputs.batch.layout, inputs.mask)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = span_loss(output.start_logits, output.end_logits, start_positions, end_positions)
        return self._outputs(output, loss, packed, inputs, wants_states, return_dict)


def _register() -> None:
    """Make transformers know the classes, and refuse by name what has no head for it."""
    for auto_model in (AutoModel, AutoModelForMaskedLM, AutoModelForNextSentencePrediction, AutoModelForPreTraining):
        # Never made: their auto class is that of no task.
        type(class_name(auto_model), (TokenReducedModel,), {"__module__": __name__}, auto_model=auto_model)
    for auto_model, kind in TokenReducedModel.classes().items():
        auto_model.register(TokenReducedConfig, kind, exist_ok=True)


_register()
