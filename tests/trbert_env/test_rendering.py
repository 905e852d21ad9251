from __future__ import annotations

from trbert_env.rendering import render_reduction

STRIKE, PLAIN = "\x1b[9;2m", "\x1b[0m"


def test_wordpieces_join_and_skipped_ones_are_struck_out() -> None:
    tokens = ["[CLS]", "play", "##ing", "well"]
    assert render_reduction(tokens, [True] * 4) == "[CLS] playing well"
    assert render_reduction(tokens, [True, False, True, False]) == f"[CLS] {STRIKE}play{PLAIN}ing {STRIKE}well{PLAIN}"


def test_byte_level_tokens_join_where_no_space_was() -> None:
    tokens = ["<s>", "play", "ing", "Ġwell", "</s>"]
    assert render_reduction(tokens, [True] * 5) == "<s>playing well</s>"


def test_padding_beyond_the_text_does_not_matter() -> None:
    assert render_reduction(["[CLS]", "a"], [True, True, False, False]) == "[CLS] a"


def test_no_token_no_text() -> None:
    assert render_reduction([], [False]) == ""
