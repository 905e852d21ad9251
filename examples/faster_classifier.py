"""Make a text classifier faster, and classify with it.

python examples/faster_classifier.py --train-file reviews.csv --backbone MY_CHECKPOINT --speedup 2

The file has a column of texts and one of labels (CSV, TSV, JSON, JSON lines or parquet; their names are guessed).
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro
from transformers import AutoTokenizer
from two_stages import make_faster

from runners.cli.options import DataOptions, OwnDataOptions
from trbert_env import TokenReducedModel


def classify(folder: Path, texts: list[str]) -> list[str]:
    model, tokenizer = TokenReducedModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits
    return [model.config.id2label[index] for index in logits.argmax(1).tolist()]


def main(
    train_file: Path,
    backbone: str = "embedded",
    speedup: float = 2.0,
    texts: int | None = None,
    output_dir: Path = Path("runs"),
) -> None:
    """Train on the file, then label two texts; texts is how many to train on in each stage."""
    data = DataOptions("TextClassification", own=OwnDataOptions(train_file=train_file, label_kind="class"))
    folder = make_faster(data, backbone, speedup, texts, output_dir)
    examples = ["A fine film.", "Two hours of my life that I want back."]
    for text, label in zip(examples, classify(folder, examples), strict=True):
        print(f"{label}: {text}")


if __name__ == "__main__":
    tyro.cli(main)
