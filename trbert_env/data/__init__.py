"""Where examples come from: a local folder, the hub or the embedded corpus, same columns from each."""

from trbert_env.data.sources import Examples, load_examples, sample

__all__ = ["Examples", "load_examples", "sample"]
