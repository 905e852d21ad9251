"""Agents: what acts in the environment, and what learns from it."""
