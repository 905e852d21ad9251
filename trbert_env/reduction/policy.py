"""The policy network (eq. 2) and the ways to turn its logits into a decision. Nothing here learns."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from trbert_env.encoder.batching import by_rows
from trbert_env.encoder.kernels import is_recorded
from trbert_env.encoder.linear import apply_inner, apply_linear, apply_outer
from trbert_env.reduction.cost import policy_flops_per_token
from trbert_env.reduction.overlap import NUM_FEATURES

#: Four times the width of the released code's heads: it learns faster, for 1 % more FLOPs (RESULTS.md).
DEFAULT_POLICY_SIZE = 128
#: Logits between no overlap and the most, at the start.
PRIOR_SCALE = 3.0


class TokenPolicy(nn.Module):
    """pi(a_t | s_t) of eq. 2: every token for itself, one head a reduction.

    A head is LayerNorm (without parameters), Linear(d, h), GELU, Linear(h, 1). States of different
    depths differ in scale by far, so they are normalised first. With ``overlap``, s_t is the state and
    the token's lexical overlap: the first layer sees both, and a linear prior, learned from there on,
    starts as the ``overlap`` heuristic.

    Args:
        hidden_size: d, of the encoder.
        num_reductions: T.
        policy_size: h.
        initial_keep_probability: Initial keep probability of every token, for each head.
        overlap: True if it sees :func:`~trbert_env.reduction.overlap.lexical_overlap`; the paper's does not.

    Raises:
        ValueError: The probability is not strictly between 0 and 1.
    """

    def __init__(
        self,
        hidden_size: int,
        num_reductions: int,
        policy_size: int = DEFAULT_POLICY_SIZE,
        initial_keep_probability: float = 0.5,
        overlap: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 < initial_keep_probability < 1.0:
            raise ValueError(f"initial_keep_probability {initial_keep_probability} must lie strictly between 0 and 1")
        self.hidden_size = hidden_size
        self.policy_size = policy_size
        self.overlap = overlap
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden_size, elementwise_affine=False),
                nn.Linear(hidden_size, policy_size),
                nn.GELU(),
                nn.Linear(policy_size, 1),
            )
            for _ in range(num_reductions)
        )
        # Not by tensors: from_pretrained() builds models on the meta device, where they have no values.
        bias = math.log(initial_keep_probability / (1.0 - initial_keep_probability))
        for head in self.heads:
            output = head[-1]  # type: ignore[index]
            nn.init.normal_(output.weight, std=0.02)
            nn.init.constant_(output.bias, bias)
        self.priors = nn.ModuleList(
            nn.ModuleDict(
                {
                    "hidden": nn.Linear(NUM_FEATURES, policy_size, bias=False),
                    "logit": nn.Linear(NUM_FEATURES, 1, bias=False),
                }
            )
            for _ in range(num_reductions if overlap else 0)
        )
        for prior in self.priors:
            nn.init.zeros_(prior["logit"].weight)  # type: ignore[index]
            for column in (0, -1):
                nn.init.constant_(prior["logit"].weight[:, column], PRIOR_SCALE)  # type: ignore[index]

    @property
    def flops_per_token(self) -> int:
        """FLOPs of one head on one token; like biases, the few features of the overlap are not counted."""
        return policy_flops_per_token(self.hidden_size, self.policy_size)

    def forward(self, states: Tensor, reduction: int, overlap: Tensor | None = None) -> Tensor:
        """Logits of keeping, ``(num_tokens,)`` float32.

        Args:
            states: ``(num_tokens, hidden)``, of any float type.
            reduction: 0-based index of the reduction.
            overlap: ``(num_tokens, NUM_FEATURES)``; only heads with ``overlap`` look at it.

        Raises:
            ValueError: ``overlap`` is needed and missing.
        """
        if self.overlap and overlap is None:
            raise ValueError("this policy sees lexical overlap: hand infos['overlap'] of the tokens to it")
        head = cast(nn.Sequential, self.heads[reduction])
        norm, inner, activation, output = head
        dtype = _input_type(head)
        if not self.overlap or overlap is None or _says_nothing(overlap):
            return (
                by_rows(lambda rows: apply_linear(output, apply_inner(inner, activation, norm(rows))), states.to(dtype))
                .squeeze(-1)
                .float()
            )
        prior = cast(nn.ModuleDict, self.priors[reduction])

        def logits(rows: Tensor, features: Tensor) -> Tensor:
            hidden = apply_outer(inner, norm(rows), prior["hidden"](features))
            return cast(Tensor, apply_linear(output, activation(hidden)) + prior["logit"](features))

        return by_rows(logits, states.to(dtype), overlap.to(dtype)).squeeze(-1).float()

    @torch.no_grad()
    def rescale(self, reduction: int, shift: float, scale: float = 1.0) -> None:
        """Make a head's logits ``(logits - shift) / scale``: probabilities move, the ranking does not."""
        output = self.heads[reduction][-1]  # type: ignore[index]
        output.bias.sub_(shift).div_(scale)
        output.weight.div_(scale)
        if self.overlap:
            self.priors[reduction]["logit"].weight.div_(scale)  # type: ignore[index]


def _says_nothing(overlap: Tensor) -> bool:
    """Whether all features are 0, as those of single segments, so that the priors add nothing.

    Only where that is known at once, and no gradient is wanted: of the priors it would be 0, and not missing.
    """
    return overlap.device.type == "cpu" and not (torch.is_grad_enabled() or is_recorded() or bool(overlap.any()))


def _input_type(module: nn.Module) -> torch.dtype:
    """The float type that a module computes in; dynamically quantised layers have no weights, and take float32.

    By attributes, for the replicas of :class:`torch.nn.DataParallel` have no parameters.
    """
    weights = (getattr(layer, "weight", None) for layer in module.modules())
    return next((weight.dtype for weight in weights if isinstance(weight, Tensor)), torch.float32)
