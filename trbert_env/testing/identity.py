"""A toy with a known answer: keep exactly the tokens that bear a mark.

An algorithm that does not learn this in seconds is broken; one that does may be tried on text. All of the
real environment is run: texts, packed encoder, reduction, task head. Only what the head reads is arranged:
a token that went through the second layer says so in the first dimension of its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor
from transformers import BertConfig, BertForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.generic import ModelOutput

from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.encoder.packing import Layout
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.single_env import ONE_ROW, TokenReductionEnv, check_one_row
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import get_preset
from trbert_env.tasks.base import EncodedText, Task

#: Token ids: the first token of a text, the mark, and how many words there are besides.
FIRST, MARK, NUM_WORDS = 0, 1, 30
MAX_TOKENS, MIN_TOKENS = 64, 32
HIDDEN_SIZE, NUM_TEXTS = 32, 256


class IdentityTask(Task):
    """The share of tokens that were treated rightly: marks kept, all others skipped. [CLS] does not count."""

    auto_model = BertForTokenClassification
    num_logits = 1
    max_text_tokens = MAX_TOKENS
    metric_names = ()

    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[EncodedText]:
        """Nothing: its texts are made by :func:`identity_texts`.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("the toy makes its own texts")

    def logits(self, model: PreTrainedModel, states: Tensor, layout: Layout) -> Tensor:
        """``(total_tokens, 1)``: above 0 for tokens that went on."""
        return states[:, :1].float()

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """The share of right decisions, ``(num_texts,)`` in [0, 1]: a score in a likelihood's place."""
        pieces = logits[:, 0].split(layout.text_lengths.tolist())
        shares = [
            ((piece > 0) == (target[: len(piece)] == 1))[1:].float().mean()
            for piece, target in zip(pieces, targets.to(logits.device), strict=True)
        ]
        return torch.stack(shares)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Nothing to distil.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("the toy has no teacher")

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, Any]:
        """Which tokens went on, by text id."""
        return {text.text_id: (values[:, 0] > 0).tolist() for text, values in zip(texts, logits, strict=True)}

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        """No stock model has this head.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("no stock model has the toy's head")

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> ModelOutput:
        """No stock model has this head.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("no stock model has the toy's head")

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Nothing beyond the return."""
        return {}


def identity_texts(count: int, seed: int) -> list[EncodedText]:
    """Random words, about half of them marked, so that no single habit is a good one; after a first token."""
    generator = np.random.default_rng(seed)
    texts = []
    for index in range(count):
        length = int(generator.integers(MIN_TOKENS, MAX_TOKENS + 1))
        marked = generator.random(length) < 0.5
        marked[0] = False
        words = generator.integers(MARK + 1, MARK + 1 + NUM_WORDS, length)
        input_ids = np.where(marked, MARK, words).astype(np.int32)
        input_ids[0] = FIRST
        target = np.zeros(MAX_TOKENS, dtype=np.int64)
        target[:length] = marked
        texts.append(EncodedText(f"text {index}", input_ids, np.zeros(length, dtype=np.int32), (length,), target))
    return texts


def identity_model(seed: int = 0) -> PreTrainedModel:
    """A random BERT of two layers, whose norms write in the first dimension how far a token went."""
    config = BertConfig(
        vocab_size=MARK + 1 + NUM_WORDS,
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * HIDDEN_SIZE,
        max_position_embeddings=MAX_TOKENS,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForTokenClassification(config).eval()
    for layer, said in zip(model.bert.encoder.layer, (-1.0, 1.0), strict=True):
        norm = layer.output.LayerNorm
        with torch.no_grad():
            norm.weight[0], norm.bias[0] = 0.0, said
    return cast(PreTrainedModel, model)


def identity_workload() -> Workload:
    """Return the toy's texts and model; the price of a token is 0, so that 1 is the best return."""
    preset = replace(get_preset("SQuAD2"), name="Identity", length_penalty=0.0)
    no_tokenizer = cast(PreTrainedTokenizerBase, None)
    backbone = Backbone(identity_model(), no_tokenizer, "identity", "trbert_env.testing.identity", True)
    texts = identity_texts(NUM_TEXTS, seed=0)
    examples = Dataset.from_dict({"id": [text.text_id for text in texts]})
    return Workload(preset, IdentityTask(), backbone, examples, texts, "train", "embedded")


class IdentityVectorEnv(TokenReductionVectorEnv):
    """The toy, ``TRBERT/Identity-v0``: one reduction, texts of 32 to 64 tokens, returns from 0 to 1.

    Made as :class:`TokenReductionVectorEnv`, of :func:`identity_workload`.

    Example:
        >>> import gymnasium, trbert_env
        >>> envs = gymnasium.make_vec("TRBERT/Identity-v0", num_envs=4)
        >>> observation, infos = envs.reset(seed=0)
        >>> marked = envs.marked  # the right answer
        >>> _, rewards, *_ = envs.step(marked)
        >>> rewards.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    @property
    def marked(self) -> npt.NDArray[np.int8]:
        """``(num_envs, max_tokens)``: the action that earns 1."""
        targets = np.stack([text.target for text in self._running.texts])
        return targets.repeat(self.samples_per_text, 0).astype(np.int8)

    def token_strings(self, row: int) -> list[str]:
        """``[CLS]``, ``*`` for marks, and ``w<n>`` for the rest."""
        text = self._running.texts[row // self.samples_per_text]
        names = {FIRST: "[CLS]", MARK: "*"}
        return [names.get(token, f"w{token}") for token in text.input_ids.tolist()]


def make_identity_vector_env(num_envs: int = 1, **settings: Any) -> IdentityVectorEnv:
    """Make the toy; the ``vector_entry_point`` of its id.

    Args:
        num_envs: Rows; a multiple of ``samples_per_text``.
        settings: Fields of :class:`~trbert_env.envs.settings.EnvSettings`.
    """
    return IdentityVectorEnv(identity_workload(), EnvSettings(num_envs=num_envs, **settings))


def make_identity_env(**settings: Any) -> TokenReductionEnv:
    """Make one row of the toy, for tools that know no vector environments; the ``entry_point`` of its id.

    Args:
        settings: Fields of :class:`~trbert_env.envs.settings.EnvSettings` that one row does not settle.

    Raises:
        ValueError: A field is one that one row settles.
    """
    check_one_row(settings)
    return TokenReductionEnv(make_identity_vector_env(**ONE_ROW, **settings))


make_identity_env.metadata = TokenReductionEnv.metadata  # type: ignore[attr-defined]
