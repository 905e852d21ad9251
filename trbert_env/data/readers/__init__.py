"""Readers: one for each data set, which turns its files, however odd, into records of one form."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, get_type_hints

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
from trbert_env.data.settings import check_settings

#: What makes the reader of a data set that can be read in several ways; its parameters are the settings.
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


def reader_settings(dataset: str) -> dict[str, Any]:
    """Return the settings of a data set's reader, with the type of each.

    Args:
        dataset: The data set's name.

    Example:
        >>> reader_settings("hotpot_qa")
        {'config': <class 'str'>, 'ranking': str | None, 'level': str | None}
    """
    factory = _FACTORIES.get(dataset)
    types = {} if factory is None else get_type_hints(factory)
    return {name: kind for name, kind in types.items() if name != "return"}


def reader_defaults(dataset: str) -> dict[str, Any]:
    """Return the settings of a data set's reader, with the value that each has where none is given.

    Args:
        dataset: The data set's name.

    Example:
        >>> reader_defaults("hyperpartisan_news_detection")
        {'split_seed': 0, 'fold': 0}
    """
    factory = _FACTORIES.get(dataset)
    parameters = {} if factory is None else signature(factory).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def make_reader(dataset: str, **settings: Any) -> Reader:
    """Make the reader of a data set.

    Args:
        dataset: A key of :data:`READERS`.
        settings: Settings of that reader; see :func:`reader_settings`.

    Raises:
        ValueError: The reader has no such setting, or not that value of it.
    """
    check_settings(f"the reader of {dataset}", settings, reader_settings(dataset))
    return _FACTORIES[dataset](**settings) if settings else READERS[dataset]


__all__ = [
    "READERS",
    "Reader",
    "hotpotqa",
    "hyperpartisan",
    "make_reader",
    "newsgroups",
    "race",
    "reader_settings",
    "triviaqa",
]
