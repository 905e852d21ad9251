"""Readers of own files."""
