"""A token-reduced model as T + 1 graphs on padded sequences, and these as ONNX files.

Graph t runs the layers of stage t by the stock layers' own attention with a padding mask. What decides about a token,
and what is read off it if it stops there, is in the graph too, so that all weights of a model lie in its graphs:

===================  =======================  ============================================================
name                 shape                    meaning
===================  =======================  ============================================================
``input_ids``        (sequences, width)       int64; of the first graph
``token_type_ids``   (sequences, width)       int64; of the first graph, where the family has segments
``states``           (sequences, width, d)    float32; of all but the first graph
``attention_mask``   (sequences, width)       float32, 1 for tokens and 0 for padding
``overlap``          (sequences, width, F)    float32 lexical overlap; where the policy sees it
``skipped_share``    (sequences,)             float32 share of its text that was skipped; of the last graph,
                                              where the head reads every token
``last_states``      (sequences, width, d)    out, of all but the last: states behind the stage's layers
``keep_logits``      (sequences, width)       out, of all but the last: logits of keeping each token
``logits``           (sequences, width, k)    out: the task's logits of tokens, as they are if these stop
                                              here; where the head reads first tokens, what a sequence of n
                                              tokens has one n-th of added for each that stops here, and, of
                                              the last graph, the task's logits, (sequences, k)
===================  =======================  ============================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.overlap import NUM_FEATURES

#: Version of the ONNX operators; both runtimes read it.
OPSET = 17
#: Sequences and width of the inputs that a graph is traced with; both are free in the graph.
_TRACED = (2, 6)
#: Added to the scores of padding: enough for a probability of 0. OpenVINO's kernels of bfloat16 give other answers, of
#: texts without padding too, where it is as great as 1e30; the least float32 would be infinite there.
_MASKED = -1e4


@dataclass(frozen=True)
class Stage:
    """Part of a model that a graph computes.

    Attributes:
        first: Layers that have run before it; 0.5 more where the attention of the next has, too.
        last: Layers that have run behind it.
        reduction: 0-based reduction that comes behind the layers; None where the task head does.
        num_reductions: T of the model as it is exported; 0 where nothing is skipped.
    """

    first: float
    last: float
    reduction: int | None
    num_reductions: int


def stages_of(model: TokenReducedModel, unreduced: bool = False) -> list[Stage]:
    """Return the stages of a model.

    Args:
        model: Model.
        unreduced: True for one stage of all layers, with nothing skipped.
    """
    if unreduced:
        return [Stage(0, model.encoder.num_layers, None, 0)]
    bounds, count = model.encoder.stage_bounds, model.encoder.num_reductions
    return [Stage(*bound, number if number < count else None, count) for number, bound in enumerate(bounds)]


class StageGraph(nn.Module):
    """One stage of a model on padded sequences; see the table of this module.

    Args:
        model: Model, whose weights are used as they are.
        stage: Stage of it.
    """

    def __init__(self, model: TokenReducedModel, stage: Stage) -> None:
        super().__init__()
        self.stage, self.task, self.encoder = stage, model.task, model.encoder
        self.backbone, self.policy, self.exit_offsets = model.backbone, model.policy, model.calibration

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of :meth:`forward`."""
        stage = self.stage
        names = ["input_ids", "token_type_ids"] if stage.first == 0 else ["states"]
        names.append("attention_mask")
        if stage.reduction is not None and self.policy.overlap:
            names.append("overlap")
        if stage.reduction is None and stage.num_reductions and self.task.reads == "tokens":
            names.append("skipped_share")
        return tuple(names)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of :meth:`forward`."""
        if self.stage.reduction is None:
            return ("logits",)
        return ("last_states", "keep_logits", "logits")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the stage; inputs and outputs are in the order of :attr:`inputs` and :attr:`outputs`."""
        given = dict(zip(self.inputs, inputs, strict=True))
        mask, stage = given["attention_mask"], self.stage
        states = given["states"] if "states" in given else self._embed(given["input_ids"], given["token_type_ids"])
        bias = (1.0 - mask[:, None, None, :]) * _MASKED
        states = self.encoder.run_padded(states, bias, stage.first, stage.last)
        if stage.reduction is None:
            return (self._last_logits(states, given.get("skipped_share")),)
        logits = self.exit_offsets.of_stopped(states, stage.reduction)
        if self.task.reads == "tokens":
            # Heads that read every token do so alike in any shape; a change of shape would cost the runtimes time.
            logits = logits + self.task.logits(self.backbone, states, _layout_of(states))
        return states, self.policy(states, stage.reduction, given.get("overlap")), logits

    def _embed(self, input_ids: Tensor, token_type_ids: Tensor) -> Tensor:
        """``(sequences, width, hidden)``."""
        layout = _layout_of(input_ids)
        batch = TextBatch(input_ids.flatten(), token_type_ids.flatten(), layout.positions, layout)
        return self.encoder.embed(batch).states.view(*input_ids.shape, -1)

    def _last_logits(self, states: Tensor, skipped_share: Tensor | None) -> Tensor:
        """The task's logits of what ran to the end."""
        if self.task.reads != "tokens":
            return self.task.logits(self.backbone, states.flatten(0, 1), _layout_of(states))
        logits = self.task.logits(self.backbone, states, _layout_of(states))
        if skipped_share is None:
            return logits
        first = (torch.arange(states.shape[1], device=states.device) == 0)[None, :, None]
        return logits + first * skipped_share[:, None, None] * self.exit_offsets.offsets[-1].float()


def _layout_of(padded: Tensor) -> Layout:
    """Return the layout of ``(sequences, width, ...)``, padding and all; its sizes are free in a traced graph."""
    count, width = padded.shape[:2]
    one = torch.ones(count, dtype=torch.int64, device=padded.device)
    text_index = torch.arange(count, device=padded.device)[:, None].expand(count, width).flatten()
    positions = torch.arange(width, device=padded.device)[None].expand(count, width).flatten()
    return Layout(text_index, positions, one * width, one, one * width)


def write_onnx(graph: StageGraph, path: Path) -> None:
    """Write a stage as an ONNX file of float32, free in the number of sequences and in the width.

    Args:
        graph: Stage.
        path: File to write.
    """
    axes = {name: {0: "sequences", 1: "width"} for name in (*graph.inputs, *graph.outputs)}
    axes["skipped_share"] = {0: "sequences"}
    if graph.stage.reduction is None and graph.task.reads != "tokens":
        axes["logits"] = {0: "sequences"}
    named = (*graph.inputs, *graph.outputs)
    was_training = graph.training
    graph.eval()
    with warnings.catch_warnings(), torch.no_grad():
        # Of tracing: shapes are checked by Python once, and the exporter is the older one of torch's two.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            tuple(_example(graph, name) for name in graph.inputs),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: axes[name] for name in named},
            opset_version=OPSET,
            # torch.export takes ten times as long, and pulls the number of sequences into its guards.
            dynamo=False,
        )
    graph.train(was_training)


def _example(graph: StageGraph, name: str) -> Tensor:
    """An input to trace with."""
    shapes: dict[str, Sequence[int]] = {
        "states": (*_TRACED, graph.encoder.hidden_size),
        "overlap": (*_TRACED, NUM_FEATURES),
        "skipped_share": _TRACED[:1],
    }
    if name in ("input_ids", "token_type_ids"):
        return torch.zeros(_TRACED, dtype=torch.int64)
    return torch.ones(tuple(shapes.get(name, _TRACED)))
