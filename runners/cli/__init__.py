"""Command lines: options, errors, display and plots."""
