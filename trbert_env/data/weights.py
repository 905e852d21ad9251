"""Loading weights so that none is missing, left over, of another shape, damaged or no number.

transformers draws missing weights at random and says so in a log message; a model with some of them has
plausible metrics that are other ones each time. What is loaded here is whole, or refused in one line.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from trbert_env.encoder.families import FAMILIES, family_of
from trbert_env.tasks.labels import HeadMismatchError

#: What a checkpoint of an encoder may bring although the task model lacks it: no task head reads it.
_UNUSED = re.compile(r"(^|\.)(pooler\.|position_ids$|embeddings\.token_type_ids$)")
#: Layers between encoder and classifier, in the encoder or (ModernBERT, DeBERTa) beside it, which language models may
#: have trained already; where they are missing, they are trained with the classifier.
_POOLER = re.compile(r"(^|\.)pooler\.|^head\.")
#: What the weights of an encoder's layers and embeddings are called in all supported families.
_ENCODER = re.compile(r"(^|\.)(layers?\.\d+\.|(rel_)?embeddings\.|embeddings_project\.|final_norm\.)")
#: What reading a configuration raises where a value is odd: transformers checks types by strict dataclasses.
CONFIG_ERRORS = (ValueError, TypeError, KeyError, AttributeError, StrictDataclassError)
#: What building and loading a model raise where a configuration or a file is odd.
_LOADING_ERRORS = (RuntimeError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, AssertionError)


class WrongLoadError(ValueError):
    """A saved model is asked to be what it is not: of another kind of task, or with other outputs."""


def load_weights(
    load: Callable[..., Any],
    source: str,
    what: str,
    positional: Sequence[Any] = (),
    *,
    any_head: bool = False,
    **options: Any,
) -> tuple[PreTrainedModel, set[str]]:
    """Load a model by a ``from_pretrained``, from safetensors only.

    Args:
        load: ``from_pretrained`` of a class.
        source: A folder or a hub name.
        what: The model's name in errors, such as ``"backbone 'x'"``.
        positional: Handed on to ``load`` behind the source.
        any_head: True if a backbone's task head may be of another shape; see :func:`draw_head`.
        options: Handed on to ``load``.

    Returns:
        The model, and the names of the weights that the files lack and that were drawn at random.

    Raises:
        FileNotFoundError: There are no weights, or none that can be read without a pickle.
        ValueError: A file is damaged, the configuration cannot be built or run, or a weight has another shape than
            the configuration says, is unknown to it or is not finite.
        HeadMismatchError: A weight of a backbone's task head has another shape than the configuration says.
        WrongLoadError: The class of ``load`` is of another kind of task, or other outputs are asked for.
        TypeError: There is no such option.
    """
    folder = Path(source, options.get("subfolder") or "")
    check_files(folder, what)
    _check_format(folder, what)
    try:
        model, report = load(
            source, *positional, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True, **options
        )
    except SafetensorError as error:
        raise ValueError(f"the weights of {what} are damaged ({error}): restore {source}") from error
    except OSError as error:
        raise FileNotFoundError(f"{what} could not be loaded ({_first_line(error)}): {_advice(source)}") from error
    except ImportError as error:  # of quantised weights and of other attention functions
        raise ValueError(
            f"the config.json of {what} asks for a package that is not installed ({_first_line(error)}): "
            "save the model without it, or install the package"
        ) from error
    except WrongLoadError:
        raise
    except (*CONFIG_ERRORS, *_LOADING_ERRORS) as error:
        reason = _first_line(error)
        if unknown := [name for name in options if f"unexpected keyword argument '{name}'" in reason]:
            raise TypeError(f"{what} is loaded by no option {unknown[0]!r}: leave it out") from error
        named = {name: value for name, value in options.items() if re.search(rf"\b{name}\b", reason)}
        given = "".join(
            f"correct {name}={value!r}, or " for name, value in named.items() if isinstance(value, (str, int, float))
        )
        raise ValueError(
            f"{what} could not be built from its config.json ({reason}): {given}restore {source}"
        ) from error
    missing = set(report["missing_keys"])
    _check_report(model, report, missing, what, source, any_head=any_head)
    # What is missing holds whatever its memory held; who needs it says so.
    _check_finite({name: values for name, values in model.state_dict().items() if name not in missing}, what, source)
    for part in model.modules():  # a token-reduced model has its encoder's configuration beside its own
        if isinstance(part, PreTrainedModel):
            _check_config(part.config, what, source)
    return model, missing


def _check_report(
    model: PreTrainedModel,
    report: Mapping[str, Any],
    missing: Collection[str],
    what: str,
    source: str,
    *,
    any_head: bool,
) -> None:
    """Refuse weights that do not fit the configuration.

    Raises:
        ValueError: They are another family's, of another shape, or unknown to it.
    """
    unexpected = _left_over(model, report["unexpected_keys"])
    if report["mismatched_keys"]:
        _check_shapes(model, report["mismatched_keys"], what, source, any_head=any_head)
    prefix = f"{model.base_model_prefix}."
    encoder = {name for name in model.state_dict() if name.startswith(prefix) and not _POOLER.search(name)}
    if encoder and encoder <= set(missing):
        raise ValueError(
            f"{what} has none of the weights that its config.json names (a '{model.config.model_type}' encoder): "
            f"the configuration or the weights are of another model; restore {source}"
        )
    if unexpected:
        raise ValueError(
            f"{what} has weights that its config.json does not know ({_some(unexpected)}): "
            f"restore {source}, or correct the configuration"
        )


def _check_shapes(
    model: PreTrainedModel, mismatched: Collection[tuple[str, Any, Any]], what: str, source: str, *, any_head: bool
) -> None:
    """Refuse weights of another shape than the configuration says.

    Raises:
        HeadMismatchError: They are of a backbone's task head; not with ``any_head``.
        ValueError: They are of an encoder, or of a whole model.
    """
    name, found, wanted = sorted(mismatched, key=str)[0]
    prefix = f"{model.base_model_prefix}."
    of_head = not any(key.startswith(prefix) for key, *_ in mismatched)
    if not (of_head and any(key.startswith(prefix) for key in model.state_dict())):
        raise ValueError(
            f"{what} has weights of another shape than its config.json says ({name} is {tuple(found)}, "
            f"not {tuple(wanted)}): restore {source}"
        )
    if not any_head:
        raise HeadMismatchError(
            f"{what} has a task head of {found[0]} outputs, and the task needs {wanted[0]} ({name})",
            "fine-tune it with runners/finetune.py, which draws a new head, or give an encoder with such a head",
        )


def _left_over(model: PreTrainedModel, unexpected: Collection[str]) -> set[str]:
    """Which unexpected weights count: all, but for a backbone those of its encoder only, as it may bring any head."""
    encoder = model.base_model
    if encoder is model:
        return set(unexpected)
    # A checkpoint of the encoder alone names its parts without the prefix.
    inside = (model.base_model_prefix, *(name for name, _ in encoder.named_children()))
    return {
        key
        for key in unexpected
        if (key.startswith(tuple(f"{name}." for name in inside)) or _ENCODER.search(key)) and not _UNUSED.search(key)
    }


def check_nothing_missing(missing: Collection[str], what: str, source: str) -> None:
    """Refuse a model some of whose weights were drawn at random.

    Raises:
        ValueError: Some were; the message names a few.
    """
    if missing:
        raise ValueError(f"{what} lacks weights ({_some(missing)}), which would be drawn at random: restore {source}")


def is_head_of_other_task(model: PreTrainedModel) -> bool:
    """Return whether a head that was loaded is another task's, which has the same names and shapes in some families.

    Args:
        model: A task model as loaded, its configuration as the checkpoint has it.
    """
    saved = model.config.architectures or []
    heads = {name for name in saved if name != type(model.base_model).__name__ and not name.endswith("ForMaskedLM")}
    return family_of(model.config).heads_share_names and bool(heads) and type(model).__name__ not in heads


def note_head(config: PreTrainedConfig, auto_model: Any, source: str, what: str) -> None:
    """Write into a configuration the class that the weights have the head of, where it names none that is known.

    So names of classes that a checkpoint has are not taken for those of a head that is still to be trained.

    Args:
        config: Configuration as the checkpoint has it; changed where the weights have a head of the auto class.
        auto_model: Auto class of a task.
        source: A folder or a hub name.
        what: The backbone's name in errors.
    """
    if config.architectures and family_of(config).heads_share_names:
        return  # whose head it is cannot be told, so it is drawn anew
    try:
        model, missing = load_weights(
            auto_model.from_pretrained, source, what, config=copy.deepcopy(config), dtype=torch.float32
        )
        whole = check_backbone_missing(model, missing, what, source)
    except (ValueError, FileNotFoundError):
        return  # what is wrong is told where it is loaded, and a head of other outputs has no names for them
    if whole:
        config.architectures = [type(model).__name__]


def draw_head(model: PreTrainedModel) -> set[str]:
    """Draw the task head's weights at random, as a new model's are; returns their names.

    Args:
        model: A backbone, changed in place; its encoder stays as it is.
    """
    new = type(model)(model.config).state_dict()
    head = {name: values for name, values in new.items() if not name.startswith(f"{model.base_model_prefix}.")}
    model.load_state_dict(head, strict=False)
    return set(head)


def check_backbone_missing(model: PreTrainedModel, missing: Collection[str], what: str, source: str) -> bool:
    """Refuse a backbone whose encoder, or part of whose head, was drawn at random.

    Args:
        model: The task model.
        missing: Names of the weights that :func:`load_weights` found missing.
        what: The backbone's name in errors.
        source: A folder or a hub name.

    Returns:
        True if the task head was there too; False where it is still to be trained.

    Raises:
        ValueError: The encoder lacks weights, or the head has only some.
    """
    lacking, prefix = set(missing), f"{model.base_model_prefix}."
    # A language model's head reads the encoder's own word embeddings too, which are there in any case.
    shared = {name for name, other in model.all_tied_weights_keys.items() if other.startswith(prefix)}
    pooler = {name for name in model.state_dict() if _POOLER.search(name)}
    head = {name for name in model.state_dict() if not name.startswith(prefix)} - shared - pooler
    if head <= lacking:  # it is to be trained, and a pooler that is missing too is trained with it
        lacking -= head | pooler if pooler <= lacking else head
    check_nothing_missing(lacking, what, source)
    return not missing


def check_files(folder: Path, what: str) -> None:
    """Refuse a folder whose JSON files transformers would misread.

    Args:
        folder: A folder; anything else is a hub name and left to transformers.
        what: The model's name in errors.

    Raises:
        FileNotFoundError: It holds no ``config.json``.
        NotADirectoryError: It is a file.
        ValueError: A JSON file in it is damaged.
    """
    if folder.is_file():
        raise NotADirectoryError(f"{what} could not be loaded: {folder} is a file; give the folder that it lies in")
    if not folder.is_dir():
        return
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{what} could not be loaded: {folder} has no config.json; give the folder of a saved model"
        )
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        if (folder / name).exists():
            _check_json(folder / name, what)
    _check_index(folder, what)


def _check_index(folder: Path, what: str) -> None:
    """Refuse an index of shards that names none, or others than lie beside it.

    Raises:
        ValueError: It names no shards, or files outside of the folder.
        FileNotFoundError: A shard is missing.
    """
    path = folder / "model.safetensors.index.json"
    if not path.exists() or (folder / "model.safetensors").exists():
        return
    places = json.loads(path.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ValueError(f"{what}: {path} has no weight_map that names shards; restore it")
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:
            raise ValueError(f"{what}: {path} names {shard!r}, which is not in its folder; restore it")
        if not (folder / shard).is_file():
            raise FileNotFoundError(f"{what} could not be loaded: {folder} lacks the shard {shard}; restore it")


def _check_format(folder: Path, what: str) -> None:
    """Refuse a folder without weights, or with weights that only unpickling could read.

    Raises:
        FileNotFoundError: It is one.
    """
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    found = f"only {', '.join(pickles)}, a pickle, which could run code" if pickles else "no weights"
    raise FileNotFoundError(
        f"{what} could not be loaded: {folder} has {found}; save the model anew, as model.safetensors"
    )


def _check_json(path: Path, what: str) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what}: {path} is not valid JSON ({error}); restore it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{what}: {path} holds {type(content).__name__}, not a JSON object; restore it")


def _check_finite(weights: Mapping[str, Tensor], what: str, source: str) -> None:
    for name, values in weights.items():
        if type(values) is not Tensor:  # quantised weights know few operations
            continue
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            count = int((~torch.isfinite(values)).sum())
            raise ValueError(
                f"{what} has weights that are no numbers ({count:,} of {name}): its training diverged or {source} is "
                "damaged; give another"
            )


def _check_config(config: PreTrainedConfig, what: str, source: str) -> None:
    """Refuse a configuration that builds a model, but one whose results would be none or other than stock ones.

    Raises:
        ValueError: It is one; the message names the entry.
    """
    if getattr(config, "is_decoder", False):
        raise ValueError(f"{what} is a decoder (is_decoder in its config.json), and an encoder is needed: give one")
    family = FAMILIES.get(config.model_type)
    counts = family is not None and family.counts_from_padding
    if counts and (config.pad_token_id is None or config.pad_token_id < 0):
        raise ValueError(
            f"{what} has the pad_token_id {config.pad_token_id} in its config.json, which a "
            f"'{config.model_type}' encoder counts positions from: restore {source}"
        )
    for name, value in config.to_dict().items():
        values = value if isinstance(value, list) else [value]
        if not all(math.isfinite(number) for number in values if isinstance(number, float)):
            raise ValueError(f"{what} has {name} {value} in its config.json, no finite number: restore {source}")


def _advice(source: str) -> str:
    return f"restore {source}" if Path(source).is_dir() else "give a folder or a hub name"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _some(names: Collection[str]) -> str:
    """A few names, and how many more there are."""
    first = sorted(names)[:3]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")
