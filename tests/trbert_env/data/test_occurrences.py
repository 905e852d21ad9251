"""Where answers stand in texts."""

from __future__ import annotations

import re
import string

import pytest

from trbert_env.data.occurrences import AnswerFinder, exact_occurrences

#: A text, answers, and what is found of them.
FOUND: list[tuple[str, list[str], list[str]]] = [
    ("Oslo lies by the sea.", ["Oslo"], ["Oslo"]),
    ("OSLO, not Oslofjord or St. Oslo", ["oslo"], ["OSLO", "Oslo"]),
    ("in Oslo,\nNorway", ["oslo norway"], ["Oslo,\nNorway"]),
    ("in Oslo, Norway", ["Oslo", "Oslo, Norway"], ["Oslo, Norway"]),
    ("Oslo Norway Oslo", ["Norway Oslo", "Oslo Norway"], ["Oslo Norway"]),
    ("the rock-n-roll years", ["rock n roll"], ["rock-n-roll"]),
    ("a rock\u2013roll year", ["rock roll"], []),
    ("a rock\u2013roll year", ["Rock\u2013Roll"], ["rock\u2013roll"]),
    ("\u201cOslo\u201d", ["oslo"], ["Oslo"]),
    ("O\u2019Brien and O'Brien", ["o brien"], ["O\u2019Brien", "O'Brien"]),
    ("paid \u00a35 or 5 crowns", ["\u00a35"], ["\u00a35"]),
    ("the A of a mill", ["A", "The", "an"], []),
    ("The Mill, a mill", ["the mill"], ["The Mill"]),
    ("K is kelvin, k is not", ["K"], ["K"]),
    ("Vitamin E, e and E", ["E", "Vitamin E"], ["Vitamin E", "E"]),
    ("mill mill mill", ["mill mill"], ["mill mill"]),
    ("mill " * 300, ["Mill"], ["mill"] * 300),
    ("anything", ["", " ", "..."], []),
    ("", ["Oslo"], []),
    ("snake_case", ["snake case"], ["snake_case"]),
    ("\u00c5lesund", ["\u00e5lesund"], ["\u00c5lesund"]),
]


@pytest.mark.parametrize(("text", "answers", "expected"), FOUND)
def test_answers_of_several_words(text: str, answers: list[str], expected: list[str]) -> None:
    spans = AnswerFinder(answers).find(text)
    assert [text[start:end] for start, end in spans] == expected
    assert spans == sorted(spans)


@pytest.mark.parametrize("sign", string.punctuation + "\u2018\u2019\u00b4 \n\t")
def test_signs_that_normalisation_takes_out_play_no_part(sign: str) -> None:
    assert AnswerFinder(["old mill"]).find(f"old{sign}mill") == [(0, 8)]
    assert AnswerFinder([f"old{sign}mill"]).find("old mill") == [(0, 8)]


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("Oslo, not Oslofjord: Oslo.", "Oslo", [0, 21]),
        ("oslo", "Oslo", []),
        ("C++ and C", "C++", [0]),
        ("C++ and C", "C", [0, 8]),
        ("(born 1990)", "(born 1990)", [0]),
        ("a.b axb", "a.b", [0]),
        ("old  mill", "old mill", []),
        ("blank", " ", []),
        ("blank", "", []),
    ],
)
def test_exact(text: str, answer: str, expected: list[int]) -> None:
    found = exact_occurrences(text, answer)
    assert found == [(start, start + len(answer)) for start in expected]


def test_whole_words_only() -> None:
    text = "mill windmill mills mill2 mill"
    starts = [match.start() for match in re.finditer(r"\bmill\b", text)]
    for found in (exact_occurrences(text, "mill"), AnswerFinder(["mill"]).find(text)):
        assert [start for start, _ in found] == starts == [0, 26]
