"""Where a fine-tuned encoder comes from: a folder, a hub name, or the small one that a package brings."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from trbert_env.data.cache import cache_lock, fine_tuned_folder
from trbert_env.data.checkpoints import (
    check_special_tokens,
    load_tokenizer,
    locate,
    model_folder,
    reachable,
    read_config,
)
from trbert_env.data.weights import (
    check_backbone_missing,
    check_files,
    draw_head,
    is_head_of_other_task,
    load_weights,
    note_head,
)
from trbert_env.encoder.families import family_of
from trbert_env.encoder.positions import exact_frequencies, extend_positions, longest_sequence
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import Preset
from trbert_env.tasks.base import Task
from trbert_env.tasks.fitting import LEAST_POSITIONS
from trbert_env.tasks.labels import HeadMismatchError, tells_head

ModelT = TypeVar("ModelT", bound=nn.Module)

#: The published encoder that is pre-trained further where no other is named.
PRETRAINED = "google-bert/bert-base-uncased"


@dataclass(frozen=True)
class Backbone:
    """A task model with its tokenizer.

    Attributes:
        model: Built by the task's auto class; float32, in evaluation mode.
        tokenizer: Its tokenizer.
        name: The name that was asked for, or of the fallback.
        source: The folder or hub name that it was loaded from.
        fine_tuned: False where the task head is untrained.
        unfit_head: Reason that a new head took the place of its own; empty where none did.
        extended_from: Positions that it has learned, where it was extended to more; None where it was not.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    source: str
    fine_tuned: bool
    unfit_head: str = ""
    extended_from: int | None = None

    def as_fine_tuned(self) -> Backbone:
        """The same model once its head is trained."""
        return replace(self, model=self.model.eval(), fine_tuned=True)

    @property
    def extended_to(self) -> int | None:
        """Positions that it was extended to; None where it was not."""
        return None if self.extended_from is None else longest_sequence(self.model)

    @property
    def facts(self) -> dict[str, Any]:
        """Return where it is from, and how it was extended, for ``config.json``."""
        extended = {"extended_from": self.extended_from, "extended_to": self.extended_to}
        return {"backbone": self.source, **({} if self.extended_from is None else extended)}

    def extended(self, length: int | None) -> Backbone:
        """Return it with positions for sequences of ``length`` tokens; itself where it has them, or for None.

        Its tokenizer then cuts at ``length`` at the earliest, where it would have cut before.

        Args:
            length: Tokens of the longest sequence, special tokens included.

        Raises:
            ValueError: It cannot be extended to so many; see :func:`~trbert_env.encoder.positions.extend_positions`.
        """
        known = longest_sequence(self.model)
        if length is None:
            return self
        was_extended = extend_positions(self.model, length, f"backbone '{self.name}'")
        # Else transformers would go on to cut at what fitted before.
        self.tokenizer.model_max_length = max(self.tokenizer.model_max_length, length)
        return replace(self, extended_from=known) if was_extended else self

    @property
    def readable_tokens(self) -> int:
        """Return how many tokens of a text it reads, special tokens included: positions, or what its tokenizer cuts at.

        A tokenizer that cuts before the last position is how the encoder is used, and what its users pay for.
        """
        cut, positions = self.tokenizer.model_max_length, longest_sequence(self.model)
        return cut if LEAST_POSITIONS <= cut < positions else positions


