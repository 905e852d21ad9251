"""Make a question answerer faster, and ask it.

python examples/answer_questions.py --train-file questions.jsonl --backbone MY_CHECKPOINT --speedup 2
python examples/answer_questions.py --model RUN_DIR/model --question "Who sold drums?" --context "Ada sold drums."

Each record of the file has a question, a context and the answers that stand there, [] where there is none.
"""

from __future__ import annotations

from pathlib import Path

import tyro
from transformers import AutoTokenizer
from two_stages import make_faster

from runners.cli.options import DataOptions, OwnDataOptions
from trbert_env import TokenReducedModel, answer_questions


def main(
    train_file: Path | None = None,
    model: Path | None = None,
    question: str = "Who sold drums?",
    context: str = "Ada sold drums in Cork, and Bela lost a silver key on the way to Oslo.",
    backbone: str = "embedded",
    speedup: float = 2.0,
    texts: int | None = None,
    output_dir: Path = Path("runs"),
) -> None:
    """Train on the file, or take a model that was trained before, and answer; texts is how many to train on a stage."""
    if model is None:
        if train_file is None:
            raise SystemExit("give --train-file to train on, or --model to ask one that was trained before")
        data = DataOptions("SpanQA", own=OwnDataOptions(train_file=train_file))
        model = make_faster(data, backbone, speedup, texts, output_dir)
    tokenizer = AutoTokenizer.from_pretrained(model)
    (answer,) = answer_questions(TokenReducedModel.from_pretrained(model), tokenizer, [question], [context])
    print(f"{question} {answer or 'The text does not say.'}")


if __name__ == "__main__":
    tyro.cli(main)
