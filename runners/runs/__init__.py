"""Runs on disk: folders, records, checkpoints and curves."""
