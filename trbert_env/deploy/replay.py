"""Reduced passes that are recorded once and replayed: a CUDA graph for each size of batch.

A small batch on a GPU is bound by the launches of kernels and by the host's waits for counts, so that skipping tokens
gains nothing. A graph is launched at once. Batches of about the same size share one: its room has a margin over what
batches kept so far, and a batch that keeps more runs eagerly, which is counted in :attr:`ReplayedSystem.overflows`.
Graphs hold memory, so that only those that were used last are kept.
On a CPU the same passes of fixed shapes run without a graph. All of their layers compute all tokens, the last one too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trbert_env.deploy.fixed_pass import FixedInputs, FixedResult, Room, run_fixed
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.attention import fits_varlen
from trbert_env.encoder.batching import padded_rows
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.system import OWN_BACKBONE, ReducedSystem, SystemOutput

#: Rows beyond the most that was kept so far, as a share of it.
MARGIN = 0.1
#: Passes that are kept by default: more than a thousand batches of a benchmark need.
MOST_RECORDED = 64
#: Steps of the longest sequence and text.
_LENGTH_STEP = 64
#: Least step between numbers of rows, of which each has a recorded pass.
_ROW_STEP = 64


@dataclass(frozen=True)
class _Recorded:
    """A pass of one room, ready to be run again.

    Attributes:
        inputs: Tensors that it reads.
        run: Runs it, on what the inputs hold.
    """

    inputs: FixedInputs
    run: Callable[[], FixedResult]


def replay_refusal(model: TokenReducedModel) -> str | None:
    """Return why passes of a model cannot be replayed, and what to do instead; None where they can be.

    Args:
        model: The model, on its device and in its number format.
    """
    if model.encoder.family.reads_positions:
        return (
            f"family '{model.backbone.config.model_type}' cannot be replayed (its layers read where tokens stood): "
            "run the model eagerly"
        )
    head_size = model.encoder.hidden_size // int(model.backbone.config.num_attention_heads)
    if model.device.type != "cpu" and not fits_varlen(model.device, model.backbone.dtype, head_size):
        return (
            f"heads of {head_size} in {model.backbone.dtype} cannot be replayed on a GPU, whose attention then "
            "needs the lengths on the host: give a model in bfloat16, with torch 2.11 or later"
        )
    return None


class ReplayedSystem:
    """A token-reduced model whose passes are replayed; a :class:`~trbert_env.system.System`, for inference alone.

    The model must not change any more: a graph reads its weights where they lie.

    Args:
        model: The model, in evaluation.
        decision: Decision rule to apply; None for the model's own.
        most_recorded: Passes that are kept, at least 1; beyond, the one that was used longest ago is given up.

    Raises:
        ValueError: Layers of the model's family read where tokens stood, it is on a GPU whose varlen kernel does not
            take its heads, or ``most_recorded`` is less than 1.

    Attributes:
        replays: Batches that were replayed.
        overflows: Batches that kept more tokens than there was room for, and ran eagerly then.
    """

    name = "reduced model, replayed"
    pads = False
    reference = OWN_BACKBONE

    def __init__(
        self, model: TokenReducedModel, decision: DecisionRule | None = None, most_recorded: int = MOST_RECORDED
    ) -> None:
        if most_recorded < 1:
            raise ValueError(f"most_recorded is {most_recorded}: give at least 1")
        if (refusal := replay_refusal(model)) is not None:
            raise ValueError(refusal)
        self.model, self.task, self.device = model, model.task, model.device
        self._rule = model.decision if decision is None else decision
        self._eager = ReducedSystem(model, self._rule)
        #: From the one used longest ago to the one used last.
        self._recorded: dict[Room, _Recorded] = {}
        self._most_recorded = most_recorded
        #: Most rows behind each reduction so far, as shares of the batch; None before the first batch.
        self._shares: list[float] | None = None
        self._pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None
        # One for all captures, for memory is shared by what one stream allocated; and a stream of this GPU: torch's own
        # for captures is that of the GPU that captured first.
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.replays, self.overflows = 0, 0

    @property
    def recorded(self) -> int:
        """Number of passes that are kept."""
        return len(self._recorded)

    @torch.inference_mode()
    def run(self, batch: TextBatch) -> SystemOutput:
        """Run a packed batch; see :class:`~trbert_env.system.System`."""
        if self._shares is None:
            return self._run_eagerly(batch)
        room = self._room(batch.layout)
        inputs = FixedInputs.of(batch, self.model.staged.overlap(batch), room)
        recorded = self._recorded_for(inputs, room)
        recorded.inputs.copy_(inputs)
        result = recorded.run()
        counts = result.counts.cpu()  # the one time that the host waits
        if any(total > rows for total, rows in zip(counts[:, -1].tolist(), room.rows[1:], strict=True)):
            self.overflows += 1
            return self._run_eagerly(batch)
        self.replays += 1
        return self._output(batch.layout, result, counts)

    def _run_eagerly(self, batch: TextBatch) -> SystemOutput:
        """Run as any other model does, and remember how many tokens stay."""
        output = self._eager.run(batch)
        full, *stages = (layout.total_tokens for layout in output.layouts)
        shares = [tokens / full for tokens in stages]
        self._shares = [max(pair) for pair in zip(shares, self._shares or shares, strict=True)]
        return output

    def _room(self, layout: Layout) -> Room:
        """Sizes for a batch: a few for all batches."""
        assert self._shares is not None
        rows = [padded_rows(layout.total_tokens, _ROW_STEP)]
        for share in self._shares:
            rows.append(min(rows[-1], padded_rows(math.ceil((1.0 + MARGIN) * share * rows[0]), _ROW_STEP)))
        sequences = len(layout.sequence_lengths)
        longest, width = (
            -(-int(lengths.max()) // _LENGTH_STEP) * _LENGTH_STEP
            for lengths in (layout.sequence_lengths, layout.token_counts)  # both on the host
        )
        return Room(tuple(rows), 1 << (sequences - 1).bit_length(), longest, width)

    def _recorded_for(self, inputs: FixedInputs, room: Room) -> _Recorded:
        """Return the pass of a room, which becomes the one used last."""
        recorded = self._recorded.pop(room, None)
        if recorded is None:
            recorded = self._record(inputs, room)
        self._recorded[room] = recorded
        if len(self._recorded) > self._most_recorded:  # after recording: a graph pool without a graph is no more
            del self._recorded[next(iter(self._recorded))]
        return recorded

    def _record(self, inputs: FixedInputs, room: Room) -> _Recorded:
        """Make a pass ready to be run again, on tensors of its own."""
        own = FixedInputs(*(getattr(inputs, name).clone() for name in FixedInputs.__dataclass_fields__))

        def eagerly() -> FixedResult:
            return run_fixed(self.model, own, room, self._rule)

        if self._stream is None:
            return _Recorded(own, eagerly)
        with torch.cuda.device(self.device):  # the current stream is that of the current GPU
            return self._captured(own, eagerly, self._stream)

    def _captured(self, own: FixedInputs, eagerly: Callable[[], FixedResult], stream: torch.cuda.Stream) -> _Recorded:
        """Capture a pass on the current GPU."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels are chosen and built before they are recorded
            for _ in range(2):
                eagerly()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # All graphs share their memory: what one leaves is read before the next one runs.
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            result = eagerly()

        def replay() -> FixedResult:
            graph.replay()
            return result

        return _Recorded(own, replay)

    def _output(self, layout: Layout, result: FixedResult, counts: Tensor) -> SystemOutput:
        """Read the logits of a pass, and say which tokens went on."""
        total, staged = layout.total_tokens, self.model.staged
        states, stops = result.states[:total], result.stops[:total]
        logits = self.task.logits(staged.model, states, layout) + staged.exit_offsets.shift(states, stops, layout)
        layouts = [layout, *_layouts_behind(layout, result.places, counts)]
        cost = replace(self.model.cost, first_tokens_only=False)  # passes of fixed shapes run whole layers
        return SystemOutput(logits, layouts, cost.reduced, cost.full)


def _layouts_behind(layout: Layout, places: Sequence[Tensor], counts: Tensor) -> list[Layout]:
    """Layouts of the tokens behind each reduction."""
    found = []
    for own, kept in zip(places, counts, strict=True):
        rows = own[: int(kept[-1])]
        found.append(
            Layout(
                layout.text_index.index_select(0, rows),
                layout.positions.index_select(0, rows),
                kept[: len(layout.sequence_lengths)],
                layout.sequences_per_text,
                layout.text_lengths,
            )
        )
    return found
