"""How much runs at once: rows of a pass, groups of sequences, and padding of the packed total."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from trbert_env.encoder.kernels import is_recorded, linear_library

#: The most rows that padding goes by; see :func:`padded_rows`.
MOST_PADDING = 512
#: Rows up to which new numbers of rows count in float32: the products of more take longer than building their kernels.
FEW_ROWS = 1024
#: Bytes of the widest intermediate result on a CPU; beyond 32 MiB malloc maps pages anew at each call.
MOST_BYTES = 20 << 20


def padded_rows(total: int, least: int = 16) -> int:
    """Return the number of rows that some are padded to where kernels are built anew for every number of rows.

    So there should be few such numbers; and few rows should be wasted, also late, when few are left. Eight numbers from
    one power of two to the next do both.

    Args:
        total: Number of rows.
        least: Step between the smallest numbers: what processors multiply at once.

    Example:
        >>> [padded_rows(total) for total in (5, 100, 1184, 2960, 5920, 20_000)]
        [16, 112, 1280, 3072, 6144, 20480]
    """
    step = min(max((1 << total.bit_length()) // 16, least), MOST_PADDING)
    return -(-total // step) * step


def rows_to_run(states: Tensor) -> int:
    """Return the number of rows that a pass runs for some: more than there are where new numbers of rows cost more.

    oneDNN builds kernels for every number of rows, which takes it about half a millisecond a product: as long as the
    products of 100 rows. In bfloat16 all products on a CPU are its own; in float32 those that it was chosen for.

    Args:
        states: ``(rows, hidden)`` that the pass begins with.
    """
    total = len(states)
    if is_recorded():
        return total
    if computes_in_bfloat16(states):
        return padded_rows(total)
    builds = states.device.type == "cpu" and linear_library(states.dtype) == "onednn"
    return padded_rows(total) if builds and total <= FEW_ROWS else total


def by_rows(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Apply a function of rows to as many as :func:`rows_to_run` says, and return those of the inputs.

    Padding copies what it pads, so that of many rows only the last ones are padded, and run apart from the others.

    Args:
        function: Function that maps each row apart from the others, such as a head; its results should be narrow, for
            they are copied.
        inputs: ``(rows, ...)`` each; the first decides how many rows run.
    """
    total = len(inputs[0])
    if rows_to_run(inputs[0]) == total:
        return function(*inputs)
    whole = total - total % MOST_PADDING
    tail = _padded(function, [values[whole:] for values in inputs])
    return torch.cat([function(*(values[:whole] for values in inputs)), tail]) if whole else tail


def _padded(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Apply a function of rows to some and to what they are padded with; returns those of the inputs."""
    rows = rows_to_run(inputs[0])
    return function(*(pad_rows(values, rows) for values in inputs))[: len(inputs[0])]


def pad_rows(values: Tensor, rows: int) -> Tensor:
    """Return ``(rows, ...)`` with 0 behind the values; as they are where they are as many.

    Args:
        values: ``(at most rows, ...)``.
        rows: Wanted number of rows.
    """
    missing = rows - len(values)
    return pad(values, (0, 0) * (values.dim() - 1) + (0, missing)) if missing else values


def pass_rows(device: torch.device | str) -> int:
    """Texts that run together in a pass over a split; packed execution is exact, so it moves speed only.

    Args:
        device: Device of the pass. On a GPU with less than 32 GiB of memory they are fewer than 512.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return 64
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return min(512, max(64, 64 * round(memory / 4)))


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


def computes_in_bfloat16(states: Tensor) -> bool:
    """Tell whether the matrix products to come run in bfloat16 on a CPU.

    Args:
        states: What they begin with.
    """
    if states.device.type != "cpu":
        return False
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast or states.dtype == torch.bfloat16
