"""Embedded corpora: generated texts that need no download."""

from trbert_env.data.embedded.registry import DESCRIPTIONS, EMBEDDED

__all__ = ["DESCRIPTIONS", "EMBEDDED"]
