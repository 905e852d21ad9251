"""Sequences of one text, of pairs and of options against the stock tokenizers of the families."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from trbert_env.data.records import LABELLED_TEXT
from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks import Classification, MultipleChoice
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder, longest_first
from trbert_env.tasks.too_long import too_long

SHORT = "The toll paid for itself!"
LONG = (
    "In 1843 the naïve engineer Zoë Brontë built a  steam bridge; its façade, at 12.5 metres, was “unreasonable”.\n"
    "By the following spring 4,000 carts had crossed it."
)
TEXTS = ["", " ", SHORT, LONG, "carts " * 40, "x", "Ångström\t\u200b"]


def labelled(*pairs: tuple[str, str | None]) -> Dataset:
    rows = [
        {"id": str(index), "text": text, "text_pair": pair, "label": "ab"[index % 2]}
        for index, (text, pair) in enumerate(pairs)
    ]
    return Dataset.from_list(rows).cast(Dataset.from_list([{**rows[0], "text_pair": "x"}]).features)


def classifier(**settings: Any) -> Classification:
    task = Classification(**settings)
    task.head, task.labels = "classes", ("a", "b")
    return task


def assert_stock(text: EncodedText, stock: Any, has_types: bool) -> None:
    """The same ids and, where the family has them, the same token types."""
    assert text.input_ids.tolist() == stock["input_ids"]
    assert text.token_type_ids.tolist() == (stock["token_type_ids"] if has_types else [0] * len(text))
    assert {text.input_ids.dtype.name, text.token_type_ids.dtype.name} == {"int32"}
    assert text.sequence_lengths == (len(text),)


@pytest.mark.parametrize("most", [4 + 4, 11, 16, 512])
def test_single_texts_are_the_tokenizers_own(tokenizer: PreTrainedTokenizerBase, most: int) -> None:
    records = labelled(*[(text, None) for text in TEXTS])
    texts = classifier(max_tokens=most).encode(records, tokenizer)
    assert [text.text_id for text in texts] == records["id"][:]
    assert max(len(text) for text in texts) <= most
    for text, string in zip(texts, TEXTS, strict=True):
        stock = tokenizer(string, truncation=True, max_length=most, padding=False, return_token_type_ids=True)
        assert_stock(text, stock, "token_type_ids" in tokenizer.model_input_names)
    assert [text.target.tolist() for text in texts] == [[index % 2] for index in range(len(TEXTS))]
    # An empty text is its special tokens alone.
    assert len(texts[0]) == 2


@pytest.mark.parametrize("most", [11, 16])
def test_texts_lose_their_beginning_where_the_tokenizer_cuts_there(
    tokenizer: PreTrainedTokenizerBase, most: int
) -> None:
    left = copy.deepcopy(tokenizer)
    left.truncation_side = "left"
    pairs = [(first, second) for first in TEXTS for second in TEXTS]
    for count, columns in ((1, list(zip(TEXTS, strict=True))), (2, pairs)):
        given = [[row[place] for row in columns] for place in range(count)]
        stock = left(*given, truncation="longest_first", max_length=most, return_token_type_ids=True)
        records = labelled(*[(row[0], row[1] if len(row) > 1 else None) for row in columns])
        texts = classifier(max_tokens=most).encode(records, left)
        for index, text in enumerate(texts):
            own = {name: values[index] for name, values in stock.items()}
            assert_stock(text, own, "token_type_ids" in tokenizer.model_input_names)
    assert [text.input_ids.tolist() for text in texts] != [
        text.input_ids.tolist() for text in classifier(max_tokens=most).encode(records, tokenizer)
    ]


@pytest.mark.parametrize("most", [9, 10, 14, 23, 24, 512])
def test_pairs_are_the_tokenizers_own_the_longer_one_cut_first(tokenizer: PreTrainedTokenizerBase, most: int) -> None:
    pairs = [(first, second) for first in TEXTS for second in TEXTS]
    # As a batch: called with a single pair, transformers takes an empty second text for none.
    stock = tokenizer(
        [first for first, _ in pairs],
        [second for _, second in pairs],
        truncation="longest_first",
        max_length=most,
        padding=False,
        return_token_type_ids=True,
    )
    texts = classifier(max_tokens=most).encode(labelled(*pairs), tokenizer)
    for index, text in enumerate(texts):
        assert_stock(
            text, {name: stock[name][index] for name in stock}, "token_type_ids" in tokenizer.model_input_names
        )


@pytest.mark.parametrize("room", [1, 2, 5, 8, 13])
def test_longest_first_is_that_of_the_tokenizer(bert: PreTrainedTokenizerBase, room: int) -> None:
    backend = bert.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(room + 3, strategy="longest_first")
    for one in range(1, 18):
        for two in range(1, 18):
            owners = backend.encode("x " * one, "y " * two).sequence_ids
            assert longest_first(one, two, room) == (owners.count(0), owners.count(1)), (one, two)


def test_head_and_tail_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    words = tokenizer(LONG, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    (long, short) = classifier(max_tokens=18, truncation="head+tail").encode(
        labelled((LONG, None), ("carts", None)), tokenizer
    )
    # 16 tokens fit: 4 from the beginning, 12 from the end.
    assert long.input_ids.tolist() == [first, *words[:4], *words[-12:], last]
    assert short.input_ids.tolist() == tokenizer("carts", truncation=False, padding=False)["input_ids"]
    (whole,) = classifier(max_tokens=len(words) + 2, truncation="head+tail").encode(labelled((LONG, None)), tokenizer)
    assert whole.input_ids.tolist() == [first, *words, last]
    (cut,) = classifier(max_tokens=len(words) + 1, truncation="head+tail").encode(labelled((LONG, None)), tokenizer)
    head = round((len(words) - 1) / 4)
    assert cut.input_ids.tolist() == [first, *words[:head], *words[head + 1 :], last]


def test_head_and_tail_of_a_pair_cuts_each_of_the_two(bert: PreTrainedTokenizerBase) -> None:
    def ids(string: str) -> list[int]:
        found: list[int] = bert(string, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        return found

    other = " ".join(reversed(LONG.split()))
    (text,) = classifier(max_tokens=19, truncation="head+tail").encode(labelled((LONG, other)), bert)
    one, two = ids(LONG), ids(other)
    cls, sep = bert.cls_token_id, bert.sep_token_id
    assert text.input_ids.tolist() == [cls, *one[:2], *one[-6:], sep, *two[:2], *two[-6:], sep]
    assert text.token_type_ids.tolist() == [0] * 10 + [1] * 9


def test_too_few_tokens_are_refused(bert: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="max_tokens is 4: give more than the 4 of special tokens"):
        SequenceEncoder(bert, 4)
    with pytest.raises(ValueError, match="max_tokens is 3: give at least 4"):
        Classification(max_tokens=3)


def test_the_tokenizer_is_left_alone(bert: PreTrainedTokenizerBase) -> None:
    before = bert.backend_tokenizer.to_str()
    list(classifier(max_tokens=16).encode(labelled((LONG, SHORT), (LONG, None)), bert))
    assert bert.backend_tokenizer.to_str() == before


def question(article: str, text: str, options: list[str], answer: int, key: str = "q") -> dict[str, Any]:
    return {"id": key, "group": key, "article": article, "question": text, "options": options, "answer": answer}


def test_each_option_has_its_sequence(tokenizer: PreTrainedTokenizerBase) -> None:
    options = ["carts", "the naïve engineer", "", "carts"]
    records = Dataset.from_list([question(LONG, "Who built it?", options, 1)])
    (text,) = MultipleChoice(max_tokens=30, max_question_tokens=7).encode(records, tokenizer)
    ids, types = (
        np.split(values, np.cumsum(text.sequence_lengths)[:-1]) for values in (text.input_ids, text.token_type_ids)
    )
    assert len(ids) == 4
    assert text.target.tolist() == [1]
    article = tokenizer(LONG, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    for option, own, kinds in zip(options, ids, types, strict=True):
        joined = tokenizer(f"Who built it? {option}", add_special_tokens=False, truncation=False, padding=False)
        asked = tokenizer("Who built it?", add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        chosen = joined["input_ids"][len(asked) :]
        second = (asked[: max(7 - len(chosen), 0)] + chosen)[:7]  # the question is cut, and not the option
        specials = 4 if tokenizer.cls_token == "<s>" else 3
        first = article[: 30 - specials - len(second)]
        separators = [tokenizer.sep_token_id] * (specials - 2)
        expected = [tokenizer.cls_token_id, *first, *separators, *second, tokenizer.sep_token_id]
        assert own.tolist() == expected
        assert len(own) == 30
        ones = len(second) + 1 if "token_type_ids" in tokenizer.model_input_names else 0
        assert kinds.tolist() == [0] * (30 - ones) + [1] * ones
    assert ids[0].tolist() == ids[3].tolist()


def test_a_long_question_is_whole_where_the_article_leaves_room(bert: PreTrainedTokenizerBase) -> None:
    asked, options = "Who built " + "the old mill and " * 8 + "it?", ["Ada", "Ben"]
    records = Dataset.from_list([question("", asked, options, 0)])
    for width in (60, 25):
        task = MultipleChoice(max_tokens=width, max_question_tokens=8)
        (text,) = task.encode(records, bert)
        one, other = np.split(text.input_ids, [text.sequence_lengths[0]])
        assert one.tolist() != other.tolist()
        whole = bert("", f"{asked} Ada", truncation=False, padding=False)["input_ids"]
        assert (one.tolist() == whole) == (width == 60)
        assert (too_long(task, records, bert) is None) == (width == 60)


def test_a_short_article_is_not_filled_up(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([question("", "Who?", ["a", "b c"], 0)])
    (text,) = MultipleChoice(max_tokens=30, max_question_tokens=20).encode(records, bert)
    pairs = [bert("", f"Who? {option}", truncation=False, padding=False) for option in ("a", "b c")]
    assert text.input_ids.tolist() == [token for pair in pairs for token in pair["input_ids"]]
    assert text.token_type_ids.tolist() == [kind for pair in pairs for kind in pair["token_type_ids"]]
    assert text.sequence_lengths == tuple(len(pair["input_ids"]) for pair in pairs)


@pytest.mark.parametrize(
    ("fill", "asked", "expected"),
    [
        (False, "The _ is red.", "The _ is red. mill"),
        (True, "The _ is red.", "The mill is red."),
        (True, "_ and _ .", "mill and _ ."),
        (True, "It is ____ and __.", "It is mill and __."),
        (True, "Is my_var _?", "Is my_var mill?"),
        (True, "Is my_var red?", "Is my_var red? mill"),
        (True, "What is red?", "What is red? mill"),
    ],
)
def test_blanks(fill: bool, asked: str, expected: str, bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([question("It is.", asked, ["mill", "sea"], 0)])
    (text,) = MultipleChoice(max_tokens=60, max_question_tokens=30, fill_blanks=fill).encode(records, bert)
    stock = bert("It is.", expected, truncation=False, padding=False)
    assert text.input_ids[: text.sequence_lengths[0]].tolist() == stock["input_ids"]


def test_faulty_questions_are_named(bert: PreTrainedTokenizerBase) -> None:
    good = question("a", "b", ["c", "d"], 0, "good")
    for change, message in (
        ({"options": ["c"]}, "question 'bad' has 1 options: give at least 2"),
        ({"answer": 2}, "question 'bad' has the answer 2 of 2 options: count from 0"),
    ):
        records = Dataset.from_list([good, {**good, "id": "bad", **change}])
        with pytest.raises(ValueError, match=message):
            MultipleChoice().encode(records, bert)


def test_questions_may_have_as_many_options_as_those_of_the_data(bert: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([question("a", "b", list("cd"), 0), question("a", "b", list("cdefg"), 4, "more")])
    """They are read alike, so that fingerprints count no options."""
    task = MultipleChoice(max_tokens=60, max_question_tokens=30)
    told = task.told_settings
    assert len(task.encode(records.select([0]), bert)[0].sequence_lengths) == 2
    assert task.max_text_tokens == 240
    assert len(task.encode(records, bert)[1].sequence_lengths) == 5
    assert task.max_text_tokens == 300
    assert task.told_settings == told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 30, "max_question_tokens": 26}, "max_tokens is 30 and max_question_tokens 26"),
        ({"max_question_tokens": 0}, "max_question_tokens 0"),
        ({"num_options": 1}, "num_options is 1: give at least 2"),
    ],
)
def test_settings_of_choices_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultipleChoice(**settings)


@pytest.mark.parametrize("seed", range(20))
def test_accuracy_of_options_by_hand(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [question("a", "b", ["x"] * int(random.integers(2, 5)), 0, str(index)) for index in range(7)]
    for row in rows:
        row["answer"] = int(random.integers(len(row["options"])))
    logits = [random.integers(-2, 3, (len(row["options"]), 1)).astype(np.float32) for row in rows]
    records = Dataset.from_list(rows)
    task = MultipleChoice()
    predictions = task.predict([None] * 7, logits, records)  # type: ignore[list-item]
    right = 0
    for row, values in zip(rows, logits, strict=True):
        best = [index for index in range(len(values)) if values[index, 0] == max(values[:, 0])]
        assert predictions[row["id"]] == best[0]
        right += best[0] == row["answer"]
    assert task.metrics(predictions, records) == {"accuracy": pytest.approx(100 * right / 7)}


def test_subsets_are_reported_beside_the_whole() -> None:
    rows = [
        {**question("a", "b", ["x", "y"], 0, str(index)), "subset": subset}
        for index, subset in enumerate(["middle", "high", "middle", None, "high", "middle"])
    ]
    records = Dataset.from_list(rows)
    predictions = {"0": 0, "1": 1, "2": 0, "3": 0, "4": 0, "5": 1}
    found = MultipleChoice().metrics_with_subsets(predictions, records)
    assert list(found) == ["accuracy", "accuracy_high", "accuracy_middle"]
    assert list(found.values()) == pytest.approx([100 * 4 / 6, 50.0, 100 * 2 / 3])
    bare = records.remove_columns("subset")
    assert MultipleChoice().metrics_with_subsets(predictions, bare) == {"accuracy": found["accuracy"]}


def test_predictions_of_options_need_logits_that_fit() -> None:
    records = Dataset.from_list([question("a", "b", ["c", "d"], 0)])
    with pytest.raises(ValueError, match="1 texts but 0 arrays"):
        MultipleChoice().predict([None], [], records)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="logits are NaN"):
        MultipleChoice().predict([None], [np.full((2, 1), np.nan, np.float32)], records)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no questions to score"):
        MultipleChoice().metrics({}, records.select([]))


def test_lazy_texts_are_a_sequence(bert: PreTrainedTokenizerBase) -> None:
    strings = [f"text number {index}" for index in range(5)]
    texts = classifier(max_tokens=16).encode(labelled(*[(text, None) for text in strings]), bert)
    assert isinstance(texts, LazyTexts)
    assert len(texts) == 5
    ids = [text.text_id for text in texts]
    assert ids == list("01234")
    assert [texts[index].text_id for index in (0, 4, -1, -5, 2)] == ["0", "4", "4", "0", "2"]
    for part in (slice(None), slice(1, 3), slice(-2, None), slice(None, None, -2), slice(3, 99), slice(4, 1)):
        assert [text.text_id for text in texts[part]] == ids[part]
    for beyond in (5, -6):
        with pytest.raises(IndexError, match=f"text {beyond}: there are 5"):
            texts[beyond]
    one, other = texts[3], texts[3]
    assert one.input_ids.tolist() == other.input_ids.tolist() == bert(strings[3], padding=False)["input_ids"]
    assert one.target.tolist() == other.target.tolist() == [1]
    assert list(reversed([text.text_id for text in texts])) == ids[::-1]


def test_records_have_the_columns_of_their_form() -> None:
    assert labelled(("a", None)).column_names == list(LABELLED_TEXT.columns)
