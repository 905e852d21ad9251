"""How much runs at once: rows of a pass, groups of sequences, and padding of the packed total."""

from __future__ import annotations

import torch
from torch import Tensor

#: The most rows that padding goes by; see :func:`padded_rows`.
MOST_PADDING = 512
#: Bytes of the widest intermediate result on a CPU; beyond 32 MiB malloc maps pages anew at each call.
MOST_BYTES = 20 << 20


def padded_rows(total: int) -> int:
    """The number of rows that ``total`` are padded to, for bfloat16 on a CPU.

    Kernels are built anew for every number of rows, so there should be few of them; and few rows should
    be wasted, also late, when few are left. Eight numbers from one power of two to the next do both.

    Example:
        >>> [padded_rows(total) for total in (5, 1184, 2960, 5920, 20_000)]
        [64, 1280, 3072, 6144, 20480]
    """
    step = min(max((1 << total.bit_length()) // 16, 64), MOST_PADDING)
    return -(-total // step) * step


def pass_rows(device: torch.device | str) -> int:
    """Texts that run together in a pass over a split; packed execution is exact, so it moves speed only."""
    return 64 if torch.device(device).type == "cpu" else 512


def group_sizes(lengths: Tensor, most_tokens: int) -> list[int]:
    """How many consecutive sequences run together, so that a group has about ``most_tokens`` at most.

    Args:
        lengths: ``(num_sequences,)`` int64.
        most_tokens: Groups are of about equal size, and no sequence is cut.

    Example:
        >>> group_sizes(torch.tensor([5, 5, 5, 5, 5, 5]), 10), group_sizes(torch.tensor([30, 2]), 10)
        ([2, 2, 2], [1, 1])
    """
    total = int(lengths.sum())
    groups = max(1, -(-total // most_tokens))
    middles = lengths.cumsum(0) - lengths / 2
    sizes = (middles * groups / max(total, 1)).long().bincount(minlength=1)
    return [int(size) for size in sizes if size]


def pads_rows(states: Tensor) -> bool:
    """Whether the matrix products to come run in bfloat16 on a CPU."""
    if states.device.type != "cpu":
        return False
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast or states.dtype == torch.bfloat16