def load_backbone(
    preset: Preset,
    task: Task,
    name: str | None,
    data_source: str,
    *,
    pretrained: bool = False,
    records: Dataset | None = None,
    labels: Sequence[str] = (),
    length: int | None = None,
) -> Backbone:
    """Load a backbone for ``preset``.

    Args:
        preset: The data set; names the published checkpoint that serves where ``name`` is None.
        task: Gives the auto class.
        name: The folder of a model or of a run of stage 1, a hub name, ``"embedded"``, or None. Where it
            has no trained head, what ``runners/finetune.py`` made of it takes its place.
        data_source: Source of the data that such a fine-tuned model must have been trained on.
        pretrained: True to start stage 1 afresh: no fine-tuned model takes its place, and a head that does not fit is
            replaced by a new one.
        records: Records of the data, which tell labels where a head is still to be trained.
        labels: Names of all classes in their order, where the data have them.
        length: Tokens that a sequence may have: an encoder that has learned fewer positions is extended, with a
            warning, and what ``runners/finetune.py`` made of it at that length goes before its own head. None
            leaves it as it is.

    Raises:
        FileNotFoundError: Neither a folder nor to be had from the hub.
        ValueError: The family is not supported, there is no tokenizer, or it cannot be extended to that length.
        HeadMismatchError: Its head does not fit the data, and nothing was fine-tuned from it.
    """
    published = preset.pretrained if pretrained else preset.backbone or preset.pretrained
    name = reachable(published) if name is None else model_folder(name)
    own = locate(name)

    def load(source: str, unfit_head: str = "") -> Backbone:
        # A copy, for what a head that does not fit tells of the task holds no longer.
        found = load_backbone_from(source, copy.deepcopy(task), name, records, labels, unfit_head=unfit_head)
        return found.extended(length)

    misfit = None
    try:
        backbone = load(own)
    except HeadMismatchError as error:
        backbone, misfit = load(own, error.reason), error
    if not pretrained and not (backbone.fine_tuned and backbone.extended_from is None):
        left_behind = fine_tuned_folder(preset, name, data_source, backbone.extended_to)
        with cache_lock(left_behind):
            if left_behind.is_dir():
                return load(str(left_behind))
        if misfit is not None:
            raise misfit
    warn_extended(backbone)
    return backbone


def warn_extended(backbone: Backbone) -> None:
    """Warn of positions that were added to an encoder and that nothing has trained yet."""
    if backbone.extended_from is not None:
        warnings.warn(
            f"backbone '{backbone.name}' has learned {backbone.extended_from} positions, and is extended to "
            f"{backbone.extended_to} by copies of them: train it at this length",
            stacklevel=3,
        )


def load_backbone_from(
    source: str,
    task: Task,
    name: str,
    records: Dataset | None = None,
    labels: Sequence[str] = (),
    *,
    unfit_head: str = "",
) -> Backbone:
    """Load a model and its tokenizer from a folder or a hub name; see :func:`load_backbone`.

    Args:
        source: A folder or a hub name.
        task: Gives the auto class.
        name: The backbone's name in errors and records.
        records: Records of the data, which tell labels where a head is still to be trained.
        labels: Names of all classes in their order, where the data have them.
        unfit_head: Reason to leave the checkpoint's own head out and draw a new one; empty to keep it.

    Raises:
        FileNotFoundError: Neither a folder nor to be had from the hub.
        ValueError: The family is not supported, or there is no tokenizer.
    """

    def configure(config: PreTrainedConfig) -> None:
        if unfit_head:
            config.architectures = None  # the task then takes labels and outputs from the data
        task.configure(config, records, labels)

    return _load(source, name, task.auto_model, configure, unfit_head)


def load_language_model(name: str | None, length: int | None = None) -> Backbone:
    """Load an encoder to pre-train it further, with its masked-language-model head.

    Args:
        name: The folder of a model or of a run of stage 1 or pre-training, a hub name, ``"embedded"``, or None for
            :data:`PRETRAINED`.
        length: Tokens that a sequence may have; an encoder that has learned fewer positions is extended, with a
            warning. None leaves it as it is.

    Returns:
        The model; where ``fine_tuned`` is False, it has no such head, and a new one was drawn at random.

    Raises:
        FileNotFoundError: Neither a folder nor to be had from the hub.
        ValueError: The family is not supported, there is no tokenizer or no mask token, or it cannot be extended to
            that length.
    """
    name = reachable(PRETRAINED) if name is None else model_folder(name)
    found = _load(locate(name), name, AutoModelForMaskedLM, lambda config: None)
    check_special_tokens(found.model, found.tokenizer, f"backbone '{name}'", ("mask",))
    embeddings: Any = found.model.get_input_embeddings()
    if (largest := max(found.tokenizer.get_vocab().values())) >= embeddings.num_embeddings:
        raise ValueError(
            f"the tokenizer of backbone '{name}' has token ids up to {largest}, and the encoder embeds ids up to "
            f"{embeddings.num_embeddings - 1}: save the one it was trained with beside it"
        )
    found = found.extended(length)
    warn_extended(found)
    return found


