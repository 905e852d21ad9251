"""Make a model that is already loaded faster, by a policy that was trained for it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedModel

from trbert_env.data.backbones import move
from trbert_env.data.checkpoints import model_folder
from trbert_env.data.fingerprints import fingerprint_model
from trbert_env.deploy.model import TokenReducedModel

ModelT = TypeVar("ModelT")


def accelerate(model: ModelT, policy: TokenReducedModel | Path | str) -> Any:
    """Wrap a loaded model, so that it skips the tokens that a policy finds unimportant.

    The weights are shared, not copied: the model itself goes on to give the logits of before, in padded
    calls; of an eager model, attentions are not among them any more.

    Args:
        model: A fine-tuned model of transformers, or a ``CrossEncoder`` of sentence-transformers that holds one.
        policy: The folder of the run that trained a policy for it, the folder of a saved token-reduced model, or such a
            model.

    Returns:
        A :class:`TokenReducedModel` with the weights, device and number format of the model; of a cross-encoder, the
        same cross-encoder, which holds it from now on.

    Raises:
        ValueError: The policy was trained for another encoder, or its encoder was trained with it.
        TypeError: It is no such model.
        FileNotFoundError: There is no policy.

    Example:
        >>> from transformers import AutoModelForSequenceClassification
        >>> model = AutoModelForSequenceClassification.from_pretrained("my-classifier")  # doctest: +SKIP
        >>> faster = accelerate(model, policy="runs/TextClassification/policy-reinforce/...")  # doctest: +SKIP
    """
    if isinstance(model, PreTrainedModel):
        return _around(model, _loaded(policy))
    if (holder := _transformer_of(model)) is not None:
        holder.model = _around(holder.model, _loaded(policy))
        return model
    raise TypeError(
        f"{type(model).__name__} cannot be accelerated: give a model of transformers, or a CrossEncoder of "
        "sentence-transformers that holds one"
    )


def _loaded(policy: TokenReducedModel | Path | str) -> TokenReducedModel:
    if isinstance(policy, TokenReducedModel):
        return policy
    found: TokenReducedModel = TokenReducedModel.from_pretrained(model_folder(str(policy)))
    return found


def _transformer_of(model: Any) -> Any:
    """The module of a cross-encoder that holds a model of transformers; None of anything else."""
    library = sys.modules.get("sentence_transformers")  # who has a cross-encoder has imported it
    if library is None or not isinstance(model, library.CrossEncoder):
        return None
    return next((part for part in model.children() if isinstance(getattr(part, "model", None), PreTrainedModel)), None)


def _around(model: PreTrainedModel, policy: TokenReducedModel) -> TokenReducedModel:
    """A token-reduced model that shares its encoder and head with ``model``, and nothing with ``policy``."""
    _check_encoder(model, policy)
    policy.__dict__.pop("staged", None)  # a cache of parts of the encoder, which would be copied too
    # By this memo, what is copied gets the loaded model in place of its own.
    reduced = copy.deepcopy(policy, {id(policy.backbone): model})
    for part in (reduced.policy, reduced.calibration):
        if part is not None:
            move(part, model.device, model.dtype)
    reduced.config.dtype = model.dtype
    # The owner may have renamed the labels when the model was loaded.
    reduced.config.id2label = copy.deepcopy(model.config.id2label)
    reduced.config.label2id = copy.deepcopy(model.config.label2id)
    reduced.train(model.training)
    return reduced


def _check_encoder(model: PreTrainedModel, policy: TokenReducedModel) -> None:
    """Refuse a policy that was trained for another encoder.

    Raises:
        ValueError: It was, or its encoder was trained with it.
        TypeError: The model is token-reduced already.
    """
    config, own = policy.config, policy.backbone
    if isinstance(model, TokenReducedModel):
        raise TypeError("the model is token-reduced already: set its speedup, threshold or keep_fractions")
    if config.original_fingerprint or config.backbone_name.endswith(", joint"):
        raise ValueError(
            "the policy's encoder was trained with it, so that it needs weights of its own: load the whole model, by "
            "TokenReducedModel.from_pretrained or an auto class"
        )
    if type(model) is not type(own):
        raise ValueError(
            f"the policy was trained for a {type(own).__name__}, and the model is a {type(model).__name__}: give a "
            "model of that class"
        )
    same_form = own
    if own.dtype != model.dtype:
        same_form = move(copy.deepcopy(own), "cpu", model.dtype)
    if fingerprint_model(model) != fingerprint_model(same_form):
        raise ValueError(
            f"the policy was trained for another encoder than the model ('{config.backbone_name}'): give that one, or "
            "train a policy for this one by runners/train_policy.py"
        )
