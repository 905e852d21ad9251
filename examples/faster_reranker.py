"""Make a reranker faster, and order passages with it.

python examples/faster_reranker.py --train-file pairs.csv --backbone MY_CROSS_ENCODER --speedup 2

Each row of the file is a query, a passage and a label: 1 where the passage is relevant, else 0.
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from transformers import AutoTokenizer
from two_stages import make_faster

from runners.cli.options import DataOptions, OwnDataOptions
from trbert_env import TokenReducedModel


def rank(folder: Path, query: str, passages: list[str]) -> list[tuple[float, str]]:
    """Relevance and passage, the most relevant first; all passages go through the encoder at once, without padding."""
    model, tokenizer = TokenReducedModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer([query] * len(passages), passages, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        relevance = model(**inputs).logits[:, 0].sigmoid().tolist()
    return sorted(zip(relevance, passages, strict=True), reverse=True)


def main(
    train_file: Path,
    backbone: str = "embedded",
    speedup: float = 2.0,
    texts: int | None = None,
    output_dir: Path = Path("runs"),
) -> None:
    """Train on the file, then order three passages; texts is how many to train on in each stage."""
    data = DataOptions("TextClassification", own=OwnDataOptions(train_file=train_file, label_kind="score"))
    folder = make_faster(data, backbone, speedup, texts, output_dir)
    passages = ["The sea is wide.", "Ada sold drums.", "Drums are loud."]
    for relevance, passage in rank(folder, "Who sold drums?", passages):
        print(f"{relevance:.3f} {passage}")


if __name__ == "__main__":
    tyro.cli(main)
