"""Labelled texts: few sentences decide, the words alone do not, and nothing else gives the label away."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from statistics import mean

import pytest
from datasets import Dataset

from trbert_env.data.embedded.classification import FLAVOURS, embedded_labelled_texts, labelled_sentences
from trbert_env.data.embedded.verdicts import Sentence

NAMES = list(FLAVOURS)


@cache
def corpus(name: str, split: str = "validation") -> Dataset:
    """A corpus with the default seed, made once for all tests."""
    return embedded_labelled_texts(name, split)


@cache
def sentences(name: str) -> list[tuple[str, list[Sentence]]]:
    """The validation texts in sentences."""
    return labelled_sentences(name, "validation")


def test_labels_are_those_of_the_real_data_sets() -> None:
    assert FLAVOURS["imdb"].labels == ("neg", "pos")
    assert FLAVOURS["yelp_review_full"].labels == ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    assert FLAVOURS["hyperpartisan_news_detection"].labels == ("false", "true")
    groups = FLAVOURS["20_newsgroups"].labels
    assert len(groups) == 20
    assert list(groups) == sorted(groups)


@pytest.mark.parametrize("name", NAMES)
def test_classes_are_balanced_and_mixed(name: str) -> None:
    labels = corpus(name)["label"]
    counts = Counter(labels)
    assert set(counts) == set(FLAVOURS[name].labels)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert list(labels) != sorted(labels)


@pytest.mark.parametrize("name", NAMES)
def test_length_does_not_tell_the_class(name: str) -> None:
    rows = corpus(name, "train")
    lengths: dict[str, list[int]] = {label: [] for label in FLAVOURS[name].labels}
    for text, label in zip(rows["text"], rows["label"], strict=True):
        lengths[label].append(len(text.split()))
    means = [mean(values) for values in lengths.values()]
    assert max(means) < 1.1 * min(means)


@pytest.mark.parametrize("name", NAMES)
def test_few_sentences_decide(name: str) -> None:
    for text, (label, parts) in zip(corpus(name), sentences(name), strict=True):
        assert text["label"] == label
        assert text["text"] == " ".join(part.text for part in parts)
        assert 1 <= sum(part.decides for part in parts) <= 3
        assert 9 <= len(parts) <= 14


@pytest.mark.parametrize("name", NAMES)
def test_deciding_sentences_stand_anywhere(name: str) -> None:
    places = Counter(
        index * 4 // len(parts) for _, parts in sentences(name) for index, part in enumerate(parts) if part.decides
    )
    assert min(places[quarter] for quarter in range(4)) > 0.18 * places.total()


@pytest.mark.parametrize("name", NAMES)
def test_phrases_of_other_classes_stand_in_most_texts(name: str) -> None:
    phrases = FLAVOURS[name].phrases
    mixed = 0
    for label, parts in sentences(name):
        text = " ".join(part.text for part in parts)
        mixed += any(phrase in text for other in phrases if other != label for phrase in phrases[other])
    assert mixed > 0.75 * len(sentences(name))


@pytest.mark.parametrize("name", NAMES)
def test_text_reads_as_sentences(name: str) -> None:
    for row in corpus(name):
        assert not re.search(r"[{}|]|  |\.\.| [.,;?]", row["text"])
        assert row["text"][-1] in ".?"
        assert row["text_pair"] is None


@pytest.mark.parametrize("name", NAMES)
def test_templates_have_the_slots_of_their_role(name: str) -> None:
    flavour = FLAVOURS[name]
    roles = {"plain": {"p"}, "contrasts": {"p", "q"}, "denials": {"q"}, "others": {"r"}, "fillers": set()}
    for role, needed in roles.items():
        for template in getattr(flavour, role):
            slots = re.findall(r"\{(\w+)\}", template)
            assert {slot for slot in slots if len(slot) == 1} - {"e"} == needed, template
    assert not flavour.denials or len(flavour.labels) == 2, "to deny one of many labels leaves the label open"


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'mnli'.*imdb"):
        embedded_labelled_texts("mnli", "train")
