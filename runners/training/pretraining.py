"""Pre-training: an encoder goes on to tell masked tokens of plain texts, packed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from agents.distillation import computing_in
from runners.cli.display import announce, progress
from runners.runs.tracking import Tracker
from runners.training.language_distillation import LanguageTeacher
from runners.training.loop import milestones
from runners.training.masking import MaskedBatch, MaskedText, Masker
from runners.training.options.pretraining import PlainTextOptions, PretrainOptions
from runners.training.precision import evaluation_dtype, training_dtype
from runners.training.supervised import SupervisedTraining
from trbert_env.data.backbones import Backbone, move
from trbert_env.data.plain.documents import PlainTexts
from trbert_env.data.plain.sequences import cut, hold_out_last, sampled
from trbert_env.data.plain.tokens import DocumentTokens
from trbert_env.encoder.staged import StagedEncoder
from trbert_env.encoder.texts import EncodedText
from trbert_env.tasks.heads import masked_token_logits
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder

#: Tokens of a sequence where no number is given and the encoder reaches as far.
DEFAULT_LENGTH = 512


@dataclass(frozen=True)
class Corpus:
    """Sequences to pre-train on.

    Attributes:
        name: A short name.
        train: Sequences to learn from.
        holdout: Sequences to measure perplexity on.
        facts: Facts about the corpus beyond names and paths, for ``config.json``.
    """

    name: str
    train: LazyTexts
    holdout: Sequence[EncodedText]
    facts: dict[str, Any]

    @classmethod
    def load(cls, options: PlainTextOptions, backbone: Backbone, length: int) -> Corpus:
        """Read the texts, tokenise them and cut sequences; announce what they are.

        Args:
            options: The group of options.
            backbone: The encoder, whose tokenizer is taken.
            length: Most tokens of a sequence.

        Raises:
            FileNotFoundError: A file, folder or data set is missing.
            ValueError: They are malformed, there is too little text, or a file is both to learn from and held out.
        """
        encoder = SequenceEncoder(backbone.tokenizer, length)
        facts: dict[str, Any] = {"max_length": length}

        def sequences(texts: PlainTexts, what: str) -> LazyTexts:
            census = texts.census()
            facts[f"{what}_texts_fingerprint"] = census.fingerprint
            with progress(f"tokens of {what} texts", census.documents, unit="documents") as bar:
                tokens = DocumentTokens.of(texts, census, backbone.tokenizer, bar.update)
            found = cut(tokens, encoder, options.split_seed)
            count = f"{len(found):,} sequences of up to {length} tokens, {len(tokens.ids):,} in all"
            announce(f"{what} texts: {census.description}; {count}")
            return found

        training, validation = options.texts()
        options.check_apart()
        train = sequences(training, "train")
        if validation is None:
            train, holdout = hold_out_last(train, options.validation_share, options.name)
        else:
            holdout = sequences(validation, "validation")
        return cls(options.name, train, sampled(holdout, options.max_eval_texts), facts)


def perplexity(loss: float) -> float:
    """Return the perplexity of a mean loss in nats; infinite where no float holds it."""
    return math.exp(loss) if loss < 700 else math.inf


class Pretrainer(SupervisedTraining):
    """Trains all parameters of a masked-language model to tell masked tokens.

    Masks are drawn anew for every step, by the seed and the step's number. There is no dropout.

    Args:
        backbone: The masked-language model, which is trained in place.
        corpus: The texts.
        options: Options of the run.
        device: Device to compute on.
        teacher: The encoder that teaches this one, on the device; None where none does.
    """

    def __init__(
        self,
        backbone: Backbone,
        corpus: Corpus,
        options: PretrainOptions,
        device: torch.device,
        teacher: LanguageTeacher | None = None,
    ) -> None:
        training, run = options.training, options.run
        self.corpus, self.device, self._teacher = corpus, device, teacher
        self.loss_key = "losses/mlm_loss" if teacher is None else "losses/distillation_loss"
        self._dtype, self._evaluation_dtype = training_dtype(run.dtype, device), evaluation_dtype(run.dtype)
        self._part = training.texts_per_step // training.accumulate
        self._masker = Masker(backbone.tokenizer)
        #: Held-out loss by the number of updates, nats a masked token.
        self.measured: dict[int, float] = {}
        schedule = training.schedule(len(corpus.train))
        self._watched = milestones(schedule.steps, training.watch)
        model = move(backbone.model, device, torch.float32).eval()
        self._encoder = StagedEncoder(model)
        super().__init__(model, schedule, len(corpus.train), run.seed)

    def losses(self, numbers: list[int]) -> Iterator[Tensor]:
        """Yield parts of the mean loss of the masked tokens, or a teacher's; see :meth:`SupervisedTraining.losses`."""
        generator = np.random.default_rng([self.seed, self.updates])
        masked = [
            self._masker.mask(self.corpus.train[number % len(self.corpus.train)], generator) for number in numbers
        ]
        count = max(1, sum(len(text.places) for text in masked))
        share = count / sum(len(text.text) for text in masked)
        for part in self._parts(masked):
            with computing_in(self._dtype, self.device):
                loss = self._loss_sum(part) if self._teacher is None else self._taught_loss_sum(part, share)
            yield loss / count

    def watch(self, tracker: Tracker) -> None:
        """Measure the held-out texts now and then, before the first step and after the last among them."""
        if self.updates not in self._watched or self.updates in self.measured:
            return
        loss = self.measured[self.updates] = self.measure()
        tracker.log({"eval/mlm_loss": loss, "eval/perplexity": perplexity(loss)}, self.texts_seen)
        print(f"held out, after {self.texts_seen:,} texts: perplexity {perplexity(loss):.2f}", flush=True)

    @torch.no_grad()
    def measure(self) -> float:
        """Mean loss of masked tokens of the held-out texts, nats; their masks are always the same."""
        texts = self.corpus.holdout
        total, count = 0.0, 0
        with progress("held-out texts", len(texts)) as bar:
            for part in self._parts(
                [self._masker.mask(text, np.random.default_rng(n)) for n, text in enumerate(texts)]
            ):
                with computing_in(self._evaluation_dtype, self.device):
                    total += float(self._loss_sum(part))
                count += sum(len(text.places) for text in part)
                bar.update(len(part))
        return total / max(1, count)

    def _parts(self, masked: Sequence[MaskedText]) -> Iterator[Sequence[MaskedText]]:
        """Yield texts that go through the encoder together."""
        for first in range(0, len(masked), self._part):
            yield masked[first : first + self._part]

    def _loss_sum(self, masked: Sequence[MaskedText]) -> Tensor:
        """Sum of the masked tokens' losses, nats."""
        batch = MaskedBatch.of(masked, self.device)
        return cross_entropy(self._forward(batch)[0], batch.tokens, reduction="sum")

    def _taught_loss_sum(self, masked: Sequence[MaskedText], share: float) -> Tensor:
        """The teacher's loss, summed over masked tokens, nats."""
        assert self._teacher is not None
        batch = MaskedBatch.of(masked, self.device)
        return self._teacher.loss(*self._forward(batch), batch, share)

    def _forward(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """Logits of the masked tokens, which alone have some, and last states of all."""
        states = self._encoder.run_unreduced(batch.texts).states
        return masked_token_logits(self.model, states.index_select(0, batch.places)), states

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs."""
        return super().state_dict() | {"measured": self.measured}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        super().load_state_dict(state)
        self.measured = dict(state["measured"])
