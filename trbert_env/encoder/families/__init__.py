"""Families of encoders: what differs between them, one file for each kind of layer."""

from __future__ import annotations

from typing import Any

from trbert_env.encoder.families.base import Family, LayerSize
from trbert_env.encoder.families.bert import Bert, Electra, Roberta
from trbert_env.encoder.families.deberta import DebertaV2
from trbert_env.encoder.families.distilbert import DistilBert
from trbert_env.encoder.families.modernbert import ModernBert
from trbert_env.encoder.families.mpnet import MPNet

__all__ = ["FAMILIES", "Family", "LayerSize", "family_of"]

#: Supported families, by the ``model_type`` of their configurations.
FAMILIES: dict[str, Family] = {
    "bert": Bert(),
    "camembert": Roberta(),
    "deberta-v2": DebertaV2(),
    "distilbert": DistilBert(),
    "electra": Electra(),
    "modernbert": ModernBert(),
    "mpnet": MPNet(),
    "roberta": Roberta(),
    "xlm-roberta": Roberta(),
}


def family_of(config: Any) -> Family:
    """Return the family of a configuration.

    Args:
        config: Configuration of a stock model.

    Raises:
        ValueError: The family is not supported, or the encoder is a kind of it that is not.
    """
    if config.model_type not in FAMILIES:
        raise ValueError(f"backbone family '{config.model_type}' is not supported: use one of {', '.join(FAMILIES)}")
    family = FAMILIES[config.model_type]
    family.check(config)
    return family
