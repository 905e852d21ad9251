"""The embedded corpora by the folder name of the data set whose place they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from datasets import Dataset

from trbert_env.data.embedded.choices import embedded_race
from trbert_env.data.embedded.classification import FLAVOURS, embedded_labelled_texts
from trbert_env.data.embedded.corpus import embedded_squad2
from trbert_env.data.embedded.mrqa import embedded_naturalqa, embedded_newsqa

#: Each generates a split, with the columns of the form that the data set has in :mod:`trbert_env.data.records`.
EMBEDDED: dict[str, Callable[[str], Dataset]] = {
    "squad_v2": embedded_squad2,
    **{name: partial(embedded_labelled_texts, name) for name in FLAVOURS},
    "race": embedded_race,
    "mrqa_newsqa": embedded_newsqa,
    "mrqa_naturalqa": embedded_naturalqa,
}
