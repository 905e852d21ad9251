"""Make tables to train and measure a reranker on, of SQuAD 2.0: each question against paragraphs around its own.

python examples/reranking_pairs.py --output-dir pairs --data-dir DATA

The candidates of a question are the paragraph that answers it and those around it, nearly all of the same article.
``train.csv`` and ``test.csv`` have the columns ``query_id, query, passage, label``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tyro
from datasets import Dataset

from trbert_env.data.records import columns
from trbert_env.data.sources import load_examples


def pairs(
    records: Dataset, questions: int, candidates: int, random: np.random.Generator
) -> Iterator[tuple[str, str, str, int]]:
    """Yield the candidates of random questions that have an answer, a question's side by side."""
    ids, contexts, queries, answers = columns(records, "id", "context", "question", "answers")
    passages = list(dict.fromkeys(contexts))  # those of an article follow each other, then those of the next
    place = {passage: index for index, passage in enumerate(passages)}
    answered = [row for row, answer in enumerate(answers) if answer["text"]]
    for row in random.permutation(answered)[:questions]:
        own = place[contexts[row]]
        start = min(max(0, own - candidates // 2), max(0, len(passages) - candidates))
        near = range(start, min(start + candidates, len(passages)))
        for other in random.permutation(near):
            yield ids[row], queries[row], passages[other], int(other == own)


def main(
    output_dir: Path,
    data_dir: str | None = None,
    data_source: str = "auto",
    train_questions: int = 8000,
    test_questions: int = 1000,
    train_candidates: int = 5,
    test_candidates: int = 10,
    seed: int = 0,
) -> None:
    """Write both tables."""
    random = np.random.default_rng(seed)
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, split, questions, candidates in (
        ("train", "train", train_questions, train_candidates),
        ("test", "validation", test_questions, test_candidates),
    ):
        file = output_dir / f"{name}.csv"
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(("query_id", "query", "passage", "label"))
            records = load_examples("squad_v2", split, data_source, data_dir).dataset
            writer.writerows(pairs(records, questions, candidates, random))
        print(f"{file}: {candidates} candidates for each of {questions:,} questions at most")


if __name__ == "__main__":
    tyro.cli(main)
