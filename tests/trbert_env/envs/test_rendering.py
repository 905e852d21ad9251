from __future__ import annotations

from trbert_env.envs.rendering import render_reduction, render_stops

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


def test_stops_in_markdown() -> None:
    shown = render_stops(["[CLS]", "a*b", "no", "x_y"], [2, 0, 1, 2], 2)
    first, second = shown.split("\n\n")
    assert first == "**Reduction 1:** **[CLS]** a\u0336*\u0336b\u0336 **no** **x\\_y**"
    assert second == "**Reduction 2:** **[CLS]** n\u0336o\u0336 **x\\_y**"
