"""How much of the final answer the states behind each layer tell already, and where that puts the cuts.

A linear map from the states behind a layer to those behind the last one is solved for by ridge regression, on training
texts; the task head reads what it gives (a logit lens with a learned translator: Belrose et al. 2023). The divergence
from the encoder's own answer then falls from layer to layer. On SQuAD 2.0 it falls at once at the layer that knows the
answer, and a cut before that layer costs several F1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from runners.cli.display import progress
from trbert_env.encoder.batching import pass_rows
from trbert_env.encoder.families import family_of
from trbert_env.encoder.packing import PackedTokens
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.staged_model import StagedModel

#: Training texts that the maps are fitted on: many tokens a text, or one first token a sequence.
FIT_TEXTS = {"tokens": 256, "first_tokens": 1024}
#: Further texts that the divergence is measured on.
MEASURED_TEXTS = 128
#: Ridge, relative to the mean square of a feature.
RIDGE = 1e-3
#: Share of the answer that the layer before the last cut must tell.
TOLD = 0.5


@dataclass(frozen=True)
class LayerProbe:
    """What the states behind each layer tell of the final answer.

    Attributes:
        divergences: Mean divergence from the encoder's own answer behind each layer, in nats; 0 at the last.
        prior: The same of an answer that knows nothing of the text.
    """

    divergences: tuple[float, ...]
    prior: float

    @property
    def told(self) -> tuple[float, ...]:
        """Share of the answer that each layer tells, 1 at the last; below 0 where it misleads."""
        return tuple(1.0 - divergence / self.prior for divergence in self.divergences)

    @property
    def reduction_layers(self) -> tuple[int, ...]:
        """Cuts before layer 2 and right behind the first layer that tells :data:`TOLD` of the answer.

        Example:
            >>> LayerProbe((2.8, 2.6, 2.3, 0.6, 0.1, 0.0), prior=2.9).reduction_layers
            (2, 5)
            >>> LayerProbe((0.1, 0.0), prior=2.9).reduction_layers
            (2,)
        """
        depth = len(self.divergences)
        telling = next((layer for layer, share in enumerate(self.told, start=1) if share >= TOLD), depth)
        return tuple(sorted({2, min(max(telling + 1, 3), depth)}))


def earliest_cuts(model: PreTrainedModel) -> tuple[float, ...]:
    """Return the cuts that give the greatest speed-ups: as many as measured ones, and none of those lies earlier.

    Args:
        model: The encoder, with or without a task head.

    Raises:
        ValueError: It has a single layer.
    """
    depth = StagedEncoder(model).num_layers
    return tuple(layer - 0.5 for layer in range(2, min(3, depth) + 1))


def planned_cuts(layers: tuple[float, ...] | None, model: PreTrainedModel) -> tuple[float, ...]:
    """Return cuts to reckon with before any are found.

    Args:
        layers: Cuts that were asked for; None where they are still to be found.
        model: The encoder, with or without a task head.

    Raises:
        ValueError: They are to be found, and the encoder has a single layer.
    """
    return layers or earliest_cuts(model)


def measured_cuts(probe: LayerProbe, config: PreTrainedConfig) -> tuple[int, ...]:
    """Return the cuts that a probe speaks for, moved to where the family's layers see the whole text.

    Args:
        probe: Measured information of each layer of the encoder.
        config: Its configuration.
    """
    return family_of(config).cuts(config, probe.reduction_layers)


@torch.no_grad()
def probe_layers(staged: StagedModel, texts: Sequence[EncodedText]) -> LayerProbe:
    """Measure what each layer tells.

    Args:
        staged: The unreduced model.
        texts: Training texts in random order; the first :data:`FIT_TEXTS` and :data:`MEASURED_TEXTS` are used, or two
            thirds and a third where there are fewer.

    Raises:
        ValueError: There are fewer than three texts.
    """
    if len(texts) < 3:
        raise ValueError(f"{len(texts)} texts cannot tell where the cuts go: give more, or name --reduction-layers")
    wanted = FIT_TEXTS["first_tokens" if staged.reads_first_tokens else "tokens"]
    fitted = min(wanted, 2 * len(texts) // 3)
    fit, measured = texts[:fitted], texts[fitted : fitted + MEASURED_TEXTS]
    size = pass_rows(staged.device)
    with progress("what each layer tells", len(fit) + len(measured)) as bar:
        sums = [_Regression(staged.encoder.hidden_size) for _ in range(staged.encoder.num_layers)]
        for first in range(0, len(fit), size):
            batch = TextBatch.from_texts(fit[first : first + size], staged.device)
            states = _read_states(staged, batch)
            for regression, of_layer in zip(sums, states, strict=True):
                regression.add(of_layer, states[-1])
            bar.update(batch.layout.num_texts)
        maps = [*(regression.solve() for regression in sums), sums[-1].nothing()]
        totals = torch.zeros(len(maps), dtype=torch.float64)
        for first in range(0, len(measured), size):
            texts = measured[first : first + size]
            totals += _divergences(staged, texts, maps)
            bar.update(len(texts))
    *divergences, prior = (totals / len(measured)).tolist()
    return LayerProbe(tuple(divergences), max(prior, 1e-9))


class _Regression:
    """Sums of a ridge regression with an intercept, in float64."""

    def __init__(self, size: int) -> None:
        self._squares = torch.zeros(size + 1, size + 1, dtype=torch.float64)
        self._products = torch.zeros(size + 1, size, dtype=torch.float64)

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Take in ``(rows, size)`` inputs and outputs."""
        wide = _with_one(inputs).double().cpu()
        self._squares += wide.T @ wide
        self._products += wide.T @ outputs.double().cpu()

    def solve(self) -> Tensor:
        """The map, ``(size + 1, size)`` float32."""
        ridge = RIDGE * self._squares.diagonal().mean()
        ridged = self._squares + ridge * torch.eye(len(self._squares), dtype=torch.float64)
        solved: Tensor = torch.linalg.solve(ridged, self._products)
        return solved.float()

    def nothing(self) -> Tensor:
        """The map that gives the mean output whatever comes in, ``(size + 1, size)`` float32."""
        found = torch.zeros_like(self._products)
        found[-1] = self._products[-1] / self._squares[-1, -1]
        return found.float()


