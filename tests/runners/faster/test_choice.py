"""The choice of the speed, against numbers worked out by hand."""

from __future__ import annotations

import pytest
from datasets import Dataset

from runners.evaluation.intervals import Loss, Spread
from runners.evaluation.record import Measured, Quality, Savings
from runners.evaluation.timing import Ratio, Timing
from runners.faster.choice import SpeedPoint, candidates, choose
from runners.faster.report import promise
from runners.faster.texts import enough
from runners.make_faster import announce_certainty
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.speed_table import SpeedTable
from trbert_env.tasks import Classification, SpanQA


def points(*losses: tuple[float, float, float]) -> list[SpeedPoint]:
    """Points of (speed-up, mean loss, bound)."""
    return [
        SpeedPoint(
            speed,
            DecisionRule(threshold=0.1 * speed),
            Measured(Quality({"accuracy": 90.0 - mean}, -0.2), Savings(speed + 0.01)),
            Loss(mean, bound, bound - mean, Spread(mean, 20.0, 1000)),
        )
        for speed, mean, bound in losses
    ]


FRONTIER = points((1.25, -0.1, 0.2), (1.5, 0.1, 0.4), (2.0, 0.3, 0.7), (2.5, 0.2, 0.45), (3.0, 1.2, 1.9))


@pytest.mark.parametrize(
    ("target", "max_loss", "speed", "outcome"),
    [
        (2.0, None, 2.0, "speed"),
        (2.1, None, 2.0, "speed"),  # the nearest, where the model does not reach it
        (None, 0.5, 1.5, "shown"),  # 2.5x is shown too, but the walk ends at 2x, which is not
        (None, 0.7, 2.5, "shown"),
        (2.0, 0.7, 2.0, "shown"),  # not faster than asked for
        (3.0, 0.7, 2.5, "shown"),
        (1.5, 0.1, 1.5, "measured"),
        (None, 0.15, 1.5, "measured"),
        (None, 5.0, 3.0, "shown"),
        (1.1, 0.5, 1.25, "shown"),  # slower than any point: the slowest
    ],
)
def test_the_choice(target: float | None, max_loss: float | None, speed: float, outcome: str) -> None:
    choice = choose(FRONTIER, target, max_loss)
    assert (choice.point.wanted, choice.outcome) == (speed, outcome)


def test_where_all_lose_more_the_slowest_is_chosen_and_said_so() -> None:
    choice = choose(points((1.25, 0.9, 1.3), (2.0, 1.5, 2.0)), None, 0.5)
    assert (choice.point.wanted, choice.outcome) == (1.25, "missed")
    said = promise(choice, 0.5, 1000, "accuracy")
    assert "--max-loss 0.5 is not met at any measured speed: this is the slowest, 1.26x in FLOPs; 0.90 points" in said


def test_what_is_measured_but_not_shown_says_how_many_texts_would_do() -> None:
    said = promise(choose(FRONTIER[2:], 2.0, 0.5), 0.5, 1000, "exact_match")
    assert said.startswith("measured, not shown: 2.01x in FLOPs; 0.30 points of exact match lost on 1,000 held-out")
    # By hand: 0.3 + 100 / n + 1.645 * 20 / sqrt(n) = 0.5 at about n = 28,100, rounded up.
    assert "About 29,000 held-out texts like these would" in said
    in_groups = promise(choose(FRONTIER[2:], 2.0, 0.5), 0.5, 4000, "exact_match")  # of 1,000 queries
    assert "lost on 4,000 held-out texts in 1,000 groups" in in_groups
    assert "About 120,000 held-out texts in 29,000 groups like these would" in in_groups


def test_ratios_of_the_clock_and_of_cpu_time() -> None:
    stock = Timing("stock", (4.0, 6.0, 5.0), (3.0, 3.0, 6.0))
    reduced = Timing("reduced", (2.0, 2.0, 2.5), (1.5, 1.0, 1.5))
    assert Ratio.of(stock, reduced) == Ratio(2.5, 2.0, 3.0, rounds=3)
    assert Ratio.by_cpu(stock, reduced) == Ratio(2.0, 2.0, 4.0, rounds=3)


def test_what_so_few_groups_cannot_show_is_said_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    held_out = Dataset.from_dict({"id": [str(row) for row in range(40)], "group": [*"abcdefgh"] * 5})
    announce_certainty(0.5, SpanQA(), held_out)
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "40 held-out texts in 8 groups could show only a loss below" in said
    assert "; 2,645 such texts in 529 groups could" in said  # 264 / 0.5 groups


def candidates_of(*relevant: str) -> Dataset:
    """Candidates of queries, ``1`` for each that is relevant."""
    rows = [
        {"id": f"{query}-{place}", "text": "q", "text_pair": f"p{place}", "label": float(label), "group": str(query)}
        for query, labels in enumerate(relevant)
        for place, label in enumerate(labels)
    ]
    return Dataset.from_list(rows)


def test_queries_that_tell_nothing_are_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    task = Classification(head="relevance", ranking=True)
    announce_certainty(0.5, task, candidates_of(*["010", "000", "111", "001"] * 4))
    assert "48 held-out texts in 8 groups could show only" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )


def test_queries_are_measured_whole_and_as_many_as_it_takes() -> None:
    task = Classification(head="relevance", ranking=True)
    records = candidates_of("000", "0000", "0110", "01")
    assert [len(enough(task, records, count)) for count in (1, 8, 11, 12, 13, 99)] == [11, 11, 11, 13, 13, 13]
    assert len(enough(Classification(head="relevance"), records, 1)) == 3
    task.check_measurable(enough(task, records, 1))


def test_a_promise_names_its_bound() -> None:
    said = promise(choose(FRONTIER, None, 0.5), 0.5, 1000, "f1")
    assert "a loss of at most 0.5 with 95% confidence, 1.51x in FLOPs" in said
    assert "0.10 points of f1 lost on 1,000 held-out texts, at most 0.40 lost with 95% confidence" in said


def test_speeds_that_the_model_does_not_reach_are_not_tried() -> None:
    table = SpeedTable(speedups=(1.3, 2.6), thresholds=(0.1, 0.9))
    assert candidates(table, 2.2) == [1.5, 1.75, 2.0, 2.2, 2.5]
    assert candidates(table, 3.0) == [1.5, 1.75, 2.0, 2.5]
    assert candidates(SpeedTable((1.7,), (0.5,)), 2.0) == []


def test_a_speed_that_loses_less_by_itself_is_not_shown_where_a_slower_one_was_not() -> None:
    choice = choose(points((1.25, 0.4, 0.6), (2.0, 0.1, 0.4)), None, 0.5)
    assert (choice.point.wanted, choice.outcome) == (2.0, "measured")
    said = promise(choice, 0.5, 1000, "accuracy")
    assert said.startswith("measured, not shown: 2.01x in FLOPs; 0.10 points of accuracy lost on 1,000 held-out texts")
    assert said.endswith("a slower speed was not shown to lose as little, and speeds are tried from the slowest on.")
