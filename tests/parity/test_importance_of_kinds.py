"""Residual importance of heads that read first tokens, and of several sequences, equals its definition by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.importance import residual_importance
from trbert_env.staged_model import StagedModel
from trbert_env.tasks import CandidateQA, Classification, MultiHopQA, MultipleChoice, SpanQA, Task

PIVOT, DEPTH = 5, 6
#: The last reduction lies behind the pivot: a token could have stopped at the one before.
LAYERS, STOPPED = (2, 4, 6), (1, 3, 3)


def classes() -> Task:
    task = Classification(head="classes")
    task.labels = ("a", "b", "c")
    return task


#: The task, the lengths of the sequences of its texts, and the targets of these.
KINDS: dict[str, tuple[Callable[[], Task], list[tuple[int, ...]], list[Any]]] = {
    "span QA, sliced": (lambda: SpanQA(max_slices=3), [(9, 5, 7), (4, 8), (6,)], [(11, 13), (4, 11), (0, 0)]),
    "classes": (classes, [(9,), (14,), (1,)], [2, 0, 1]),
    "classes, sliced": (classes, [(9, 5, 7), (4, 8), (6,)], [2, 0, 1]),
    "relevance": (lambda: Classification(head="relevance"), [(9,), (14,), (5,)], [1.0, 0.0, 1.0]),
    "regression": (lambda: Classification(head="regression"), [(9,), (14,)], [0.5, -3.0]),
    "four options": (MultipleChoice, [(9, 5, 7, 6), (4, 8, 3, 10), (5, 6)], [3, 0, 1]),
    "multi-hop": (
        lambda: MultiHopQA(support_weight=0.5),
        [(9, 5, 7), (4, 8), (6,)],
        # A span and two sentences; yes and one sentence of each slice; a span.
        [[[0, 11, 13, 3, 1], [-1, -1, -1, 15, 0]], [[1, 0, 0, 2, 1], [-1, -1, -1, 7, 0]], [[0, 1, 4, 2, 0]]],
    ),
    "candidates": (
        CandidateQA,
        [(9, 5), (4, 8), (6,)],
        [[[0, 2, 1], [1, 4, 0], [0, 10, 1], [1, 12, 0]], [[0, 1, 0], [1, 7, 1]], [[0, 2, 1], [1, 3, 0], [2, 5, 0]]],
    ),
    "options, each for itself": (lambda: MultipleChoice(form="independent"), [(9, 5, 7, 6), (5, 6)], [2, 0]),
}

#: Kinds whose targets have several rows.
WHOLE = ("multi-hop", "candidates")


def multi_hop_loss(logits: Tensor, target: Any, lengths: tuple[int, ...]) -> Tensor:
    firsts = np.cumsum([0, *lengths[:-1]])
    loss = -logits[firsts, 2:5].amax(0).log_softmax(0)[int(target[0, 0])]
    if target[0, 0] == 0:
        start, end = logits[:, :2].log_softmax(0)[torch.from_numpy(target[0, 1:3]), torch.arange(2)]
        loss = loss - (start + end) / 2
    yes = logits[target[:, 3], 5].sigmoid()
    right = torch.stack([one if support else 1 - one for one, support in zip(yes, target[:, 4], strict=True)])
    return loss - 0.5 * right.log().mean()


def loss_of(kind: str, logits: Tensor, target: Any, lengths: tuple[int, ...]) -> Tensor:
    """Minus the log-likelihood of one text; ``logits`` are those of its tokens or sequences."""
    if kind.startswith("span"):
        start, end = logits.log_softmax(0)[torch.from_numpy(target), torch.arange(2)]
        return -(start + end) / 2
    if kind == "multi-hop":
        return multi_hop_loss(logits, target, lengths)
    if kind == "candidates":
        scores = [logits[target[target[:, 0] == one][:, 1], 0].mean() for one in range(int(target[:, 0].max()) + 1)]
        return -torch.stack(scores).log_softmax(0)[int(target[target[:, 2] == 1][0, 0])]
    if kind.startswith("classes"):
        return -logits.amax(0).log_softmax(0)[int(target)]
    if kind == "relevance":
        yes = logits[0, 0].sigmoid()
        return -(yes if target == 1 else 1 - yes).log()
    if kind == "regression":
        return (logits[0, 0] - float(target)) ** 2 / 2
    if kind == "four options":
        return -logits[:, 0].log_softmax(0)[int(target)]
    yes = logits[:, 0].sigmoid()
    right = [yes[index] if index == int(target) else 1 - yes[index] for index in range(len(yes))]
    return -torch.stack(right).log().mean()


def rows_of(outputs: Any) -> Tensor:
    """Logits of the tokens of a sequence, or of the sequence."""
    if "start_logits" in outputs:
        return torch.stack([outputs.start_logits[0], outputs.end_logits[0]], 1)
    logits: Tensor = outputs.logits
    return logits[0] if logits.dim() == 3 else logits.view(1, -1)


def by_definition(stock: Any, family: str, kind: str, text: EncodedText) -> Tensor:
    """|dLoss/dH_r . (H_r - H_l)|, (T, n), of all sequences of a text."""
    cuts = np.cumsum(text.sequence_lengths)[:-1]
    ids, types = (np.split(values, cuts) for values in (text.input_ids, text.token_type_ids))
    pivots, residuals, logits = [], [], []
    for own_ids, own_types in zip(ids, types, strict=True):
        arguments = {"input_ids": torch.from_numpy(own_ids).long()[None]}
        if FAMILIES[family].reads_token_types:
            arguments["token_type_ids"] = torch.from_numpy(own_types).long()[None]
        hidden = stock.base_model(**arguments, output_hidden_states=True).hidden_states
        pivot = hidden[PIVOT].detach().requires_grad_()
        pivots.append(pivot)
        residuals.append([(hidden[PIVOT] - hidden[depth]).detach() for depth in STOPPED])

        def patched(layer: Any, given: Any, output: Any, states: Tensor = pivot) -> Any:
            return (states, *output[1:]) if isinstance(output, tuple) else states

        # The stock head on top of the stock layers, fed from the pivot on.
        layer = FAMILIES[family].stack(stock.base_model)[PIVOT - 1]
        hook = layer.register_forward_hook(patched)
        # A multiple-choice model takes one more dimension, of options.
        shaped = {name: value[None] for name, value in arguments.items()} if "option" in kind else arguments
        logits.append(rows_of(stock(**shaped)))
        hook.remove()
    target = text.target if kind in WHOLE else text.target[0]
    loss_of(kind, torch.cat(logits), target, text.sequence_lengths).backward()
    pieces = []
    for pivot, own in zip(pivots, residuals, strict=True):
        assert pivot.grad is not None
        pieces.append(torch.stack([(pivot.grad * residual).sum(-1).abs()[0] for residual in own]))
    return torch.cat(pieces, 1)


@pytest.mark.parametrize("kind", list(KINDS))
def test_importance_equals_its_definition(
    kind: str,
    family: str,
    make_model: Callable[..., PreTrainedModel],
    make_texts: Callable[..., list[EncodedText]],
) -> None:
    assert math.ceil(3 * DEPTH / 4) == PIVOT
    make_task, lengths, golds = KINDS[kind]
    task = make_task()
    config = copy.deepcopy(make_model(family, layers=DEPTH).config)
    config.num_labels = task.num_logits
    torch.manual_seed(0)
    model: PreTrainedModel = task.auto_model.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
    stock = copy.deepcopy(model)
    stock.set_attn_implementation("eager")
    dtype = np.float32 if kind in ("relevance", "regression") else np.int64
    texts = [
        replace(text, target=np.array(gold if kind in WHOLE else [gold], dtype=dtype))
        for text, gold in zip(make_texts(*lengths), golds, strict=True)
    ]
    batch = TextBatch.from_texts(texts)
    scores = residual_importance(StagedModel(model, task, LAYERS), batch, task.targets(texts))
    expected = torch.cat([by_definition(stock, family, kind, text) for text in texts], 1)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-5 * max(1.0, float(expected.max())))
    # No gradient reaches a window of which no logit is the greatest, nor, where only a local layer follows and the head
    # reads first tokens, what lies beyond their window.
    part = kind == "classes, sliced" or (family == "modernbert" and task.reads == "first_tokens")
    assert (scores > 0).float().mean() > (0.3 if part else 0.9)
