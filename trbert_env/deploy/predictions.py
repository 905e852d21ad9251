"""Prediction files in the form of SQuAD's evaluation script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from trbert_env.deploy.answering import Answer


def write_predictions(answers: Mapping[str, Answer], path: Path | str, na_path: Path | str | None = None) -> None:
    """Write answers as SQuAD's evaluation script reads them: ``evaluate-v2.0.py DATA PATH --na-prob-file NA_PATH``.

    Args:
        answers: The answer to each question, by its id.
        path: File of the texts, by id; ``""`` where there is no answer.
        na_path: File of the probabilities that there is no answer, by id; None for no such file.

    Raises:
        TypeError: One is no :class:`Answer`.

    Example:
        >>> import tempfile
        >>> found = {"q1": Answer("Ada", 0, 3, 5.0, 0.9, 0.05)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_predictions(found, Path(folder, "predictions.json"))
        ...     print(Path(folder, "predictions.json").read_text())
        {"q1": "Ada"}
    """
    for key, answer in answers.items():
        if not isinstance(answer, Answer):
            raise TypeError(f"the answer to {key!r} is {answer!r:.80}: give what model.answer returns")
    Path(path).write_text(_json({key: answer.text for key, answer in answers.items()}), encoding="utf-8")
    if na_path is not None:
        shares = {key: answer.no_answer_probability for key, answer in answers.items()}
        Path(na_path).write_text(_json(shares), encoding="utf-8")


def _json(values: Mapping[str, object]) -> str:
    return json.dumps(values, ensure_ascii=False)
