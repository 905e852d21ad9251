"""Questions are answered from strings as an evaluation answers them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, BertConfig, PreTrainedTokenizerBase

from trbert_env import Answer, TokenReducedConfig, TokenReducedModel, answer_questions, write_predictions

QUESTIONS = ["Where did Anna move ?", "Who likes the sea ?", "Where is Bern ?"]
SHORT = ["Anna moved to Bern last year .", "Boris likes the sea .", "The sea is wide ."]
LONG = [" ".join([text] * 12) for text in SHORT]


def make_model(tokenizer: PreTrainedTokenizerBase, env: str = "SpanQA", **settings: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
    backbone = BertConfig(vocab_size=len(tokenizer), initializer_range=0.3, **sizes).to_dict() | {"model_type": "bert"}
    task = {"TextClassification": "classification"}.get(env, "span_qa")
    config = TokenReducedConfig(backbone=backbone, env=env, task=task, task_settings=settings, policy_size=4)
    model = TokenReducedModel(config)
    model.eval()
    return model


@pytest.mark.parametrize("slices", [0, 3])
def test_answers_stand_in_their_contexts_whatever_they_are_asked_with(
    tokenizer: PreTrainedTokenizerBase, slices: int
) -> None:
    settings = {"max_tokens": 48, "stride": 8, "max_slices": slices, "null_answer": False, "max_answer_tokens": 5}
    model = make_model(tokenizer, **settings)
    together = answer_questions(model, tokenizer, QUESTIONS * 40, LONG * 40)  # several windows, and several passes
    assert together == together[:3] * 40
    for question, context, found in zip(QUESTIONS, LONG, together, strict=False):
        assert found
        assert found in context
        assert len(tokenizer.tokenize(found)) <= 5
        assert answer_questions(model, tokenizer, [question], [context]) == [found]


def test_no_answer_is_an_empty_string(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = {"null_answer": True, "null_threshold": -1e9}  # no answer always wins
    assert answer_questions(make_model(tokenizer, **settings), tokenizer, QUESTIONS, SHORT) == ["", "", ""]
    assert all(answer_questions(make_model(tokenizer, null_threshold=1e9), tokenizer, QUESTIONS, SHORT))


def test_no_question_has_no_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    assert answer_questions(make_model(tokenizer), tokenizer, [], []) == []


def test_what_cannot_be_answered_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(tokenizer)
    with pytest.raises(ValueError, match="3 questions but 2 contexts: give one context a question"):
        answer_questions(model, tokenizer, QUESTIONS, SHORT[:2])
    with pytest.raises(ValueError, match="example '1' has an empty context"):
        answer_questions(model, tokenizer, QUESTIONS[:2], [SHORT[0], " "])
    for blank in ("\u200b", "\x00\x01"):  # no white space, and no token either
        for questions, contexts in (([QUESTIONS[0]], [blank]), ([blank], [SHORT[0]])):
            with pytest.raises(ValueError, match="example '0' has no token in its question or context: check the data"):
                answer_questions(model, tokenizer, questions, contexts)
    with pytest.raises(ValueError, match="the model's task is Classification: give a model"):
        answer_questions(make_model(tokenizer, "TextClassification"), tokenizer, QUESTIONS, SHORT)


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        ("who?", None, "context is None: give a string, or a list of strings"),
        (["who?", 3], "a text", r"question\[1\] is 3: give a string"),
        ("who?", [None], r"context\[0\] is None: give a string"),
    ],
)
def test_what_is_no_text_is_named(
    question: Any, context: Any, message: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(TypeError, match=message):
        make_model(tokenizer).answer(question=question, context=context, tokenizer=tokenizer)


def test_strings_are_no_predictions(tmp_path: Path) -> None:
    answers: Any = {"q1": "Ada"}
    with pytest.raises(TypeError, match=r"the answer to 'q1' is 'Ada': give what model\.answer returns"):
        write_predictions(answers, tmp_path / "predictions.json")
    assert not list(tmp_path.iterdir())


def test_offsets_are_those_of_the_answers(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = {"max_tokens": 32, "stride": 8, "null_threshold": 1e9, "max_answer_tokens": 5}
    model = make_model(tokenizer, **settings)
    found = model.answer(question=QUESTIONS, context=LONG, tokenizer=tokenizer, top_k=20)
    for answers, context in zip(found, LONG, strict=True):
        assert len(answers) == 20
        assert all(one.text == context[one.start : one.end] for one in answers)
        assert len({(one.start, one.end) for one in answers if one.text}) == len([one for one in answers if one.text])
        scores = [one.score for one in answers if one.text]
        assert scores == sorted(scores, reverse=True)


def test_scores_are_those_of_single_windows_and_their_softmax(tokenizer: PreTrainedTokenizerBase) -> None:
    """Worked out from padded calls, a span at a time."""
    model = make_model(tokenizer, null_threshold=1e9, num_best=3, max_answer_tokens=4)
    inputs = tokenizer(QUESTIONS[0], SHORT[0], return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        output = model(**inputs)
    start, end = output.start_logits[0], output.end_logits[0]
    inside = [place for place, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    starts, ends = (sorted(inside, key=lambda place: -float(logits[place]))[:3] for logits in (start, end))
    spans = sorted(
        ((float(start[a] + end[b]), offsets[a][0], offsets[b][1]) for a in starts for b in ends if 0 <= b - a < 4),
        reverse=True,
    )[:3]
    none = float(start[0] + end[0])
    shares = torch.tensor([score for score, *_ in spans] + [none], dtype=torch.float64).softmax(0)
    found = model.answer(question=QUESTIONS[0], context=SHORT[0], tokenizer=tokenizer, top_k=3)
    expected = [(*span, share) for span, share in zip(spans, shares.tolist(), strict=False)]
    expected.insert(1 + sum(score >= none for score, *_ in spans[1:]), (none, 0, 0, float(shares[-1])))
    for one, (score, first, last, share) in zip(found, expected, strict=False):
        assert (one.start, one.end) == (first, last)
        assert one.score == pytest.approx(score, abs=1e-4)
        assert one.probability == pytest.approx(share, abs=1e-4)
        assert one.no_answer_probability == pytest.approx(1 / (1 + math.exp(spans[0][0] - none)), abs=1e-4)


def test_one_question_gives_one_answer_and_many_a_list(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(tokenizer, null_answer=False)
    one = model.answer(question=QUESTIONS[0], context=SHORT[0], tokenizer=tokenizer)
    assert isinstance(one, Answer)
    assert one.no_answer_probability == 0.0
    assert model.answer(QUESTIONS[:1], SHORT[:1], tokenizer=tokenizer) == [one]
    assert model.answer(QUESTIONS[0], SHORT[:1], tokenizer=tokenizer, top_k=1) == [[one]]
    on_one = model.answer(question=QUESTIONS, context=SHORT[0], tokenizer=tokenizer)
    assert on_one == model.answer(question=QUESTIONS, context=[SHORT[0]] * 3, tokenizer=tokenizer)
    of_one = model.answer(question=QUESTIONS[0], context=SHORT, tokenizer=tokenizer)
    assert of_one == model.answer(question=[QUESTIONS[0]] * 3, context=SHORT, tokenizer=tokenizer)
    assert [found.text for found in of_one] == answer_questions(model, tokenizer, [QUESTIONS[0]] * 3, SHORT)


def test_the_threshold_of_no_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(tokenizer)
    (found,) = model.answer(QUESTIONS[:1], SHORT[:1], tokenizer=tokenizer, null_threshold=1e9, top_k=2)[:1]
    (best,) = model.answer(QUESTIONS[:1], SHORT[:1], tokenizer=tokenizer, null_threshold=1e9)
    (none,) = model.answer(QUESTIONS[:1], SHORT[:1], tokenizer=tokenizer, null_threshold=-1e9)
    assert best == found[0]
    assert (best.text != "", none.text, none.start, none.end) == (True, "", 0, 0)
    margin = none.score - best.score
    for threshold, expected in ((margin - 1e-3, none), (margin + 1e-3, best)):
        assert model.answer(QUESTIONS[0], SHORT[0], tokenizer=tokenizer, null_threshold=threshold) == expected
    assert model.answer(QUESTIONS[0], SHORT[0], tokenizer=tokenizer) == (none if margin > 0 else best)
    assert best.no_answer_probability == pytest.approx(1 / (1 + math.exp(-margin)))


def test_options_without_a_meaning_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(tokenizer, null_answer=False)
    with pytest.raises(ValueError, match=r"the model always answers .*: leave null_threshold out"):
        model.answer(QUESTIONS[0], SHORT[0], tokenizer=tokenizer, null_threshold=0.0)
    for top_k in (0, 21):
        with pytest.raises(ValueError, match=f"top_k is {top_k}: give 1 to 20, the num_best of the model's task"):
            model.answer(QUESTIONS[0], SHORT[0], tokenizer=tokenizer, top_k=top_k)
    with pytest.raises(ValueError, match="null_threshold is NaN"):
        make_model(tokenizer).answer(QUESTIONS[0], SHORT[0], tokenizer=tokenizer, null_threshold=math.nan)
    with pytest.raises(ValueError, match=r"was not loaded from a folder, .*: give tokenizer"):
        model.answer(QUESTIONS[0], SHORT[0])


def test_the_tokenizer_beside_the_model_serves(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    made = make_model(tokenizer, max_tokens=48, stride=8)
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    expected = made.answer(QUESTIONS, LONG, tokenizer=tokenizer)
    for _ in range(2):
        assert model.answer(QUESTIONS, LONG) == expected


def test_prediction_files_are_squads(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    found = make_model(tokenizer).answer(QUESTIONS, SHORT, tokenizer=tokenizer)
    answers = dict(zip(["q1", "ü2", "q3"], found, strict=True))
    write_predictions(answers, tmp_path / "predictions.json", tmp_path / "na_prob.json")
    assert json.loads((tmp_path / "predictions.json").read_text()) == {key: one.text for key, one in answers.items()}
    shares = json.loads((tmp_path / "na_prob.json").read_text())
    assert shares == {key: one.no_answer_probability for key, one in answers.items()}
    assert all((shares[key] > 0.5) == (one.text == "") for key, one in answers.items())
    write_predictions(answers, str(tmp_path / "alone.json"))
    assert (tmp_path / "alone.json").read_text(encoding="utf-8") == (tmp_path / "predictions.json").read_text("utf-8")
