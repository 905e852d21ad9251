"""Fitting a ranker of passages from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners import fit_ranker
from runners.cli.run import run
from trbert_env.data.embedded.registry import EMBEDDED
from trbert_env.data.passage_ranker import FEATURES, PassageRanker, holds_answer


def test_the_ranker_is_saved_and_brings_answers_to_the_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data-source", "embedded", "--questions", "60", "--passage-words", "60", "--output-dir", str(tmp_path)]
    run(fit_ranker.main, fit_ranker.FitRankerOptions, given)
    (file,) = tmp_path.glob("TriviaQA/passage-ranker/*/ranker.json")
    ranker = PassageRanker.load(file)
    assert set(ranker.weights) == set(FEATURES)
    assert ranker.passage_words == 60
    printed = capsys.readouterr()
    assert "first 1" in printed.out
    assert "ranked" in printed.out
    assert "--reader-options" not in printed.err  # which the embedded corpus has no reader for
    questions = EMBEDDED["trivia_qa"]("validation").select(range(40))
    found = fit_ranker.shares_found(ranker, questions, 60)
    by_hand = [
        any(holds_answer(one, row["answers"]) for one in ranker.ordered(row["question"], row["context"])[:1])
        for row in questions
    ]
    assert found[0] == pytest.approx(100.0 * sum(by_hand) / 40)
    assert found[0] > fit_ranker.shares_found(None, questions, 60)[0] + 20
    assert found == sorted(found)


def test_options_of_encoders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(fit_ranker.main, fit_ranker.FitRankerOptions, ["--dtype", "bfloat16", "--output-dir", str(tmp_path)])
    assert "--dtype has no meaning here: no encoder runs, leave it out" in capsys.readouterr().err
