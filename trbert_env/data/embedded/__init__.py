"""Embedded corpora: generated texts that need no download."""

from trbert_env.data.embedded.registry import DESCRIPTIONS, EMBEDDED, check_known_to_corpus

__all__ = ["DESCRIPTIONS", "EMBEDDED", "check_known_to_corpus"]
