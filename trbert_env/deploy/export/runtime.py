"""One pass through the graphs of a model: numpy lays out, pads and selects tokens between them.

A graph takes padded sequences. One sequence runs without any padding; of several, those of about the same length run
together, and what is left of them after a reduction is grouped anew.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

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
        if isinstance(self.slots, slice) and self.slots.stop == shape[0] * shape[1]:
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


@dataclass(frozen=True)
class Widths:
    """The widths that a graph runs at.

    Attributes:
        step: Widths are multiples of it: a runtime that builds kernels for every new shape should see few. 1 for any.
        most: The largest width, a multiple or not.
    """

    step: int = 1
    most: int = sys.maxsize

    def of(self, lengths: Array) -> Array:
        """Return the width of each length."""
        widths: Array = np.minimum(-(-lengths // self.step) * self.step, self.most)
        return widths


def group_sequences(lengths: Array, widths: Widths = Widths(), call_tokens: int = CALL_TOKENS) -> list[Group]:
    """Divide sequences into groups, so that padding and calls together cost the least.

    Args:
        lengths: ``(num_sequences,)`` int64 tokens of each.
        widths: Widths that there are.
        call_tokens: Cost of a call, in tokens.

    Example:
        >>> [group.sequences.tolist() for group in group_sequences(np.array([100, 8, 98, 9]))]
        [[0, 2], [3, 1]]
    """
    if len(lengths) == 1:
        length = int(lengths[0])
        width = min(-(-length // widths.step) * widths.step, widths.most)
        # Views: nothing is copied where nothing is padded.
        return [Group(np.zeros(1, np.int64), width, slice(0, length), slice(0, length))]
    order = np.argsort(-lengths, kind="stable")
    starts = np.cumsum(lengths) - lengths
    padded = widths.of(lengths[order])
    cuts = _best_cuts(padded, call_tokens)
    return [_group(order[first:last], int(padded[first]), lengths, starts) for first, last in itertools.pairwise(cuts)]


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


def _group(sequences: Array, width: int, lengths: Array, starts: Array) -> Group:
    own = lengths[sequences]
    ends = np.cumsum(own)
    inside = np.arange(ends[-1])
    tokens = inside + np.repeat(starts[sequences] - (ends - own), own)
    slots = inside + np.repeat(np.arange(len(own)) * width - (ends - own), own)
    whole = slice(0, len(inside)) if len(inside) == len(own) * width else slots
    return Group(sequences, width, tokens, whole)


@dataclass(frozen=True)
class InPlay:
    """The tokens that run through a stage, as :class:`~trbert_env.encoder.packing.Layout` has them.

    Attributes:
        places: ``(total,)`` int64 places of the tokens in the full texts, laid end to end.
        layout: Their layout.
        lengths: ``(num_sequences,)`` int64 tokens of each sequence; never 0.
    """

    places: Array
    layout: Layout
    lengths: Array

    @classmethod
    def all_of(cls, layout: Layout) -> InPlay:
        """Return the places of every token of full texts."""
        return cls(np.arange(layout.total_tokens), layout, layout.sequence_lengths.numpy())

    @property
    def starts(self) -> Array:
        """``(num_sequences,)`` int64 places of first tokens among those in play."""
        return np.cumsum(self.lengths) - self.lengths

    def select(self, kept: Array) -> InPlay:
        """Return the tokens where a mask is True, first tokens among them; takes half as long as the layout's own."""
        lengths = np.add.reduceat(kept, self.starts, dtype=np.int64)
        old = self.layout
        layout = Layout(
            torch.from_numpy(old.text_index.numpy()[kept]),
            torch.from_numpy(old.positions.numpy()[kept]),
            torch.from_numpy(lengths),
            old.sequences_per_text,
            old.text_lengths,
        )
        return InPlay(self.places[kept], layout, lengths)


@dataclass(frozen=True)
class Pass:
    """Result of a pass through the graphs.

    Attributes:
        logits: The task's logits, float32, rows of texts end to end.
        layouts: The tokens of each of the T + 1 stages.
        keep_masks: The T packed masks that were applied.
        keep_logits: The T packed policy logits.
    """

    logits: Array
    layouts: list[Layout]
    keep_masks: list[Array]
    keep_logits: list[Array]


#: Turns logits of keeping into the packed mask of a reduction: logits, layout of the tokens in play, reduction.
Decide = Callable[[Array, Layout, int], Array]


