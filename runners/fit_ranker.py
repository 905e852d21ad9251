"""Fit a linear ranker of TriviaQA's passages, which brings those that may hold the answer to the front."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from datasets import Dataset

from runners.cli.display import announce, progress
from runners.cli.flags import refuse_unused
from runners.cli.options import Group, RunOptions
from runners.cli.run import run
from runners.cli.tables import Cell, print_table
from runners.runs.run_folder import RunFolder
from trbert_env.data.passage_ranker import PassageRanker, fit_passage_ranker, holds_answer
from trbert_env.data.passages import Passage, passages_of
from trbert_env.data.request import DataRequest
from trbert_env.data.sampling import sample
from trbert_env.data.sources import Examples
from trbert_env.ranges import Range

#: Numbers of first passages of which the table says whether they hold the answer.
_FIRST = (1, 2, 3, 5)


@dataclass(frozen=True)
class FitRankerOptions:
    """Options of fitting a ranker."""

    data_source: Literal["auto", "local", "hub", "embedded"] = "auto"
    """Source of the questions and their evidence."""

    data_dir: Path | None = None
    """A folder with one folder for each data set; the environment variable TRBERT_DATA when not given."""

    questions: Annotated[int, Range(20)] = 2000
    """Training questions to fit on; a tenth of them is held out for the table."""

    passage_words: Annotated[int, Range(1)] = 400
    """Most words of a passage."""

    skip_bad_records: bool = False
    """Leave malformed records out and count them, instead of stopping at the first."""

    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        no_encoder = "no encoder runs, leave it out"
        refuse_unused(self, device=no_encoder, dtype=no_encoder)


def load_questions(options: FitRankerOptions) -> Examples:
    """Return a sample of the training questions, with the whole evidence of each."""
    request = DataRequest(
        "TriviaQA",
        options.data_source,
        None if options.data_dir is None else str(options.data_dir),
        reader_settings={"max_words": None},
        skip_bad_records=options.skip_bad_records,
    )
    examples = request.load("train")
    return replace(examples, dataset=sample(examples.dataset, options.questions, options.run.seed))


def shares_found(ranker: PassageRanker | None, questions: Dataset, passage_words: int) -> list[float]:
    """Return in how many of the questions the first passages hold an answer, for each of a few numbers, 0 to 100.

    Args:
        ranker: Orders the passages; None for the order of the evidence.
        questions: The questions.
        passage_words: Most words of a passage.
    """
    found = [0] * len(_FIRST)
    for question in questions:
        context, answers = question["context"], question["answers"]
        passages: list[Passage] = (
            passages_of(context, passage_words) if ranker is None else ranker.ordered(question["question"], context)
        )
        holds = [holds_answer(passage, answers) for passage in passages]
        for place, count in enumerate(_FIRST):
            found[place] += any(holds[:count])
    return [100.0 * count / len(questions) for count in found]


def _counted(questions: Dataset) -> Iterator[Mapping[str, Any]]:
    with progress("fitting", len(questions), unit="questions") as bar:
        for question in questions:
            yield question
            bar.update(1)


def main(options: FitRankerOptions) -> None:
    """Fit a linear ranker of TriviaQA's passages, which brings those that may hold the answer to the front."""
    examples = load_questions(options)
    questions = examples.dataset
    held = max(1, len(questions) // 10)
    training, holdout = questions.select(range(held, len(questions))), questions.select(range(held))
    ranker = fit_passage_ranker(_counted(training), options.passage_words)
    folder = RunFolder.create(options.run.output_dir, "TriviaQA", "passage", "ranker", options.run.seed)
    folder.write_config(options)
    file = folder.path / "ranker.json"
    ranker.save(file)
    rows: list[list[Cell]] = [
        [name, *shares_found(one, holdout, options.passage_words)]
        for name, one in (("as they come", None), ("ranked", ranker))
    ]
    title = f"questions whose first passages hold an answer, % of {held:,} held-out ones"
    print_table(title, ["", *(f"first {count}" for count in _FIRST)], rows)
    if examples.source == "embedded":
        announce(f"the ranker is in {file}; the embedded corpus is read without one, so give it to real questions")
    else:
        announce(f"read TriviaQA in this order: --reader-options {shlex.quote(f'ranking={file}')}")


if __name__ == "__main__":
    run(main, FitRankerOptions)
