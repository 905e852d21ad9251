"""One pass through the graphs of a model: numpy lays out, pads and selects tokens between them.

A graph takes padded sequences. One sequence runs without any padding; of several, those of about the same length run
together, and what is left of them after a reduction is grouped anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trbert_env.deploy.export.backends import Graph
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch

Array = npt.NDArray[Any]
#: What a further call of a graph costs, in tokens: so much padding is suffered to save one.
CALL_TOKENS = 24


@dataclass(frozen=True)
class Group:
    """Sequences that run together.

    Attributes:
        sequences: ``(count,)`` int64 places of the sequences in the batch.
        width: Tokens that they are padded to.
        tokens: Packed places of their tokens, end to end; a slice where they lie side by side.
        slots: Places of these tokens in the padded array, once that is flat.
    """

    sequences: Array
    width: int
    tokens: Array | slice
    slots: Array | slice

    def pad(self, packed: Array) -> Array:
        """Return ``(count, width, ...)`` of packed values; 0 on padding."""
        shape = (len(self.sequences), self.width, *packed.shape[1:])
        if isinstance(self.slots, slice):
            return packed[self.tokens].reshape(shape)
        padded = np.zeros((shape[0] * shape[1], *packed.shape[1:]), packed.dtype)
        padded[self.slots] = packed[self.tokens]
        return padded.reshape(shape)

    def unpad(self, padded: Array) -> Array:
        """Return the values of the tokens, in the order of :attr:`tokens`."""
        return padded.reshape(-1, *padded.shape[2:])[self.slots]

    @property
    def mask(self) -> Array:
        """``(count, width)`` float32, 1 for tokens."""
        mask = np.zeros(len(self.sequences) * self.width, np.float32)
        mask[self.slots] = 1.0
        return mask.reshape(-1, self.width)


def group_sequences(lengths: Array, call_tokens: int = CALL_TOKENS) -> list[Group]:
    """Divide sequences into groups, so that padding and calls together cost the least.

    Args:
        lengths: ``(num_sequences,)`` int64 tokens of each.
        call_tokens: Cost of a call, in tokens.

    Example:
        >>> [group.sequences.tolist() for group in group_sequences(np.array([100, 8, 98, 9]))]
        [[0, 2], [3, 1]]
    """
    ends = np.cumsum(lengths)
    if len(lengths) == 1:
        whole = slice(0, int(ends[0]))
        return [Group(np.zeros(1, np.int64), int(lengths[0]), whole, slice(0, int(lengths[0])))]
    order = np.argsort(-lengths, kind="stable")
    starts = ends - lengths
    cuts = _best_cuts(lengths[order], call_tokens)
    return [_group(order[first:last], lengths, starts) for first, last in itertools.pairwise(cuts)]


def _best_cuts(falling: Array, call_tokens: int) -> list[int]:
    """Where to cut falling lengths, both ends included: every group is as wide as its first."""
    count = len(falling)
    best, before = np.full(count + 1, np.inf), np.zeros(count + 1, np.int64)
    best[0] = 0.0
    for last in range(1, count + 1):
        costs = best[:last] + falling[:last] * (last - np.arange(last)) + call_tokens
        before[last] = costs.argmin()
        best[last] = costs[before[last]]
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(before[cuts[-1]]))
    return cuts[::-1]


def _group(sequences: Array, lengths: Array, starts: Array) -> Group:
    own = lengths[sequences]
    width = int(own[0])
    ends = np.cumsum(own)
    inside = np.arange(ends[-1])
    tokens = inside + np.repeat(starts[sequences] - (ends - own), own)
    slots = inside + np.repeat(np.arange(len(own)) * width - (ends - own), own)
    whole = slice(0, len(inside)) if len(inside) == len(own) * width else slots
    return Group(sequences, width, tokens, whole)


@dataclass(frozen=True)
class Pass:
    """What a pass through the graphs gives.

    Attributes:
        logits: The task's logits, float32, rows of texts end to end.
        layouts: The tokens of each of the T + 1 stages.
        keep_masks: The T packed masks that were applied.
        keep_logits: The T packed policy logits.
    """

    logits: Tensor
    layouts: list[Layout]
    keep_masks: list[Tensor]
    keep_logits: list[Tensor]


#: Turns logits of keeping into the packed mask of a reduction: logits, layout of the tokens in play, reduction.
Decide = Callable[[Tensor, Layout, int], Tensor]


@dataclass(frozen=True)
class StagedRuntime:
    """The graphs of a model, run one after the other.

    Attributes:
        graphs: T + 1 graphs; see :mod:`trbert_env.deploy.export.graphs`.
        num_logits: Logits of each token or sequence.
        reads: Input of the task head; see :attr:`trbert_env.tasks.base.Task.reads`.
    """

    graphs: Sequence[Graph]
    num_logits: int
    reads: str

    def run(self, batch: TextBatch, overlap: Tensor | None, decide: Decide) -> Pass:
        """Run a batch.

        Args:
            batch: Texts, on the CPU.
            overlap: ``(total_tokens, num_features)`` float32 lexical overlap; None where no graph reads it.
            decide: Function that chooses the tokens that go on; first tokens go on in any case.
        """
        layout = batch.layout
        rows = layout.total_tokens if self.reads == "tokens" else len(layout.sequence_lengths)
        found = Pass(torch.empty(rows, self.num_logits), [layout], [], [])
        logits = found.logits.numpy()
        features = {"input_ids": batch.input_ids.numpy(), "token_type_ids": batch.token_type_ids.numpy()}
        if overlap is not None:
            features["overlap"] = overlap.numpy()
        place = np.arange(layout.total_tokens)
        for reduction, graph in enumerate(self.graphs[:-1]):
            groups = group_sequences(layout.sequence_lengths.numpy())
            outputs = _run(graph, groups, features, {})
            keep_logits = np.empty(len(place), np.float32)
            for group, output in zip(groups, outputs, strict=True):
                keep_logits[group.tokens] = group.unpad(output["keep_logits"])
                if self.reads == "tokens":  # those of tokens that go on are overwritten later
                    logits[place[group.tokens]] = group.unpad(output["logits"])
            found.keep_logits.append(torch.from_numpy(keep_logits))
            mask = decide(found.keep_logits[-1], layout, reduction) | layout.first_tokens
            kept = mask.numpy()
            features = {name: values[kept] for name, values in features.items() if name == "overlap"}
            features["states"] = _selected(groups, [output["last_states"] for output in outputs], kept)
            place, layout = place[kept], layout.select(mask)
            found.keep_masks.append(mask)
            found.layouts.append(layout)
        groups = group_sequences(layout.sequence_lengths.numpy())
        for group, output in zip(groups, self._last(groups, features, found.layouts), strict=True):
            if self.reads == "tokens":
                logits[place[group.tokens]] = group.unpad(output["logits"])
            else:
                logits[group.sequences] = output["logits"]
        return found

    def _last(
        self, groups: Sequence[Group], features: Mapping[str, Array], layouts: Sequence[Layout]
    ) -> list[Mapping[str, Array]]:
        """Outputs of the last graph."""
        full = layouts[0]
        skipped = 1.0 - layouts[-1].token_counts / full.token_counts
        share = skipped.float().repeat_interleave(full.sequences_per_text).numpy()
        return _run(self.graphs[-1], groups, features, {"skipped_share": share})


def _run(
    graph: Graph, groups: Sequence[Group], features: Mapping[str, Array], of_sequences: Mapping[str, Array]
) -> list[Mapping[str, Array]]:
    """Outputs of a graph for each group, padded."""
    found: list[Mapping[str, Array]] = []
    for group in groups:
        inputs = {name: group.pad(values) for name, values in features.items()}
        inputs |= {name: values[group.sequences] for name, values in of_sequences.items()}
        outputs = graph(inputs | {"attention_mask": group.mask})
        # The next call of the graph may change them.
        found.append({name: values.copy() for name, values in outputs.items()} if len(groups) > 1 else outputs)
    return found


def _selected(groups: Sequence[Group], padded: Sequence[Array], kept: Array) -> Array:
    """Packed states of the tokens that go on, ``(kept, hidden)``."""
    if len(groups) == 1 and isinstance(groups[0].tokens, slice):
        return groups[0].unpad(padded[0])[kept]
    target = np.cumsum(kept) - 1
    selected = np.empty((int(target[-1]) + 1, padded[0].shape[-1]), padded[0].dtype)
    for group, states in zip(groups, padded, strict=True):
        slots = np.arange(states.shape[0] * states.shape[1])[group.slots]
        own = kept[group.tokens]
        selected[target[group.tokens][own]] = states.reshape(-1, states.shape[-1])[slots[own]]
    return selected
