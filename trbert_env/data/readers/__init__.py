"""Readers: one for each data set, which turns its files, however odd, into records of one form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from trbert_env.data.readers.base import Reader
from trbert_env.data.readers.hotpotqa import hotpotqa
from trbert_env.data.readers.hyperpartisan import hyperpartisan
from trbert_env.data.readers.imdb import IMDB
from trbert_env.data.readers.mrqa import NATURALQA, NEWSQA
from trbert_env.data.readers.newsgroups import newsgroups
from trbert_env.data.readers.race import race
from trbert_env.data.readers.squad import SQUAD
from trbert_env.data.readers.triviaqa import triviaqa
from trbert_env.data.readers.wikihop import WIKIHOP
from trbert_env.data.readers.yelp import YELP

#: What makes the reader of a data set that can be read in several ways; its parameters are the options.
_MADE_BY: tuple[Callable[..., Reader], ...] = (race, newsgroups, hyperpartisan, hotpotqa, triviaqa)
_FACTORIES: dict[str, Callable[..., Reader]] = {factory().name: factory for factory in _MADE_BY}

#: The reader of each data set, by the data set's name.
READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        *(SQUAD, NEWSQA, NATURALQA, race(), YELP, newsgroups(), IMDB, hyperpartisan()),
        *(hotpotqa(), triviaqa(), WIKIHOP),
    )
}


def reader_options(dataset: str) -> tuple[str, ...]:
    """Return the names of the options that a data set's reader takes.

    Args:
        dataset: The data set's name.

    Example:
        >>> reader_options("hotpot_qa")
        ('config', 'ranking')
    """
    factory = _FACTORIES.get(dataset)
    return () if factory is None else tuple(inspect.signature(factory).parameters)


def make_reader(dataset: str, **options: Any) -> Reader:
    """Make the reader of a data set.

    Args:
        dataset: A key of :data:`READERS`.
        options: Options of that reader; see :func:`reader_options`.

    Raises:
        ValueError: The reader has no such option, or not that value of it.
        KeyError: There is no such data set.
    """
    known = reader_options(dataset)
    for name in options:
        if name not in known:
            raise ValueError(f"the reader of {dataset} has no option {name!r}: it has {', '.join(known) or 'none'}")
    return _FACTORIES[dataset](**options) if options else READERS[dataset]


__all__ = [
    "READERS",
    "Reader",
    "hotpotqa",
    "hyperpartisan",
    "make_reader",
    "newsgroups",
    "race",
    "reader_options",
    "triviaqa",
]
