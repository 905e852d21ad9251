"""Pre-training: an encoder goes on to tell masked tokens of plain texts, at any length, before it is fine-tuned."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import shlex
from dataclasses import replace
from typing import Any

import torch

from baselines.distilled import keep_layers
from runners.cli.display import announce
from runners.cli.options import resolve_device
from runners.cli.run import run
from runners.cli.tables import print_table
from runners.runs.run_folder import RunFolder
from runners.runs.session import RunSession
from runners.runs.tracking import track_end
from runners.training.language_distillation import LanguageTeacher, check_layers
from runners.training.loop import train
from runners.training.options.pretraining import PretrainOptions
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.pretraining import DEFAULT_LENGTH, Corpus, Pretrainer, perplexity
from trbert_env.data.backbones import Backbone, load_language_model, move
from trbert_env.data.fingerprints import fingerprint_model, fingerprint_tokenizer
from trbert_env.encoder.positions import longest_sequence
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.folders import replacing_folder


def pretrain(options: PretrainOptions) -> RunFolder:
    """Run pre-training to its end; returns the run's folder."""
    with RunSession(options) as session:
        ended = session.find_ended()
        if ended is not None:
            return ended
        options = session.options
        device = resolve_device(options.run.device)
        backbone = load_encoder(options)
        if options.student.layers is not None:
            check_layers(options.student.layers, StagedEncoder(backbone.model).num_layers)
        length = options.encoder.max_length or min(DEFAULT_LENGTH, longest_sequence(backbone.model))
        corpus = Corpus.load(options.data, backbone, length)
        facts = {
            **backbone.facts,
            "encoder_fingerprint": fingerprint_model(backbone.model),
            "tokenizer_fingerprint": fingerprint_tokenizer(backbone.tokenizer),
            "dtype": training_dtype(options.run.dtype, device),
        }
        folder = session.begin(corpus.name, "pretrain", options.encoder.backbone or "default", facts | corpus.facts)
        backbone, teacher = of_layers(backbone, options, device)
        trainer = Pretrainer(backbone, corpus, options, device, teacher)
        train(
            trainer,
            folder,
            label="pre-training",
            checkpoint_every=options.training.checkpoint_every,
            state=session.state,
            shown={"loss": trainer.loss_key},
        )
        finish(trainer, backbone, folder, options)
        return folder


def load_encoder(options: PretrainOptions) -> Backbone:
    """Load the encoder with its masked-language-model head; where it has none, a new one is announced."""
    torch.manual_seed(options.run.seed)  # a new head draws its first weights
    backbone = load_language_model(options.encoder.backbone, options.encoder.max_length)
    if not backbone.fine_tuned and options.student.layers is not None:
        raise ValueError(
            f"backbone '{backbone.name}' has no masked-language-model head, so that it cannot teach a student: "
            "pre-train it first, without --layers, and give that run as --backbone"
        )
    if not backbone.fine_tuned:
        announce(f"backbone '{backbone.name}' has no masked-language-model head: one is trained from random weights")
    return backbone


def of_layers(
    backbone: Backbone, options: PretrainOptions, device: torch.device
) -> tuple[Backbone, LanguageTeacher | None]:
    """Return what is trained, and what teaches it: with ``--layers`` a student of these and the encoder.

    Args:
        backbone: The encoder.
        options: Options of the run.
        device: Device of the teacher.
    """
    if options.student.layers is None:
        return backbone, None
    student = keep_layers(backbone.model, options.student.layers)
    return replace(backbone, model=student), LanguageTeacher(
        move(backbone.model, device, torch.float32), options.student
    )


def finish(trainer: Pretrainer, backbone: Backbone, folder: RunFolder, options: PretrainOptions) -> None:
    """Save the model, print perplexities before and after; ``metrics.json`` comes last."""
    with replacing_folder(folder.model_dir) as partial:
        backbone.model.save_pretrained(partial)
        backbone.tokenizer.save_pretrained(partial)
    before, after = trainer.measured[0], trainer.measured[trainer.schedule.steps]
    record: dict[str, Any] = {
        "env": trainer.corpus.name,
        "split": "holdout",
        "backbone": backbone.name,
        "num_texts": len(trainer.corpus.holdout),
        "dtype": evaluation_dtype(options.run.dtype),
        **trainer.corpus.facts,
        "train_texts": trainer.total_texts,
        "mlm_loss": after,
        "perplexity": perplexity(after),
        "initial_mlm_loss": before,
        "initial_perplexity": perplexity(before),
    }
    track_end(folder.events_dir, options, record, trainer.total_texts)
    print_table(
        f"masked tokens of {record['num_texts']:,} held-out sequences of {trainer.corpus.name}",
        ["", "loss", "perplexity"],
        [["before", before, perplexity(before)], ["after", after, perplexity(after)]],
    )
    folder.write_metrics(record)


def main(options: PretrainOptions) -> None:
    """Pre-training: an encoder goes on to tell masked tokens of plain texts, at any length."""
    folder = pretrain(options)
    print(f"fine-tune what came out: runners/finetune.py --backbone {shlex.quote(str(folder.path))}")


if __name__ == "__main__":
    run(main, PretrainOptions)
