"""Pairs of question and passage: both labels for each passage, and the same pairs in both forms."""

from __future__ import annotations

from collections import Counter, defaultdict

from trbert_env.data.embedded.pairs import LABELS, embedded_labelled_pairs, embedded_scored_pairs


def test_each_passage_is_asked_for_what_it_tells_and_for_what_it_does_not() -> None:
    labels: dict[str, list[float]] = defaultdict(list)
    for row in embedded_scored_pairs("validation"):
        assert row["text"].endswith("?")
        labels[row["text_pair"]].append(row["label"])
    assert all(sorted(values) == [0.0, 1.0] for values in labels.values())
    assert len(Counter(map(tuple, labels.values()))) == 2, "the order gives the label away"


def test_both_forms_have_the_same_pairs() -> None:
    for scored, labelled in zip(embedded_scored_pairs("test"), embedded_labelled_pairs("test"), strict=True):
        assert (scored["text"], scored["text_pair"]) == (labelled["text"], labelled["text_pair"])
        assert LABELS[int(scored["label"])] == labelled["label"]