@dataclass(frozen=True)
class StagedRuntime:
    """The graphs of a model, run one after the other.

    Attributes:
        graphs: T + 1 graphs; see :mod:`trbert_env.deploy.export.graphs`.
        num_logits: Logits of each token or sequence.
        reads: Input of the task head; see :attr:`trbert_env.tasks.base.Task.reads`.
        widths: Widths that the graphs run at.
    """

    graphs: Sequence[Graph]
    num_logits: int
    reads: str
    widths: Widths

    def run(self, batch: TextBatch, overlap: Array | None, decide: Decide) -> Pass:
        """Run a batch.

        Args:
            batch: Texts, on the CPU.
            overlap: ``(total_tokens, num_features)`` float32 lexical overlap; None where no graph reads it.
            decide: Function that chooses the tokens that go on; first tokens go on in any case.
        """
        full = tokens = InPlay.all_of(batch.layout)
        rows = len(full.places) if self.reads == "tokens" else len(full.lengths)
        found = Pass(np.zeros((rows, self.num_logits), np.float32), [full.layout], [], [])
        features = {"input_ids": batch.input_ids.numpy(), "token_type_ids": batch.token_type_ids.numpy()}
        if overlap is not None:
            features["overlap"] = overlap
        for reduction, graph in enumerate(self.graphs[:-1]):
            groups = group_sequences(tokens.lengths, self.widths)
            outputs = _run(graph, groups, features, {})
            keep_logits, logits = _packed(groups, outputs, "keep_logits"), _packed(groups, outputs, "logits")
            kept = decide(keep_logits, tokens.layout, reduction)
            kept[tokens.starts] = True
            if self.reads == "tokens":  # those of tokens that go on are overwritten later
                found.logits[tokens.places] = logits
            else:
                found.logits[:] += np.add.reduceat(logits * ~kept[:, None], tokens.starts) / full.lengths[:, None]
            features = {"overlap": overlap[kept]} if overlap is not None else {}
            overlap = features.get("overlap")
            features["states"] = _selected(groups, outputs, kept)
            tokens = tokens.select(kept)
            found.keep_logits.append(keep_logits.copy())  # the graph may write over its own
            found.keep_masks.append(kept)
            found.layouts.append(tokens.layout)
        groups = group_sequences(tokens.lengths, self.widths)
        if self.reads == "tokens":
            outputs = _run(self.graphs[-1], groups, features, {"skipped_share": _skipped_share(full, tokens)})
            found.logits[tokens.places] = _packed(groups, outputs, "logits")
            return found
        for group, output in zip(groups, _run(self.graphs[-1], groups, features, {}), strict=True):
            found.logits[group.sequences] += output["logits"]
        return found


def _skipped_share(full: InPlay, last: InPlay) -> Array:
    """``(num_sequences,)`` float32: the share of its text that was skipped before the last stage."""
    per_text = full.layout.sequences_per_text.numpy()
    firsts = np.cumsum(per_text) - per_text
    share = 1.0 - np.add.reduceat(last.lengths, firsts) / np.add.reduceat(full.lengths, firsts)
    return share.astype(np.float32).repeat(per_text)


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


def _packed(groups: Sequence[Group], outputs: Sequence[Mapping[str, Array]], name: str) -> Array:
    """Return an output of all tokens, without padding."""
    if len(groups) == 1 and isinstance(groups[0].tokens, slice):
        return groups[0].unpad(outputs[0][name])
    pieces = [group.unpad(output[name]) for group, output in zip(groups, outputs, strict=True)]
    packed = np.empty((sum(map(len, pieces)), *pieces[0].shape[1:]), np.float32)
    for group, piece in zip(groups, pieces, strict=True):
        packed[group.tokens] = piece
    return packed


def _selected(groups: Sequence[Group], outputs: Sequence[Mapping[str, Array]], kept: Array) -> Array:
    """Packed states of the tokens that go on, ``(kept, hidden)``: only these are copied."""
    padded = [output["last_states"] for output in outputs]
    if len(groups) == 1 and isinstance(groups[0].tokens, slice):
        return groups[0].unpad(padded[0])[kept]
    target = np.cumsum(kept) - 1
    selected = np.empty((int(target[-1]) + 1, padded[0].shape[-1]), np.float32)
    for group, states in zip(groups, padded, strict=True):
        slots = np.arange(states.shape[0] * states.shape[1])[group.slots]
        own = kept[group.tokens]
        selected[target[group.tokens][own]] = states.reshape(-1, states.shape[-1])[slots[own]]
    return selected
