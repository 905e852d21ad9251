"""Checks for environments of this kind, and a small one that every algorithm must learn in seconds."""

from trbert_env.testing.vector_env_checker import check_vector_env

__all__ = ["check_vector_env"]
