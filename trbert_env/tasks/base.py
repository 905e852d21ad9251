"""What every task provides: texts as token ids, a likelihood to reward, and a metric to report.

A task knows nothing of environments and nothing of how tokens are packed: it sees the logits of all
tokens laid end to end, with the number of tokens of each text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trbert_env.encoder.texts import EncodedText as EncodedText


class Task(ABC):
    """Turns examples into texts and logits into a likelihood, predictions and metrics."""

    #: The transformers auto class that builds the fine-tuned model of this task.
    auto_model: Any
    #: Logits of every token.
    token_logits: int

    @abstractmethod
    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase) -> Sequence[EncodedText]:
        """Tokenise ``examples`` into texts, in the order of the examples."""

    @abstractmethod
    def logits(self, model: PreTrainedModel, states: Tensor, text_lengths: Tensor) -> Tensor:
        """Apply the task head of ``model`` to every token's last state.

        Args:
            model: A model made by :attr:`auto_model`.
            states: ``(total_tokens, hidden)``, texts laid end to end.
            text_lengths: ``(num_texts,)`` int64 tokens of each text.
        """

    @abstractmethod
    def log_likelihood(self, logits: Tensor, text_lengths: Tensor, targets: Tensor) -> Tensor:
        """Log Pr(gold answer) of each text, in nats, ``(num_texts,)`` float32 (the R of eq. 4)."""

    @abstractmethod
    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, text_lengths: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """How far each text's distribution is from a teacher's, in nats, ``(num_texts,)`` float32: distillation.

        KL(teacher || student) of the softened distributions, times ``temperature`` squared so that
        gradients keep their scale (Hinton et al. 2015, section 2.1). No gradient reaches the teacher.
        """

    @abstractmethod
    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], examples: Dataset
    ) -> dict[str, Any]:
        """Decode a prediction for every example from its texts' logits, keyed by example id."""

    @abstractmethod
    def metrics(self, predictions: Mapping[str, Any], examples: Dataset) -> dict[str, float]:
        """Quality of the predictions, from 0 to 100; the first key is the main one."""

    @staticmethod
    def targets(texts: Sequence[EncodedText]) -> Tensor:
        """Stack the gold answers of a batch: ``(num_texts, target_size)`` int64."""
        return torch.from_numpy(np.stack([text.target for text in texts]))
