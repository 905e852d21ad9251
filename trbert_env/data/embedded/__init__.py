"""Embedded corpora: generated texts that need no download."""

from __future__ import annotations

from collections.abc import Callable

from datasets import Dataset

from trbert_env.data.embedded.corpus import embedded_squad2

#: The corpus that stands in for each data set: a function of the split, with records in that data set's form.
EMBEDDED: dict[str, Callable[[str], Dataset]] = {"squad_v2": embedded_squad2}

__all__ = ["EMBEDDED"]
