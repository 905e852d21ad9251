"""Loading what a run made."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer

from runners.shared.files import read_json
from trbert_env.backbones import Backbone, move
from trbert_env.model import TokenReducedConfig, TokenReducedModel


def load_model(path: Path, device: str) -> tuple[TokenReducedModel, Backbone]:
    """Load a model from its folder or its run's folder, and its encoder as a backbone.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is another kind of model, such as a backbone.
    """
    folder = path / "model" if (path / "model").is_dir() else path
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{path} holds no model: give a run's folder or its model/ folder")
    kind = model_type_in(folder)
    if kind != TokenReducedConfig.model_type:  # transformers would go on with random weights
        raise ValueError(
            f"{path} holds a '{kind}' model, not a token-reduced one: give a folder that a policy run made"
        )
    model = move(TokenReducedModel.from_pretrained(folder), device, torch.float32)
    model.eval()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model, Backbone(model.backbone, tokenizer, model.config.backbone_name, str(folder), True)


def model_type_in(folder: Path) -> str | None:
    """What kind of model a folder holds, by transformers' name; None where there is none."""
    path = folder / "config.json"
    return read_json(path).get("model_type") if path.exists() else None
