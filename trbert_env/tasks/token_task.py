"""What tasks share whose head gives every token logits of its own: a stock token classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import spread, without_padding
from trbert_env.tasks.base import Task
from trbert_env.tasks.heads import token_logits
from trbert_env.tasks.labels import HeadMismatchError, has_head, labels_of, listed, write_labels


@dataclass
class TokenTask(Task):
    """A task over a token classifier, whose outputs have names."""

    auto_model: ClassVar[Any] = AutoModelForTokenClassification

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of a token's logits, in their order."""

    @property
    def num_logits(self) -> int:
        """One for each name."""
        return len(self.outputs)

    def configure(self, config: PreTrainedConfig, records: Dataset | None = None, labels: Sequence[str] = ()) -> None:
        """Name the head's outputs; see :meth:`Task.configure`.

        Raises:
            HeadMismatchError: The encoder has been fine-tuned to classify tokens as something else.
        """
        found = labels_of(config)
        if has_head(config, self.auto_model) and found != self.outputs:
            raise HeadMismatchError(
                f"the task needs the outputs {listed(self.outputs)}, and the encoder's are {listed(found)}",
                "give an encoder that was fine-tuned for this task, or one without a head",
            )
        write_labels(config, self.outputs)

    def logits(self, model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
        """Logits of every token, ``(total_tokens, num_logits)`` float32; see :meth:`Task.logits`.

        Raises:
            ValueError: The model has no head that classifies tokens.
        """
        return token_logits(model, states)

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """``(total_tokens, num_logits)``; see :meth:`Task.stock_logits`."""
        return without_padding(outputs.logits, layout)

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> TokenClassifierOutput:
        """Return ``logits``, ``(*mask.shape, num_logits)``: 0 on padding; see :meth:`Task.model_output`."""
        return TokenClassifierOutput(logits=spread(logits, mask))
