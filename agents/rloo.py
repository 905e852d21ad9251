"""RLOO: REINFORCE whose baseline leaves the sample itself out (Kool et al. 2019; Ahmadian et al. 2024)."""

from __future__ import annotations

from torch import Tensor

from agents.reinforce import ReturnGradient


class Rloo(ReturnGradient):
    """REINFORCE with the mean of the *other* samples of a text as the baseline.

    The mean of all samples shrinks the gradient by (K - 1) / K; this one is unbiased.
    """

    def advantages(self, returns: Tensor, samples: int) -> Tensor:
        """``(rows,)``: each return less the mean of the others of its text.

        Raises:
            ValueError: There is one sample a text, so no other to compare it with.
        """
        if samples < 2:
            raise ValueError(f"RLOO compares samples of a text, and there is {samples}: raise --samples-per-text")
        grouped = returns.view(-1, samples)
        others = (grouped.sum(1, keepdim=True) - grouped) / (samples - 1)
        return (grouped - others).flatten()
