"""Likelihood against stock models, decoding against brute force."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn.functional import kl_div
from transformers import (
    AutoModelForQuestionAnswering,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerBase,
    RobertaConfig,
    XLMRobertaConfig,
)

from trbert_env.encoder.families import FAMILIES
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch
from trbert_env.tasks.span_qa import SpanQA, SpanText

TINY: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
}
CONFIGS = {
    "bert": lambda: BertConfig(**TINY),
    "deberta-v2": lambda: DebertaV2Config(vocab_size=400, relative_attention=True, pos_att_type=["c2p", "p2c"], **TINY),
    "electra": lambda: ElectraConfig(embedding_size=16, **TINY),
    "modernbert": lambda: ModernBertConfig(vocab_size=400, pad_token_id=0, local_attention=8, **TINY),
    "mpnet": lambda: MPNetConfig(**TINY),
    "roberta": lambda: RobertaConfig(vocab_size=400, **TINY),
    "xlm-roberta": lambda: XLMRobertaConfig(vocab_size=400, **TINY),
    "distilbert": lambda: DistilBertConfig(n_layers=2, n_heads=2, dim=16, hidden_dim=32, qa_dropout=0.5),
}


def by_example(texts: list[SpanText]) -> dict[str, list[SpanText]]:
    groups: dict[str, list[SpanText]] = {}
    for text in texts:
        groups.setdefault(text.example_id, []).append(text)
    return groups


def test_log_likelihood_and_its_gradient_equal_the_stock_loss(
    family: str, tokenizer: PreTrainedTokenizerBase, examples: Dataset
) -> None:
    torch.manual_seed(0)
    task = SpanQA(max_tokens=48, stride=10)
    auto: Any = AutoModelForQuestionAnswering
    config: Any = CONFIGS[family]
    model = auto.from_config(config()).eval()
    texts = task.encode(examples, tokenizer)
    assert len({len(text) for text in texts}) > 1
    assert len({tuple(text.target[0]) for text in texts}) > 1
    states, losses, stock_logits = [], [], []
    for text in texts:
        inputs = {"input_ids": torch.from_numpy(text.input_ids).long()[None]}
        target = torch.from_numpy(text.target[0])
        stock = model(**inputs, start_positions=target[:1], end_positions=target[1:])
        losses.append(stock.loss)
        stock_logits.append(torch.stack([stock.start_logits[0], stock.end_logits[0]], dim=-1))
        states.append(model.base_model(**inputs).last_hidden_state[0])
    layout = TextBatch.from_texts(texts).layout
    logits = task.logits(model, torch.cat(states), layout)
    torch.testing.assert_close(logits, torch.cat(stock_logits))
    ours = task.log_likelihood(logits, layout, task.targets(texts))
    assert (ours.shape, ours.dtype) == ((len(texts),), torch.float32)
    torch.testing.assert_close(ours, -torch.stack(losses))
    weights = [model.get_submodule(FAMILIES[family].span_module).weight, model.get_input_embeddings().weight]
    ours_gradient = torch.autograd.grad(ours.sum(), weights)
    stock_gradient = torch.autograd.grad(-torch.stack(losses).sum(), weights)
    torch.testing.assert_close(ours_gradient, stock_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_and_its_gradient_are_those_of_torchs_kl(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([4, 1, 7])
    layout = Layout.from_lengths([4, 1, 7], [1, 1, 1])
    logits = torch.randn(12, 2, generator=generator, requires_grad=True)
    teacher = torch.randn(12, 2, generator=generator, requires_grad=True)
    targets = torch.zeros(3, 1, 2, dtype=torch.int64)
    found = SpanQA().divergence(logits, teacher, layout, targets, temperature)
    expected = []
    for student_of, teacher_of in zip(logits.split(lengths.tolist()), teacher.split(lengths.tolist()), strict=True):
        both = [
            kl_div(
                (student_of[:, side] / temperature).log_softmax(0),
                (teacher_of[:, side].detach() / temperature).log_softmax(0),
                reduction="sum",
                log_target=True,
            )
            for side in range(2)
        ]
        expected.append((both[0] + both[1]) / 2 * temperature**2)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-6)
    (ours,) = torch.autograd.grad(found.sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(torch.stack(expected).sum(), logits)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert not torch.isnan(ours).any()
    assert torch.autograd.grad(found.sum(), teacher, allow_unused=True) == (None,)
    assert SpanQA().divergence(teacher, teacher, layout, targets).abs().max() < 1e-6


def test_likelihood_of_half_precision_is_float32_and_lengths_must_agree() -> None:
    task, layout = SpanQA(), Layout.from_lengths([2, 3], [1, 1])
    targets = torch.tensor([[[0, 1]], [[2, 2]]])
    logits = torch.zeros(5, 2, dtype=torch.bfloat16)
    result = task.log_likelihood(logits, layout, targets)
    torch.testing.assert_close(result, -torch.tensor([2.0, 3.0]).log())
    with pytest.raises(ValueError, match="sum to 5 for 4 logits"):
        task.log_likelihood(logits[:4], layout, targets)
    headless = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="BertModel has no qa_outputs"):
        task.logits(headless, torch.zeros(5, 8), layout)


def brute_force(texts: list[SpanText], logits: list[Any], context: str, limit: int, threshold: float) -> str:
    best, answer, null = -np.inf, "", np.inf
    for text, scores in zip(texts, logits, strict=True):
        null = min(null, scores[0, 0] + scores[0, 1])
        for i, (begin, _) in enumerate(text.pieces[0].offsets):
            for j, (_, end) in enumerate(text.pieces[0].offsets[i : i + limit], start=i):
                score = scores[text.pieces[0].start + i, 0] + scores[text.pieces[0].start + j, 1]
                if score > best:
                    best, answer = score, context[begin:end]
    return "" if null - best > threshold else answer


@pytest.mark.parametrize("threshold", [0.0, -3.0, 2.0])
def test_predict_equals_brute_force_over_all_spans(
    threshold: float, bert: PreTrainedTokenizerBase, examples: Dataset
) -> None:
    task = SpanQA(max_tokens=40, stride=8, num_best=1000, max_answer_tokens=5, null_threshold=threshold)
    texts = task.encode(examples, bert)
    contexts = dict(zip(examples["id"][:], examples["context"][:], strict=True))
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        logits = [generator.normal(size=(len(text), 2)).astype(np.float32) for text in texts]
        for scores in logits:
            scores[0] += 1.5
        predictions = task.predict(texts, logits, examples)
        assert list(predictions) == list(contexts)
        for key, group in by_example(texts).items():
            own = [scores for text, scores in zip(texts, logits, strict=True) if text.example_id == key]
            assert predictions[key] == brute_force(group, own, contexts[key], 5, threshold)
            seen.add(bool(predictions[key]))
    assert True in seen
    assert False in seen or threshold > 0


def test_gold_logits_decode_to_the_gold_answers(bert: PreTrainedTokenizerBase, examples: Dataset) -> None:
    task = SpanQA(max_tokens=48, stride=20)
    texts = task.encode(examples, bert)
    logits = [np.zeros((len(text), 2), dtype=np.float32) for text in texts]
    for text, scores in zip(texts, logits, strict=True):
        scores[text.target[0], [0, 1]] = 9.0
    predictions = task.predict(texts, logits, examples)
    answers = {
        "who": "Zoë Brontë",
        "carts": "4,000 carts",
        "plans": "",
        "year": "1901",
        "word": "unreasonable",
    }
    assert predictions == answers
    shuffled = np.random.default_rng(1).permutation(len(texts))
    assert predictions == task.predict([texts[i] for i in shuffled], [logits[i] for i in shuffled], examples)
    assert task.metrics(predictions, examples)["exact_match"] == 100.0
    assert task.metrics(dict.fromkeys(predictions, ""), examples)["has_answer_f1"] == 0.0


def test_each_subset_has_the_metrics_of_its_own_kind_of_questions(examples: Dataset) -> None:
    parts = ["with", "with", "without", "with", "with"]  # only "plans" has no answer
    records = examples.select(range(5)).add_column("subset", parts)
    task = SpanQA()
    found = task.metrics_with_subsets(dict.fromkeys(records["id"][:], ""), records)
    assert found["no_answer_f1_without"] == 100.0
    assert found["has_answer_f1_with"] == found["f1_with"] == 0.0
    assert "has_answer_f1_without" not in found
    assert found["f1"] == 20.0


def test_few_best_may_leave_nothing_valid_and_question_tokens_never_answer(
    bert: PreTrainedTokenizerBase,
) -> None:
    gold = {"text": ["Oslo"], "answer_start": [0]}
    question = {"id": "q", "question": "Where is it?", "context": "Oslo lies by the sea.", "answers": gold}
    data = Dataset.from_list([question])
    task = SpanQA(num_best=1)
    (text,) = task.encode(data, bert)
    scores = np.zeros((len(text), 2), dtype=np.float32)
    scores[0] = -50.0
    scores[1] = 50.0  # a question token
    scores[text.pieces[0].start + 3, 0] = 9.0
    scores[text.pieces[0].start + 1, 1] = 9.0
    assert task.predict([text], [scores], data) == {"q": ""}
    scores[text.pieces[0].start + 4, 1] = 10.0
    assert task.predict([text], [scores], data) == {"q": "the sea"}


def test_predict_refuses_what_does_not_belong_together(bert: PreTrainedTokenizerBase, examples: Dataset) -> None:
    task = SpanQA()
    texts = task.encode(examples, bert)
    logits = [np.zeros((len(text), 2), dtype=np.float32) for text in texts]
    with pytest.raises(ValueError, match="5 texts but 3 arrays"):
        task.predict(texts, logits[:3], examples)
    with pytest.raises(ValueError, match="'word' is not in both"):
        task.predict(texts[:4], logits[:4], examples)
    with pytest.raises(ValueError, match="'word' is not in both"):
        task.predict(texts, logits, examples.select(range(4)))
    with pytest.raises(ValueError, match=re.escape("'who#0' are (3, 2)")):
        task.predict(texts, [logits[0][:3], *logits[1:]], examples)
    with pytest.raises(ValueError, match="without NaN"):
        task.predict(texts, [logits[0] * np.nan, *logits[1:]], examples)
