"""Settings of a task for an encoder that reads fewer tokens than the data set's own settings ask for."""

from __future__ import annotations

import math
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
    return shortened_settings(settings, positions) if positions >= LEAST_POSITIONS else dict(settings)


def shortened_settings(settings: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Return settings whose sequences have at most a number of tokens, with the proportions of :func:`fitted_settings`.

    Args:
        settings: Settings of a task.
        length: The number.

    Example:
        >>> shortened_settings({"max_tokens": 384, "stride": 128}, 192), shortened_settings({"max_tokens": 384}, 512)
        ({'max_tokens': 192, 'stride': 64}, {'max_tokens': 384})
    """
    if length >= settings.get("max_tokens", math.inf):
        return dict(settings)
    most = {"max_tokens": length, "stride": length // 3, "max_question_tokens": length // 2}
    return {name: min(value, most.get(name, value)) if name in most else value for name, value in settings.items()}
