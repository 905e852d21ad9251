"""ExportedModel: an exported model, used like the one that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from trbert_env.data.weights import check_files
from trbert_env.deploy.answering import AnswersQuestions
from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.deploy.export.backends import Graph, backend_of, check_precision
from trbert_env.deploy.export.manifest import NORMS, Manifest, export_folder
from trbert_env.deploy.export.runtime import StagedRuntime, Widths
from trbert_env.deploy.inputs import PaddedInputs, refuse
from trbert_env.deploy.model import PackedOutput, decide
from trbert_env.deploy.raw_texts import TokenizerPlace
from trbert_env.deploy.scoring import ScoresTexts
from trbert_env.deploy.trade_off import TradeOff
from trbert_env.encoder.families import family_of
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.cost import CostModel
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.overlap import lexical_overlap


class ExportedModel(TradeOff, AnswersQuestions, ScoresTexts):
    """A model as graphs of another runtime, on the CPU, for inference.

    Its threshold, keep fractions or speed-up can be set as those of the model; they are not saved.

    Args:
        config: Configuration of the model.
        folder: Folder of the model, where its tokenizer lies.
        manifest: Record of the export.
        graphs: Graphs of its stages.
        norms: ``(vocabulary,)`` float32 norms of the word embeddings; None where the policy sees no overlap.

    Example:
        >>> model = ExportedModel.from_pretrained("runs/SQuAD2/.../model", "openvino", "int8")  # doctest: +SKIP
        >>> outputs = model(**tokenizer(question, context, return_tensors="pt"))  # doctest: +SKIP
    """

    device = torch.device("cpu")

    def __init__(
        self,
        config: TokenReducedConfig,
        folder: Path,
        manifest: Manifest,
        graphs: Sequence[Graph],
        norms: npt.NDArray[np.float32] | None,
    ) -> None:
        widths = Widths(backend_of(manifest.backend).WIDTH_STEP, manifest.longest_sequence)
        self.config, self.manifest, self.task = config, manifest, config.make_task()
        self.name_or_path = str(folder)
        # Absolute, for the working folder may change before it is asked for.
        self.tokenizer_place = TokenizerPlace(str(folder.absolute()))
        self._runtime = StagedRuntime(graphs, self.task.num_logits, self.task.reads, widths)
        self._norms = None if norms is None else torch.from_numpy(norms)
        backbone = config.backbone_config()
        self._known = int(backbone.vocab_size), family_of(backbone).token_types(backbone)

    def __repr__(self) -> str:
        """Name backend and number format."""
        of = self.manifest
        return f"ExportedModel({of.backend}, {of.precision}{', unreduced' if of.unreduced else ''})"

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, backend: str, precision: str = "float32", *, unreduced: bool = False
    ) -> ExportedModel:
        """Load what :func:`~trbert_env.deploy.export.export.export_model` wrote.

        Threads to compute with are as many as torch has at this time; see ``torch.set_num_threads``.

        Args:
            folder: Folder of the model that was exported.
            backend: ``"onnx"`` or ``"openvino"``.
            precision: Number format.
            unreduced: True for the export with nothing skipped.

        Raises:
            FileNotFoundError: There is no model, or no such export of it.
            ValueError: The backend is unknown or not installed, it does not have the number format, or the model has
                changed since it was exported.
        """
        source = Path(folder)
        if not source.is_dir():
            raise FileNotFoundError(f"{folder} is no folder: an export lies in the folder of its model, so give that")
        check_files(source, f"token-reduced model '{source}'")
        runtime, found = backend_of(backend), check_precision(backend, precision)
        exported = export_folder(source, backend, precision, unreduced)
        manifest = Manifest.read(exported)
        manifest.check_model(exported, source)
        threads = torch.get_num_threads()
        graphs = [runtime.load(exported / name, found, threads) for name in manifest.graphs]
        config = TokenReducedConfig.from_pretrained(source)
        norms = np.load(exported / NORMS, allow_pickle=False) if manifest.sees_overlap else None
        return cls(config, source, manifest, graphs, norms)

    @property
    def name(self) -> str:
        """Name in tables."""
        kind = "unreduced" if self.manifest.unreduced else "reduced"
        return f"{kind}, {self.manifest.backend} {self.manifest.precision}"

    @property
    def cost(self) -> CostModel:
        """Cost of its passes, the policy included."""
        return self.manifest.cost

    @property
    def num_reductions(self) -> int:
        """Number of reductions: one before each graph but the first; 0 where nothing is skipped."""
        return len(self.manifest.graphs) - 1

    def set_decision(self, decision: DecisionRule) -> None:
        """Decide by another rule from now on.

        Raises:
            ValueError: Its keep fractions are not one for each reduction, falling within (0, 1], or nothing is skipped.
        """
        if self.manifest.unreduced:
            raise ValueError(f"{self.name} skips nothing, so that nothing is decided: load the reduced export")
        super().set_decision(decision)

    def forward_packed(self, batch: TextBatch, decision: DecisionRule | None = None) -> PackedOutput:
        """Run a packed batch; see :meth:`trbert_env.deploy.model.TokenReducedModel.forward_packed`.

        Args:
            batch: Texts, on the CPU.
            decision: Decision rule to apply instead of the model's own.

        Raises:
            ValueError: A sequence has more tokens than the encoder has positions.
        """
        longest, known = int(batch.layout.sequence_lengths.numpy().max()), self.manifest.longest_sequence
        if longest > known:
            raise ValueError(
                f"a sequence has {longest} tokens, and the encoder has {known} positions: truncate it, as by "
                f"tokenizer(..., truncation=True, max_length={known})"
            )
        rule = self.decision if decision is None else decision
        found = self._runtime.run(batch, self._overlap(batch), partial(_mask, rule))
        masks, keep_logits = ([torch.from_numpy(one) for one in each] for each in (found.keep_masks, found.keep_logits))
        return PackedOutput(torch.from_numpy(found.logits), found.layouts, masks, keep_logits)

    def _overlap(self, batch: TextBatch) -> npt.NDArray[np.float32] | None:
        if self._norms is None:
            return None
        features = lexical_overlap(batch, self._norms.__getitem__, self.task.query_segment)
        found: npt.NDArray[np.float32] = features.numpy()
        return found

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> ModelOutput | tuple[Any, ...]:
        """Run a tokenizer's padded batch; see :meth:`trbert_env.deploy.model.TokenReducedModel.forward`.

        Args:
            input_ids: ``(num_texts, width)``, or ``(num_texts, sequences, width)`` where a text has several.
            attention_mask: 1 for tokens, 0 for padding, of the same shape.
            token_type_ids: Token type ids of the same shape.
            return_dict: False to return a tuple.
            others: Other inputs of stock models, which are refused by name.

        Raises:
            ValueError: An input is not supported, the batch cannot be read as texts, or the encoder embeds no such
                token id.
        """
        refuse(others, type(self).__name__, learns=False)
        inputs = PaddedInputs.of(input_ids, attention_mask, token_type_ids)
        inputs.check_tokens(*self._known)
        logits = self.forward_packed(inputs.batch).logits
        output = self.task.model_output(logits, inputs.batch.layout, inputs.mask)
        return output.to_tuple() if return_dict is False else output

    def __call__(self, *arguments: Any, **named: Any) -> ModelOutput | tuple[Any, ...]:
        """Run :meth:`forward`."""
        return self.forward(*arguments, **named)


def _mask(rule: DecisionRule, logits: npt.NDArray[Any], layout: Layout, reduction: int) -> npt.NDArray[np.bool_]:
    """Return the packed mask of a decision rule."""
    chosen: npt.NDArray[np.bool_] = decide(rule, torch.from_numpy(logits), layout, reduction).numpy()
    return chosen
