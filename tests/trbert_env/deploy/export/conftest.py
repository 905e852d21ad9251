"""Tiny models of every kind and family, saved, and texts for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from trbert_env.deploy.export.backends import missing_packages
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import CandidateQA, Classification, MultiHopQA, MultipleChoice, SpanQA, Task

BACKENDS = ("onnx", "openvino")
#: A kind of task, and the sequences of each of its texts.
KINDS: dict[str, tuple[Callable[[], Task], tuple[tuple[int, ...], ...]]] = {
    "span": (SpanQA, ((9,), (30,), (1,), (6,), (28,), (30,))),
    "classes": (Classification, ((9,), (14,), (1,), (6,))),
    "choice": (lambda: MultipleChoice(max_tokens=60, max_question_tokens=5), ((5, 7, 4), (8, 3, 6, 5), (3, 1, 6))),
    "multi-hop": (lambda: MultiHopQA(max_tokens=60, max_question_tokens=5), ((9, 9, 4), (7,), (6, 17))),
    "candidates": (lambda: CandidateQA(max_tokens=60), ((9, 9, 4), (7,), (6, 17))),
}


@dataclass(frozen=True)
class Saved:
    """A model in its folder, and texts for it."""

    folder: Path
    model: TokenReducedModel
    texts: list[EncodedText]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if missing := missing_packages(name):
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'trbert-env[{name}]'")
    return name


@pytest.fixture
def any_backend() -> str:
    """A backend that is installed, for what does not depend on which."""
    installed = [name for name in BACKENDS if not missing_packages(name)]
    if not installed:
        pytest.skip("no backend is installed: pip install 'trbert-env[onnx]'")
    return installed[0]


Save = Callable[..., Saved]


@pytest.fixture
def save(make_model: Callable[..., PreTrainedModel], tmp_path: Path) -> Save:
    """``save("span", "bert", overlap=True)``."""

    def make(
        kind: str = "span", family: str = "bert", *, overlap: bool = False, layers: tuple[float, ...] = (2, 3)
    ) -> Saved:
        made, lengths = KINDS[kind]
        task = made()
        config = copy.deepcopy(make_model(family, layers=max(3, int(layers[-1]))).config)
        config.architectures = None
        task.configure(config)
        torch.manual_seed(0)
        backbone: PreTrainedModel = task.auto_model.from_config(config)
        policy = TokenPolicy(backbone.config.hidden_size, len(layers), 8, overlap=overlap)
        rule = DecisionRule(threshold=0.5)
        model = TokenReducedModel.from_parts(
            backbone, policy, env="SQuAD2", task=task, reduction_layers=layers, decision=rule
        )
        generator = torch.Generator().manual_seed(1)
        # So large that every part of the model moves the logits, and tokens are told apart.
        for name, parameter in model.named_parameters():
            values = 0.2 * torch.randn(parameter.shape, generator=generator)
            is_scale = "norm" in name.lower() and name.endswith("weight")
            parameter.data = values + 1.0 if is_scale else values
        model.save_pretrained(tmp_path / "model")
        return Saved(tmp_path / "model", model.eval(), texts_of(lengths, family))

    return make


def texts_of(lengths: tuple[tuple[int, ...], ...], family: str) -> list[EncodedText]:
    """Random texts whose sequences have two segments, the first of which ends as the sequence does."""
    random = np.random.default_rng(0)
    texts = []
    for number, of_text in enumerate(lengths):
        pieces, segments = [], []
        for length in of_text:
            ids = random.integers(5, 60, length)
            ids[[length // 3, length - 1]] = 4
            pieces.append(ids)
            segments.append((np.arange(length) > length // 3) * (family in ("bert", "electra")))
        texts.append(
            EncodedText(
                text_id=str(number),
                input_ids=np.concatenate(pieces).astype(np.int32),
                token_type_ids=np.concatenate(segments).astype(np.int32),
                sequence_lengths=of_text,
                target=np.zeros((1, 2), np.int64),
            )
        )
    return texts
