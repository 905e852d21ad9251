"""Readers: one for each data set, which turns its files, however odd, into records of one form."""

from trbert_env.data.readers.base import Reader
from trbert_env.data.readers.hyperpartisan import hyperpartisan
from trbert_env.data.readers.imdb import IMDB
from trbert_env.data.readers.mrqa import NATURALQA, NEWSQA
from trbert_env.data.readers.newsgroups import newsgroups
from trbert_env.data.readers.race import race
from trbert_env.data.readers.squad import SQUAD
from trbert_env.data.readers.yelp import YELP

#: The reader of each data set, by the data set's name.
READERS: dict[str, Reader] = {
    reader.name: reader for reader in (SQUAD, NEWSQA, NATURALQA, race(), YELP, newsgroups(), IMDB, hyperpartisan())
}

__all__ = ["READERS", "Reader", "hyperpartisan", "newsgroups", "race"]
