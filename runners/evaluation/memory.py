"""Memory of the tensors of a pass."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch.autograd.profiler import profile

from runners.evaluation.timing import ordered_pass
from trbert_env.encoder.texts import EncodedText
from trbert_env.system import System


def peak_memory(system: System, texts: Sequence[EncodedText]) -> float:
    """Return the largest memory of all tensors that a pass makes, MiB.

    Args:
        system: System that runs.
        texts: The texts of one batch.
    """
    one_pass = ordered_pass(system, texts, len(texts))
    if system.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        one_pass()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler prints a line at each start and end
    with profile(use_cpu=True, profile_memory=True) as profiler:
        one_pass()
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return float(np.cumsum([0, *changes]).max()) / 2**20