def _load(
    source: str, name: str, auto_model: Any, configure: Callable[[PreTrainedConfig], None], unfit_head: str = ""
) -> Backbone:
    """Load a model of an auto class and its tokenizer; see :func:`load_backbone_from`."""
    what = f"backbone '{name}'"
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        check_files(Path(source), what)
        config = read_config(source, name)
        if not unfit_head and not tells_head(config):
            note_head(config, auto_model, source, what)
        configure(config)
        # float32 said outright: a checkpoint in half precision would otherwise stay so, which is slow on a CPU.
        model, missing = load_weights(
            auto_model.from_pretrained,
            source,
            what,
            any_head=bool(unfit_head),
            config=config,
            dtype=torch.float32,
        )
        if unfit_head or is_head_of_other_task(model):
            missing |= draw_head(model)
        fine_tuned = check_backbone_missing(model, missing, what, source)
        tokenizer = load_tokenizer(source, what)
        check_special_tokens(model, tokenizer, what)
        # Some say nothing of it, and `truncation=True` would leave texts as long as they are.
        tokenizer.model_max_length = int(min(tokenizer.model_max_length, longest_sequence(model)))
    finally:
        transformers_logging.set_verbosity(verbosity)
    return Backbone(model.eval(), tokenizer, name, source, fine_tuned, unfit_head)


def check_texts(backbone: Backbone, texts: Sequence[EncodedText], task: Task) -> None:
    """Refuse texts that an encoder cannot read.

    Where neither tokenizer nor task can make such texts, none of them is looked at.

    Args:
        backbone: The encoder and its tokenizer.
        texts: Texts that its tokenizer made of the records.
        task: The task that they were encoded for.

    Raises:
        ValueError: A token, position or token type is beyond the encoder's embeddings; the message names the text.
    """
    config = backbone.model.config
    embeddings: Any = backbone.model.get_input_embeddings()
    vocabulary = embeddings.num_embeddings
    # Types that a tokenizer gives and the encoder does not read do no harm.
    types = family_of(config).token_types(config)
    positions = longest_sequence(backbone.model)
    largest = max(backbone.tokenizer.get_vocab().values())
    if task.max_tokens <= positions and largest < vocabulary and (types >= 2 or not _has_segments(backbone)):
        return
    for text in texts:
        longest = max(text.sequence_lengths)
        if longest > positions:
            raise ValueError(
                f"text {text.text_id!r} has a sequence of {longest} tokens, and backbone '{backbone.name}' knows "
                f"{positions} positions: give --max-length {task.max_tokens} to extend it, or use an encoder with more"
            )
        if (token := int(text.input_ids.max())) >= vocabulary:
            raise ValueError(
                f"text {text.text_id!r} has the token id {token}, and backbone '{backbone.name}' embeds ids up to "
                f"{vocabulary - 1}: save the tokenizer that it was trained with beside it"
            )
        if (kind := int(text.token_type_ids.max())) >= types:
            raise ValueError(
                f"text {text.text_id!r} has the token type {kind}, and backbone '{backbone.name}' knows only {types}: "
                "use an encoder that was trained on pairs of segments"
            )


def _has_segments(backbone: Backbone) -> bool:
    return "token_type_ids" in backbone.tokenizer.model_input_names


def move(model: ModelT, device: torch.device | str, dtype: torch.dtype) -> ModelT:
    """``model.to(device, dtype)``, by which rotary positions stay exact; the stock type hides what that returns."""
    with exact_frequencies(model):
        nn.Module.to(model, torch.device(device), dtype)
    return model


def placed(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Return the model itself where it fits, else a copy: rounding the caller's weights would lose them.

    Args:
        model: Task model; set to evaluation where it fits.
        device: Device that is wanted.
        dtype: Number format that is wanted.
    """
    fits = model.device == device and model.dtype == dtype
    found = model if fits else move(copy.deepcopy(model), device, dtype)
    found.eval()
    return found
