"""System: what evaluation and benchmarks measure, texts in, logits and FLOPs out.

========================  =============================================================================
:class:`ReducedSystem`    a token-reduced model, by its own decision rule or a given one
:class:`UnreducedSystem`  our packed encoder with nothing skipped: keep-all
:class:`StockSystem`      stock transformers with SDPA, on padded batches
========================  =============================================================================

A compared system (DistilBERT, PoWER-BERT, ...) implements :class:`System` and is then measured by the same functions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trbert_env.deploy.export.model import ExportedModel
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.families import family_of
from trbert_env.encoder.linear import use_faster_linear
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.decision import DecisionRule
from trbert_env.staged_model import StagedModel
from trbert_env.tasks.base import Task


@dataclass(frozen=True)
class SystemOutput:
    """Logits of a batch, and the FLOPs of each text.

    FLOPs are counted when they are asked for, so that the clock does not measure the counting.

    Attributes:
        logits: Float32 logits as the task gives them, rows of texts end to end.
        layouts: Tokens in play of each stage; the first is the full texts, alone where nothing is skipped.
        count: Function of ``layouts`` that gives the FLOPs of the pass, ``(num_texts,)`` float64.
        count_full: Function of the full layout that gives the FLOPs of the system's reference, of the same shape.
    """

    logits: Tensor
    layouts: Sequence[Layout]
    count: Callable[[Sequence[Layout]], Tensor]
    count_full: Callable[[Layout], Tensor]

    @cached_property
    def flops(self) -> Tensor:
        """``(num_texts,)`` float64 FLOPs of the pass."""
        return self.count(self.layouts)

    @cached_property
    def full_flops(self) -> Tensor:
        """``(num_texts,)`` float64 FLOPs of the reference on the same texts; see :attr:`System.reference`."""
        return self.count_full(self.layouts[0])

    @property
    def kept_tokens(self) -> Tensor:
        """``(num_texts, T)`` int64 tokens kept at each reduction; T is 0 where nothing is skipped."""
        if len(self.layouts) == 1:
            return torch.zeros(self.layouts[0].num_texts, 0, dtype=torch.int64)
        return torch.stack([layout.token_counts for layout in self.layouts[1:]], 1)


class System(Protocol):
    """What answers texts, and says what that costs."""

    @property
    def name(self) -> str:
        """Name in tables and progress bars."""

    @property
    def reference(self) -> str:
        """Name of the encoder that ``full_flops`` counts: FLOPs speed-ups are against it."""

    @property
    def pads(self) -> bool:
        """True where batches are padded: texts of about the same length then run together."""

    @property
    def task(self) -> Task:
        """Task whose logits it gives."""

    @property
    def device(self) -> torch.device:
        """Device that batches must be on."""

    def run(self, batch: TextBatch) -> SystemOutput:
        """Run a packed batch.

        Args:
            batch: Texts on :attr:`device`.
        """


#: The reference of systems that are compared with their own encoder, all of its layers on all tokens, as stock runs it.
OWN_BACKBONE = "its own backbone, unreduced"


@dataclass(frozen=True)
class ReducedSystem:
    """A token-reduced model.

    Attributes:
        model: Model that is measured, or its export; left as it is.
        decision: Decision rule to apply; None for the model's own.
        name: Name in tables and progress bars.
    """

    model: TokenReducedModel | ExportedModel
    decision: DecisionRule | None = None
    name: str = "reduced model"

    pads: ClassVar[bool] = False
    reference: ClassVar[str] = OWN_BACKBONE

    @property
    def task(self) -> Task:
        """Task of the model."""
        return self.model.task

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    def run(self, batch: TextBatch) -> SystemOutput:
        """Run the reduced pass, whose policy is counted too; see :class:`System`."""
        output = self.model.forward_packed(batch, decision=self.decision)
        cost = self.model.cost
        return SystemOutput(output.logits, output.layouts, cost.reduced, cost.full)


@dataclass(frozen=True)
class UnreducedSystem:
    """The packed encoder with nothing skipped: keep-all.

    Attributes:
        staged: Model that is measured.
        name: Name in tables and progress bars.
    """

    staged: StagedModel
    name: str = "unreduced backbone"

    pads: ClassVar[bool] = False
    reference: ClassVar[str] = OWN_BACKBONE

    @property
    def task(self) -> Task:
        """Task of the model."""
        return self.staged.task

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.staged.device

    def run(self, batch: TextBatch) -> SystemOutput:
        """Run all layers with nothing skipped; see :class:`System`."""
        cost = self.staged.cost
        return SystemOutput(self.staged(batch), [batch.layout], lambda layouts: cost.keep_all(layouts[0]), cost.full)


class StockSystem:
    """Stock transformers with SDPA, on batches padded on the right: the model as people run it.

    Args:
        model: Task model; a copy of it is run, which knows nothing of packing.
        task: Its task.
        width: Tokens that sequences are padded to; None for the longest of the batch.
        faster_linear: True for the linear layers of our encoder: what is left of a speed-up is then not theirs.
    """

    name = "stock transformers"
    pads = True
    reference = OWN_BACKBONE

    def __init__(
        self, model: PreTrainedModel, task: Task, width: int | None = None, faster_linear: bool = False
    ) -> None:
        self.task, self.width = task, width
        self._cost = CostModel.of(StagedEncoder(model))
        #: Copy that is run.
        self.model: PreTrainedModel = copy.deepcopy(model)
        self.model.eval()
        if faster_linear:
            use_faster_linear(self.model)
        self._family = family_of(model.config)
        if self._family.attention_interface:
            cast(PreTrainedModel, self.model.base_model).set_attn_implementation("sdpa")

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    def run(self, batch: TextBatch) -> SystemOutput:
        """Run the padded batch; FLOPs are those of its tokens, without the padding. See :class:`System`."""
        logits = self.task.stock_logits(self.outputs(batch), batch.layout).float()
        return SystemOutput(logits, [batch.layout], lambda layouts: self._cost.full(layouts[0]), self._cost.full)

    def outputs(self, batch: TextBatch) -> Any:
        """Run a batch and return what the stock model returns for its padded sequences."""
        inputs = self._padded(batch)
        if not self._family.reads_token_types:
            del inputs["token_type_ids"]
        with torch.inference_mode():
            return self.model(**self.task.stock_inputs(inputs))

    def _padded(self, batch: TextBatch) -> dict[str, Tensor]:
        """Sequences of the batch, ``(num_sequences, width)`` each."""
        lengths = batch.layout.sequence_lengths
        width = int(lengths.max()) if self.width is None else self.width
        place = torch.repeat_interleave(lengths).to(batch.input_ids.device), batch.sequence_positions

        def padded(values: Tensor) -> Tensor:
            return values.new_zeros(len(lengths), width).index_put(place, values)

        return {
            "input_ids": padded(batch.input_ids),
            "attention_mask": padded(torch.ones_like(batch.input_ids)),
            "token_type_ids": padded(batch.token_type_ids),
        }