def _with_one(states: Tensor) -> Tensor:
    return torch.cat([states, states.new_ones(len(states), 1)], 1)


def _read_states(staged: StagedModel, batch: TextBatch) -> list[Tensor]:
    """What the task head would read behind each layer: ``(rows, hidden)`` each."""
    tokens: PackedTokens = staged.encoder.embed(batch)
    found = []
    for layer in range(staged.encoder.num_layers):
        tokens = staged.encoder.run_layers(tokens, layer, layer + 1)
        found.append(tokens.states)
    if not staged.reads_first_tokens:
        return found
    first = batch.layout.sequence_starts.to(staged.device)
    return [states.index_select(0, first) for states in found]


def _divergences(staged: StagedModel, texts: Sequence[EncodedText], maps: Sequence[Tensor]) -> Tensor:
    """``(layers + 1,)`` float64 sums over the texts: behind each layer, and of an answer that knows nothing."""
    batch = TextBatch.from_texts(texts, staged.device)
    task, layout, targets = staged.task, batch.layout, staged.task.targets(texts)
    states = _read_states(staged, batch)
    # The head picks first tokens by the layout; where they are all that is left, each sequence is one token long.
    read = layout.select(layout.first_tokens) if staged.reads_first_tokens else layout
    finish = staged.encoder.finish
    answer = task.logits(staged.model, finish(states[-1]), read)
    found = []
    for of_layer, mapping in zip([*states, states[-1]], maps, strict=True):
        mapped = _with_one(of_layer) @ mapping.to(of_layer.device)
        logits = task.logits(staged.model, finish(mapped), read)
        found.append(task.divergence(logits, answer, layout, targets).double().sum().cpu())
    return torch.stack(found)
