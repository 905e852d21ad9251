"""Models of runs: how they are saved, and loaded again."""

from __future__ import annotations

import copy
import shlex
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from runners.cli.flags import changed_options, refuse_unused
from runners.cli.options import TextOptions
from runners.runs.earlier import saved_options
from runners.runs.files import read_record
from trbert_env.data.backbones import Backbone, load_backbone_from, move
from trbert_env.data.checkpoints import check_special_tokens, load_tokenizer, model_folder
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.positions import longest_sequence
from trbert_env.tasks import Task

#: Runners by the stage in the name of a run's folder.
_RUNNERS = {
    "faster": "make_faster",
    "finetune": "finetune",
    "joint": "joint_finetune",
    "policy": "train_policy",
}


def save_model(model: TokenReducedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a model, and beside it a tokenizer that truncates at the length that the model was trained and measured at.

    An encoder may have learned more positions; of longer texts nobody has measured quality or speed.

    Args:
        model: Model.
        tokenizer: Its tokenizer, which stays as it is.
        folder: Folder that is there.
    """
    model.save_pretrained(folder)
    limited = copy.deepcopy(tokenizer)
    limited.model_max_length = min(tokenizer.model_max_length, model.task.max_tokens)
    limited.save_pretrained(folder)


def load_model(path: Path, device: str) -> tuple[TokenReducedModel, Backbone]:
    """Load a model from its folder or its run's folder, and its encoder as a backbone.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is another kind of model, such as a backbone.
    """
    folder = Path(model_folder(str(path)))
    if path.is_file():
        raise NotADirectoryError(f"{path} is a file: give the run's folder or its model/ folder")
    kind = model_type_in(folder)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a run's folder or its model/ folder")
    if kind is None:
        if stopped := unfinished(path):
            raise FileNotFoundError(f"{path} holds no model yet: {stopped}")
        if agent := _own_agent(path):
            raise FileNotFoundError(
                f"{path} holds no model: its agent {agent} has no policy and decision of the kind that is shipped, and "
                "was evaluated as it acts, at the end of its run"
            )
        raise FileNotFoundError(f"{path} holds no model: give a run's folder or its model/ folder")
    if kind != TokenReducedConfig.model_type:  # transformers would go on with random weights
        raise ValueError(
            f"{path} holds a '{kind}' model, not a token-reduced one: give a folder that a policy run made"
        )
    model = move(TokenReducedModel.from_pretrained(folder), device, torch.float32)
    model.eval()
    _check_identity(model, folder)
    tokenizer = load_tokenizer(str(folder), f"model '{path}'")
    check_special_tokens(model.backbone, tokenizer, f"model '{path}'")
    return model, Backbone(model.backbone, tokenizer, model.config.backbone_name, str(folder), True)


def _own_agent(path: Path) -> str | None:
    """Return the plug-in of a run that has ended, None where the folder is of no such run."""
    options = saved_options(path) if (path / "metrics.json").exists() else None
    agent = None if options is None else options.get("agent")
    return agent if isinstance(agent, str) and ":" in agent else None


def unfinished(path: Path) -> str:
    """Return why a folder has no model, and the fix, where it is that of a run that has not ended; else nothing."""
    config = path / "config.json"
    if (path / "metrics.json").exists() or not config.is_file() or "options" not in read_record(config):
        return ""
    stage = path.resolve().parent.name.partition("-")[0]
    runner = f"python runners/{_RUNNERS[stage]}.py" if stage in _RUNNERS else "the runner that began it, with"
    return f"the run has not ended; wait for it, or go on with it by {runner} --resume {shlex.quote(str(path))}"


#: Options of texts that :func:`check_settled` looks at, whether texts are read or not.
SETTLED = ("env", "task_options", "max_length")


def check_settled(options: TextOptions, trained_on: str) -> None:
    """Refuse options that a model settles.

    Args:
        options: Options of a runner that is given the model.
        trained_on: Name of the data set that the model was trained for.

    Raises:
        ValueError: An encoder is given, or another data set.
    """
    refuse_unused(
        options,
        backbone="--model has its own encoder, leave it out",
        task_options="--model has its own settings of the task, leave it out",
        max_length="--model has its own settings of the task, leave it out",
    )
    env = options.data.env
    if "--env" in changed_options(options) and env != trained_on:
        raise ValueError(f"--env is {env}, but the model was trained for {trained_on}: leave --env out")


def _check_identity(model: TokenReducedModel, folder: Path) -> None:
    """Check that a model which lies in its run's folder is the one that the run ended with.

    Raises:
        ValueError: It is another one, or the run's record is damaged.
    """
    path = folder.parent / "metrics.json"
    in_a_run = folder.name == "model" and path.exists() and (folder.parent / "config.json").exists()
    recorded = read_record(path).get("model_fingerprint") if in_a_run else None
    found = None if recorded is None else fingerprint_model(model)
    if found != recorded:
        raise ValueError(
            f"{folder} is not the model that the run ended with (its fingerprint is {found}, {path} says {recorded}): "
            "restore it, or copy the folder out of the run to use it as it is"
        )


def load_encoder(source: str, task: Task, name: str, length: int | None = None) -> Backbone:
    """Load an unreduced encoder from a folder or a hub name; of a token-reduced model, its own encoder.

    Args:
        source: The folder of a backbone, of a run or of a model, or a hub name.
        task: Gives the auto class.
        name: The encoder's name in records.
        length: Tokens that a sequence may have; an encoder that has learned fewer positions is extended.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of an unsupported kind, or damaged, or cannot be extended to that length.
    """
    source = model_folder(source)
    if is_token_reduced(source):
        return load_model(Path(source), "cpu")[1]
    return load_backbone_from(source, task, name).extended(length)


def load_original(model: TokenReducedModel, own: Backbone, source: str | None = None) -> Backbone | None:
    """Load the encoder that a model's joint training began with.

    Args:
        model: The model, which knows where that encoder was and its fingerprint.
        own: Its own encoder, with the tokenizer that both read.
        source: Folder or hub name of the original encoder; None for the one that the model records.

    Returns:
        The encoder; None where the model's own is as it was, or where it is no longer there, which a warning says.

    Raises:
        ValueError: ``source`` holds another encoder, or there is none but the model's own.
        FileNotFoundError: ``source`` holds none.
    """
    config = model.config
    trained = bool(config.original_fingerprint) or config.backbone_name.endswith(", joint")
    if not trained:
        if source is not None:
            raise ValueError(f"--original is {source}, but the model's encoder was not trained on: leave it out")
        return None
    if source is not None:
        return _load_original(model, own, source)
    try:
        return _load_original(model, own, config.original_backbone)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        warnings.warn(
            f"the encoder that training began with cannot be compared with ({reason}): the change is against the "
            "model's own trained encoder, which is not the loss against the original; --original names its folder",
            stacklevel=2,
        )
        return None


def _load_original(model: TokenReducedModel, own: Backbone, source: str) -> Backbone:
    config = model.config
    if not source:
        raise FileNotFoundError("the model was saved before models told where it is")
    name = config.backbone_name.removesuffix(", joint")
    return load_first(source, config.original_fingerprint, model.task, name, own)


def load_first(source: str, fingerprint: str, task: Task, name: str, own: Backbone) -> Backbone:
    """Load the encoder that a training began with, to read the same tokens as what came out.

    Args:
        source: Folder or hub name of the encoder.
        fingerprint: Fingerprint of the encoder; empty where it is not known.
        task: Task of both.
        name: Name of the encoder in records.
        own: Encoder that came out, with the tokenizer that both read.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: The source holds another encoder.
    """
    if Path(source).is_absolute() and not Path(source).exists():
        raise FileNotFoundError(f"{source} is gone")
    found = load_encoder(source, task, name, longest_sequence(own.model))
    if fingerprint and fingerprint_model(found.model) != fingerprint:
        raise ValueError(f"{source} holds another encoder than training began with")
    # One tokenizer for both: the texts are encoded once.
    return replace(found, tokenizer=own.tokenizer)


def is_token_reduced(source: str) -> bool:
    """Tell whether a folder holds a token-reduced model; a hub name is none.

    Args:
        source: The folder of a model or of a run, or a hub name.

    Raises:
        ValueError: Its ``config.json`` is damaged.
    """
    return model_type_in(Path(model_folder(source))) == TokenReducedConfig.model_type


def model_type_in(folder: Path) -> str | None:
    """Return what kind of model a folder holds, by transformers' name; None where there is none.

    Raises:
        ValueError: Its ``config.json`` is damaged.
    """
    path = folder / "config.json"
    return read_record(path).get("model_type") if path.is_file() else None
