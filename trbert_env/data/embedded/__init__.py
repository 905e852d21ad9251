"""Embedded corpora: generated texts that need no download."""
