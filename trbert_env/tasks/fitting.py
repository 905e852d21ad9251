"""Settings of a task for an encoder that reads fewer tokens than the data set's own settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Positions that an encoder must have for its texts to be shortened to them; with fewer, little of a text is left.
LEAST_POSITIONS = 64


def fitted_settings(settings: Mapping[str, Any], positions: int) -> dict[str, Any]:
    """Return settings whose sequences an encoder can read, with the proportions that data sets have at 384 tokens.

    Args:
        settings: Settings of a task, with ``max_tokens``.
        positions: Tokens of the longest sequence that the encoder reads, special tokens included.

    Returns:
        The settings; the same where sequences fit, or where the encoder has fewer than :data:`LEAST_POSITIONS`.

    Example:
        >>> fitted_settings({"max_tokens": 384, "stride": 128, "max_question_tokens": 128}, 128)
        {'max_tokens': 128, 'stride': 42, 'max_question_tokens': 64}
    """
    fitted = dict(settings)
    if positions >= settings["max_tokens"] or positions < LEAST_POSITIONS:
        return fitted
    most = {"max_tokens": positions, "stride": positions // 3, "max_question_tokens": positions // 2}
    return fitted | {name: min(fitted[name], value) for name, value in most.items() if name in fitted}
