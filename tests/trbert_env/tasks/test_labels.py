"""How heads and labels are settled: from the data, from a fine-tuned encoder, and where the two do not fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedTokenizerBase

from trbert_env.data.label_order import sorted_labels
from trbert_env.data.request import DataRequest
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.tasks import TASKS, Classification, MultipleChoice, SpanQA, Task, task_of
from trbert_env.tasks.labels import HeadMismatchError, labels_of, match_labels, unnamed_labels

TINY: dict[str, Any] = {
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 8,
    "vocab_size": 50,
}


def records(*labels: str | float) -> Dataset:
    count = len(labels)
    return Dataset.from_dict(
        {
            "id": [f"r{index}" for index in range(count)],
            "text": ["mill"] * count,
            "text_pair": ["by the sea"] * count,
            "label": list(labels),
        }
    )


def bare() -> BertConfig:
    """An encoder without a head, as published: two outputs that mean nothing."""
    return BertConfig(architectures=["BertForMaskedLM"], **TINY)


def tuned(*names: str, count: int = 0) -> BertConfig:
    """An encoder with a trained head: outputs with names, or that many without."""
    outputs = names or unnamed_labels(count)
    return BertConfig(
        architectures=["BertForSequenceClassification"],
        id2label=dict(enumerate(outputs)),
        label2id={name: index for index, name in enumerate(outputs)},
        **TINY,
    )


def configured(config: BertConfig, data: Dataset | None, labels: Sequence[str] = (), **settings: Any) -> Classification:
    task = Classification(**settings)
    task.configure(config, data, labels)
    return task


def test_encoders_that_tell_several_labels_at_once_are_refused() -> None:
    config = BertConfig(num_labels=3, architectures=["BertForSequenceClassification"])
    config.problem_type = "multi_label_classification"
    with pytest.raises(HeadMismatchError, match="3 outputs of which several may be right"):
        Classification().configure(config)


def test_an_encoder_tells_that_it_was_trained_through_a_sigmoid() -> None:
    config, data = bare(), records(0.1, 0.5, 0.9)
    assert configured(config, data, bounded=True).bounded
    config.architectures = ["BertForSequenceClassification"]  # as it is saved, with the head that was trained
    again = BertConfig.from_dict(config.to_dict())
    assert configured(again, data).bounded
    model = TokenReducedModel.from_parts(
        AutoModelForSequenceClassification.from_config(again), TokenPolicy(8, 2, 4), env="TextClassification",
        task=configured(again, data), reduction_layers=(2, 3), decision=DecisionRule(),
    )  # fmt: skip
    assert model.config.sentence_transformers["activation_fn"] == f"{torch.nn.Sigmoid.__module__}.Sigmoid"
    assert model.config.problem_type == "multi_label_classification", "as pipelines read it"


@pytest.mark.parametrize("activation", ["torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity", ""])
@pytest.mark.parametrize("greatest", [0.98, 5.0])
def test_similarities_are_read_through_the_sigmoid_that_an_encoder_names(activation: str, greatest: float) -> None:
    config = BertConfig(num_labels=1, architectures=["BertForSequenceClassification"])
    if activation:
        config.sentence_transformers = {"activation_fn": activation}
    gold = torch.linspace(0.02, greatest, 9, dtype=torch.float64)
    data = records(*gold.tolist())
    task = Classification()
    task.configure(config, data)
    # Where nothing is said, sentence-transformers and pipelines take a sigmoid.
    assert (task.head, task.bounded) == ("regression", not activation.endswith("Identity") and greatest < 1)
    again = Classification(**task.settings)
    assert again.bounded == task.bounded
    assert "bounded" not in Classification().told_settings
    logits = torch.logit(gold) if task.bounded else gold
    layout = Layout.from_lengths([1] * 9, [1] * 9)
    texts = [cast(EncodedText, None)] * 9
    found = task.predict(texts, [row[None, None].float().numpy() for row in logits], data)
    metrics = task.metrics(found, data)
    assert (metrics["pearson"], metrics["mean_squared_error"]) == (pytest.approx(100.0), pytest.approx(0.0, abs=1e-9))
    # A perfect scorer is the likeliest: its gradient is nothing.
    free = logits[:, None].float().requires_grad_()
    task.log_likelihood(free, layout, gold[:, None].float()).sum().backward()
    assert free.grad is not None
    torch.testing.assert_close(free.grad, torch.zeros_like(free), atol=1e-6, rtol=0)
    other = task.divergence(free.detach() + 1, free.detach(), layout, gold[:, None].float())
    assert (other > 0).all()
    torch.testing.assert_close(task.divergence(free, free, layout, gold[:, None].float()), torch.zeros(9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ordered": True}, "ordered is set, and the head is 'relevance'"),
        ({"positive": "no"}, "positive is 'no', and the single output tells 'yes': name that, or none"),
        ({"positive": "Yes"}, None),
        (
            {"bounded": True},
            "bounded is set, which is for regression to numbers from 0 to 1, and",
        ),
    ],
)
def test_settings_of_classes_need_classes(settings: dict[str, Any], message: str | None) -> None:
    config = BertConfig(num_labels=1, architectures=["BertForSequenceClassification"])
    rows = [{"id": name, "text": "a", "text_pair": None, "label": name} for name in ("no", "yes")]
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        Classification(**settings).configure(config, Dataset.from_list(rows))


def test_an_output_that_transformers_has_trained_is_no_sigmoids() -> None:
    config = tuned(count=1)
    config.problem_type = "regression"  # its loss writes that
    assert not configured(config, records(0.1, 0.5, 0.9)).bounded


def targets(task: Classification, data: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    return [text.target.item() for text in task.encode(data, tokenizer)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pos", "neg", "pos"], ("neg", "pos")),
        (["10", "9", "100"], ("9", "10", "100")),
        (["1.5", "-2", "1"], ("-2", "1", "1.5")),
        (["b", "10", "9"], ("10", "9", "b")),  # one name that is no number: by alphabet
        (["B", "a"], ("B", "a")),
    ],
)
def test_labels_of_the_data_are_sorted(names: list[str], expected: tuple[str, ...]) -> None:
    assert sorted_labels(names) == expected
    config = bare()
    task = configured(config, records(*names))
    assert (task.head, task.labels, task.num_logits) == ("classes", expected, len(expected))
    assert config.id2label == dict(enumerate(expected))
    assert config.label2id == {name: index for index, name in enumerate(expected)}
    assert config.num_labels == len(expected)


def test_names_that_are_given_keep_their_order(bert: PreTrainedTokenizerBase) -> None:
    config = bare()
    task = configured(config, records("good", "poor"), labels=("poor", "fair", "good"))
    assert task.labels == labels_of(config) == ("poor", "fair", "good")
    assert targets(task, records("good", "poor", "fair"), bert) == [2, 0, 1]


def test_names_that_are_given_name_the_outputs_of_an_encoder_in_their_order(bert: PreTrainedTokenizerBase) -> None:
    """Not by alphabet: a data set whose first class is "positive" has fine-tuned it so."""
    config = tuned(count=3)
    data = records("neutral", "positive")
    task = configured(config, data, labels=("positive", "neutral", "negative"))
    assert task.labels == labels_of(config) == ("positive", "neutral", "negative")
    assert targets(task, data, bert) == [1, 0]


def test_an_encoders_own_names_in_any_case(bert: PreTrainedTokenizerBase) -> None:
    config = tuned("NEGATIVE", "Neutral", "positive")
    task = configured(config, records("Positive", "negative"))  # a split without one of them
    assert task.labels == ("NEGATIVE", "Neutral", "positive")
    assert labels_of(config) == ("NEGATIVE", "Neutral", "positive")
    assert targets(task, records("Positive", "negative", "NEUTRAL"), bert) == [2, 0, 1]


def test_outputs_that_differ_in_case_alone() -> None:
    assert match_labels(["0", "2"], unnamed_labels(4)) == {"0": 0, "2": 2}
    assert match_labels(["1", "2", "3", "4"], unnamed_labels(4)) == {"1": 0, "2": 1, "3": 2, "4": 3}
    for outputs in (unnamed_labels(5), ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]):
        with pytest.raises(HeadMismatchError, match="count them from 0 or from 1 cannot be told without a 0"):
            match_labels(["1", "2", "3", "4"], outputs)
    assert match_labels(["US", "us"], ["us", "US"]) == {"US": 1, "us": 0}
    assert match_labels(["Pos", "neg"], ["neg", "POS"]) == {"Pos": 1, "neg": 0}


def test_unnamed_outputs_take_the_names_of_the_data(bert: PreTrainedTokenizerBase) -> None:
    config = tuned(count=3)
    warned = "have no names of their own: they are taken to be 'a', 'b', 'c', by alphabet"
    for labels in ((), ("a", "b", "c")):  # own files come with their labels, sorted
        with pytest.warns(UserWarning, match=warned):
            task = configured(tuned(count=3), records("c", "a", "b"), labels=labels)
    with pytest.warns(UserWarning, match=warned):
        task = configured(config, records("c", "a", "b"))
    assert task.labels == labels_of(config) == ("a", "b", "c")
    assert targets(task, records("c", "a"), bert) == [2, 0]


def test_numbers_name_outputs_by_their_place(bert: PreTrainedTokenizerBase) -> None:
    config = tuned("neg", "neutral", "pos")
    task = configured(config, records("2", "0"))
    assert task.labels == ("neg", "neutral", "pos")
    assert targets(task, records("2", "0", "1"), bert) == [2, 0, 1]
    assert task.numbered
    assert not configured(tuned("neg", "pos"), records("neg", "pos")).numbered
    # Stars count from 1: as many as there are outputs, they match in their order.
    stars = configured(tuned(count=5), records(*"51423"))
    assert stars.labels == tuple("12345")


def test_numbers_of_a_later_split_without_the_first_class_count_from_0_too(bert: PreTrainedTokenizerBase) -> None:
    names, later = ("neg", "neutral", "pos"), records("2", "1")
    task = configured(tuned(*names), records("2", "0", "1"))
    again = Classification(**json.loads(json.dumps(task.settings)))
    again.configure(tuned(*names), later)
    for known in (task, again):
        assert targets(known, later, bert) == [2, 1]
    with pytest.raises(ValueError, match="count them from 0 or from 1 cannot be told"):
        configured(tuned(*names), later)
    with pytest.raises(ValueError, match="record 'r1' has the label '3'"):
        targets(task, records("2", "3"), bert)


def test_twelve_classes_are_not_sorted_as_strings() -> None:
    names = [f"class {index}" for index in range(12)]
    assert configured(tuned(*names), records("class 11", "class 2")).labels == tuple(names)


def test_a_single_output_makes_relevance(bert: PreTrainedTokenizerBase) -> None:
    for data, expected in (
        (records("1", "0", "1"), [1.0, 0.0, 1.0]),
        (records("relevant", "irrelevant"), [1.0, 0.0]),
        (records(1.0, 0.0), [1.0, 0.0]),
    ):
        task = configured(tuned(count=1), data)
        assert (task.head, task.labels, task.num_logits) == ("relevance", (), 1)
        assert targets(task, data, bert) == expected
        assert task.metric_names[0] == "accuracy"


def test_a_later_split_may_have_one_of_the_two_names_alone(bert: PreTrainedTokenizerBase) -> None:
    task = configured(tuned(count=1), records("relevant", "irrelevant"))
    assert task.names == ("irrelevant", "relevant")
    assert (
        task.label_note
        == "the encoder has one output: it is read as 'relevant' where it is above 0, and else as 'irrelevant'"
    )
    again = task_of("classification", json.loads(json.dumps(task.settings)))
    assert isinstance(again, Classification)
    again.configure(tuned(count=1))
    assert targets(again, records("relevant", "Relevant"), bert) == [1.0, 1.0]
    assert targets(again, records("irrelevant"), bert) == [0.0]
    with pytest.raises(ValueError, match=r"record 'r0' has the label 'maybe': .*'irrelevant', 'relevant'"):
        again.encode(records("maybe"), bert)


@pytest.mark.parametrize("config", [bare(), tuned(count=1)])
def test_other_numbers_make_regression(config: BertConfig, bert: PreTrainedTokenizerBase) -> None:
    data = records(0.5, 3.0, -1.0)
    task = configured(config, data)
    assert (task.head, task.num_logits, config.num_labels) == ("regression", 1, 1)
    assert targets(task, data, bert) == [0.5, 3.0, -1.0]
    assert task.metric_names[0] == "pearson"


@pytest.mark.parametrize("names", [("false", "true"), ("False", "TRUE")])
def test_the_class_that_is_looked_for_has_metrics_of_its_own(names: tuple[str, ...]) -> None:
    data = records("true", "false", "true")
    task = configured(tuned(*names), data, positive="true")
    assert task.metric_names == ("accuracy", "macro_f1", "f1", "precision", "recall")
    found = task.metrics({"r0": names[1], "r1": names[1], "r2": names[0]}, data)
    assert (found["precision"], found["recall"], found["f1"]) == (50.0, 50.0, 50.0)
    assert configured(bare(), data).metric_names == ("accuracy", "macro_f1")
    with pytest.raises(ValueError, match=r"positive is 'yes', and the classes are .*: name one"):
        configured(bare(), data, positive="yes")


def test_a_head_of_two_numbers_is_relevance() -> None:
    config = bare()
    assert configured(config, records(1.0, 0.0)).head == "relevance"
    assert config.num_labels == 1
    assert configured(bare(), records(1.0, 0.0), head="regression").head == "regression"


FAULTS: dict[str, tuple[BertConfig, Dataset, dict[str, Any], str]] = {
    "other names": (
        tuned("neg", "pos"), records("spam", "ham"), {},
        "the data have the labels 'ham', 'spam', and the encoder's outputs are 'neg', 'pos': rename",
    ),
    "one name too many": (
        tuned("neg", "pos"), records("neg", "pos", "maybe"), {},
        "the labels 'maybe', 'neg', 'pos', and the encoder's outputs are 'neg', 'pos'",
    ),
    "too many for unnamed outputs": (tuned(count=2), records("a", "b", "c"), {}, "'LABEL_0', 'LABEL_1'"),
    "too few for unnamed outputs": (tuned(count=4), records("a", "b"), {}, "labels 'a', 'b', and .* 'LABEL_3'"),
    "a number beyond the outputs": (tuned("x", "y"), records("0", "2"), {}, "labels '0', '2', and .* 'x', 'y'"),
    "three names for one output": (tuned(count=1), records("a", "b", "c"), {}, "labels 'a', 'b', 'c', and"),
    "many": (tuned(count=9), records(*"abcdefghijk"), {}, "'h' and 3 more, and .*'LABEL_7' and 1 more"),
    "numbers for several outputs": (
        tuned("neg", "pos"), records(1.0, 0.0), {}, "are numbers, and the encoder's outputs are 'neg', 'pos'",
    ),
    "one logit asked of several outputs": (
        tuned("neg", "pos"), records("neg"), {"head": "relevance"}, "the encoder has 2 outputs, and head 'relevance'",
    ),
    "regression of names": (bare(), records("a", "b"), {"head": "regression"}, "needs numbers, .* labels 'a', 'b'"),
    "classes of numbers": (bare(), records(0.5), {"head": "classes"}, "head 'classes' needs names of classes"),
    "relevance of other numbers": (
        bare(), records(0.5, 3.0), {"head": "relevance"}, "head 'relevance' needs the labels 0 and 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(FAULTS))
def test_what_does_not_fit_is_said_in_one_line(name: str) -> None:
    config, data, settings, message = FAULTS[name]
    with pytest.raises(ValueError, match=message) as error:
        configured(config, data, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("known", "later", "message"),
    [
        (("neg", "pos"), ("neg", "neutral", "pos"), "record 'r1' has the label 'neutral': .*outputs are 'neg', 'pos'"),
        (("0", "1"), ("0", "1", "7"), "record 'r2' has the label '7'"),
        (("x", "y"), ("0", "7"), "record 'r1' has the label '7'"),
        (("neg", "pos"), (1.0,), "record 'r0' has the label 1.0: head 'classes' needs names"),
        ((0.0, 1.0), (0.0, 3.0), "record 'r1' has the label 3.0: head 'relevance' needs 0 or 1"),
        ((0.5, 2.0), ("good",), "record 'r0' has the label 'good': head 'regression' needs numbers"),
    ],
)
def test_an_unknown_label_in_a_later_split_is_named(
    known: tuple[Any, ...], later: tuple[Any, ...], message: str, bert: PreTrainedTokenizerBase
) -> None:
    task = configured(bare(), records(*known))
    with pytest.raises(ValueError, match=message) as error:
        task.encode(records(*later), bert)
    assert "\n" not in str(error.value)


KINDS: dict[str, Task] = {
    "span QA": SpanQA(max_tokens=100, stride=7, golds="all", metric="mrqa", null_answer=False, null_threshold=-1.5),
    "span QA, unsettled": SpanQA(null_answer=None),
    "span QA, sliced": SpanQA(max_slices=8, stride=0, metric="trivia"),
    "choice": MultipleChoice(max_tokens=90, max_question_tokens=30, num_options=3, form="independent"),
    "classes": Classification(max_tokens=64, truncation="head+tail", ordered=True, head="classes"),
    "classes, sliced": Classification(max_tokens=64, max_slices=4, head="classes"),
    "relevance with names": Classification(head="relevance", names=("no", "yes")),
    "regression": Classification(head="regression"),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_settings_survive_json(name: str) -> None:
    task = KINDS[name]
    kind = next(key for key, value in TASKS.items() if type(task) is value)
    values = json.loads(json.dumps(task.settings))
    assert task_of(kind, values) == task
    env = {"span_qa": "SQuAD2", "multiple_choice": "RACE", "classification": "IMDB"}[kind]
    assert DataRequest(env, task_settings=values).preset.settings.items() >= values.items()


@pytest.mark.parametrize("kind", [SpanQA, Classification])
def test_slices_count_in_fingerprints_where_there_are_any(kind: Any) -> None:
    later = {name: kind().settings[name] for name in kind.later_settings}
    assert kind().settings == kind().told_settings | later
    assert "max_slices" in later
    assert not later.keys() & kind().told_settings.keys()
    assert kind(max_slices=2).told_settings == kind().told_settings | {"max_slices": 2}
    assert MultipleChoice().told_settings == MultipleChoice().settings


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("IMDB", {"max_token": 9}, "has no setting 'max_token': did you mean 'max_tokens'"),
        ("IMDB", {"stride": 9}, "task 'classification' has no setting 'stride'"),
        ("IMDB", {"labels": ["a"]}, "has no setting 'labels'"),
        ("IMDB", {"max_tokens": "256"}, "setting 'max_tokens' of task 'classification' is '256': give int"),
        ("IMDB", {"max_tokens": 256.0}, "is 256.0: give int"),
        ("IMDB", {"max_tokens": True}, "is True: give int"),
        ("IMDB", {"max_tokens": None}, "is None: give int"),
        ("IMDB", {"max_tokens": 3}, "max_tokens is 3: give at least 4"),
        ("IMDB", {"truncation": "tail"}, "is 'tail': give 'head' or 'head.tail'"),
        ("IMDB", {"ordered": 1}, "is 1: give bool"),
        ("IMDB", {"names": ["a", "b", "c"]}, r"setting 'names' .* give tuple\[str, str\] or None"),
        ("SQuAD2", {"null_answer": "no"}, "is 'no': give bool or None"),
        ("SQuAD2", {"golds": "second"}, "give 'first' or 'all'"),
        ("SQuAD2", {"stride": -1}, "stride is -1"),
        ("SQuAD2", {"max_slices": -1}, "max_slices is -1"),
        ("IMDB", {"max_slices": 0}, "max_slices is 0"),
        ("IMDB", {"max_slices": 2, "truncation": "head+tail"}, "max_slices is 2: set max_slices to 1"),
        ("RACE", {"max_slices": 2}, "task 'multiple_choice' has no setting 'max_slices'"),
        ("RACE", {"max_tokens": 100, "max_question_tokens": 128}, "max_tokens is 100 and max_question_tokens 128"),
        ("RACE", {"form": ["softmax"]}, "give 'softmax' or 'independent'"),
    ],
)
def test_settings_are_checked_before_anything_is_read(env: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        DataRequest(env, task_settings=settings)
    assert "\n" not in str(error.value)


def test_the_length_is_the_setting_max_tokens() -> None:
    for request in (DataRequest("IMDB", max_length=1024), DataRequest("IMDB", task_settings={"max_tokens": 1024})):
        assert request.preset.settings["max_tokens"] == request.length == 1024
    assert DataRequest("IMDB").length is None
    with pytest.raises(ValueError, match="max_length 9 and the setting max_tokens 8 are one: leave one out"):
        DataRequest("IMDB", max_length=9, task_settings={"max_tokens": 8})
    with pytest.raises(ValueError, match="max_tokens is 3: give at least 4"):
        DataRequest("IMDB", max_length=3)


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (records(*[f"class {index}" for index in range(12)]), {"ordered": True, "max_tokens": 32}),
        (records("irrelevant", "relevant"), {"head": "relevance"}),
        (records(0.5, 3.0), {}),
    ],
)
def test_a_saved_model_keeps_labels_and_settings(data: Dataset, settings: dict[str, Any], tmp_path: Path) -> None:
    config = bare()
    task = configured(config, data, **settings)
    backbone = AutoModelForSequenceClassification.from_config(config)
    model = TokenReducedModel.from_parts(
        backbone, TokenPolicy(8, 2, 4), env="TextClassification", task=task, reduction_layers=(2, 3),
        decision=DecisionRule(),
    )  # fmt: skip
    model.save_pretrained(tmp_path)
    loaded = TokenReducedModel.from_pretrained(tmp_path)
    assert loaded.task == task
    assert loaded.task.settings == task.settings
    assert loaded.task.labels == task.labels
    assert loaded.backbone.config.num_labels == task.num_logits
    assert loaded.task.metric_names == task.metric_names


@pytest.mark.parametrize(("numbers", "head"), [([0.0, 1.0], "relevance"), ([0.0, 2.5], "regression")])
def test_a_saved_single_logit_tells_its_head_whatever_a_split_holds(numbers: list[float], head: str) -> None:
    config = BertConfig()
    Classification().configure(config, Dataset.from_dict({"label": numbers}))
    config.architectures = ["BertForSequenceClassification"]
    for split in (None, Dataset.from_dict({"label": [1.0, 0.0]})):
        later = Classification()
        later.configure(config, split)
        assert later.head == head
