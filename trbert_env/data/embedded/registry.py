"""The embedded corpora by the folder name of the data set whose place they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from datasets import Dataset

from trbert_env.data.embedded import candidates, choices, classification, corpus, mrqa, multihop, trivia

#: Each generates a split, by settings if it has any, with the columns of the form that the data set has in
#: :mod:`trbert_env.data.records`.
#: All have the splits ``"train"``, ``"validation"`` and ``"test"``, but SQuAD2's has no ``"test"``.
_GENERATORS: dict[str, Callable[..., Dataset]] = {
    "squad_v2": corpus.embedded_squad2,
    **{name: partial(classification.embedded_labelled_texts, name) for name in classification.FLAVOURS},
    "race": choices.embedded_race,
    "mrqa_newsqa": mrqa.embedded_newsqa,
    "mrqa_naturalqa": mrqa.embedded_naturalqa,
    "hotpot_qa": multihop.embedded_hotpotqa,
    "trivia_qa": trivia.embedded_triviaqa,
    "wikihop": candidates.embedded_wikihop,
}

#: The same, each split generated once a process.
EMBEDDED: dict[str, Callable[..., Dataset]] = {name: cache(generate) for name, generate in _GENERATORS.items()}

#: What each corpus is, in a few sentences for reports.
DESCRIPTIONS: dict[str, str] = {
    "squad_v2": corpus.DESCRIPTION,
    **dict.fromkeys(classification.FLAVOURS, classification.DESCRIPTION),
    "race": choices.DESCRIPTION,
    "mrqa_newsqa": mrqa.DESCRIPTION,
    "mrqa_naturalqa": mrqa.DESCRIPTION,
    "hotpot_qa": multihop.DESCRIPTION,
    "trivia_qa": trivia.DESCRIPTION,
    "wikihop": candidates.DESCRIPTION,
}
