"""Choice of a candidate that several passages tell together (WikiHop)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trbert_env.data.records import CANDIDATES, columns
from trbert_env.data.schema import Schema
from trbert_env.encoder.packing import Layout, segment_starts
from trbert_env.tasks.base import EncodedText
from trbert_env.tasks.by_text import divergence_by_text
from trbert_env.tasks.candidate_metrics import candidate_metrics, scores_of_choices
from trbert_env.tasks.encoding import Ids
from trbert_env.tasks.markers import marker_ids
from trbert_env.tasks.reading import OwnField, TokenNotes, lines_of, no_tokens
from trbert_env.tasks.slices import cut_into_slices
from trbert_env.tasks.text_encoding import SequenceEncoder
from trbert_env.tasks.token_task import TokenTask
from trbert_env.tasks.varied import VariedTexts

#: Records whose supports are held in memory at once.
_BATCH = 1000


@dataclass
class CandidateQA(TokenTask):
    """Scores each candidate at the marker before it: ``[CLS] query (marker candidate)* [SEP] (marker support)* [SEP]``.

    Query and candidates stand in every slice; a candidate's score is the mean over the slices (TR-BERT, section 4.1).
    A marker that stopped early is read where it stopped, as any token is.

    Attributes:
        max_tokens: The most tokens of a sequence, special tokens included.
        max_slices: The most sequences of a text: what fits none of them is cut.
        query_share: Share of a sequence that query and candidates may take where the supports need the rest. Beyond it
            candidates are cut evenly, by which the right one may no longer be told from others; so is a query that
            leaves them less than half of it.
    """

    part_names: ClassVar[tuple[str, str]] = ("query", "support")
    own_fields: ClassVar[tuple[OwnField, ...]] = (
        OwnField("query", "Query", lines=1),
        OwnField("candidates", "Candidates", "one a line", lines=4, plain=False),
        OwnField("supports", "Supporting passages", "one a line", plain=False),
    )

    max_tokens: int = 512
    max_slices: int = 2
    query_share: float = 0.75

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A value is out of range.
        """
        if self.max_tokens < 16 or self.max_slices < 1:
            raise ValueError(
                f"max_tokens is {self.max_tokens} and max_slices {self.max_slices}: give at least 16 and 1"
            )
        if not 0 < self.query_share < 1:
            raise ValueError(f"query_share is {self.query_share}: give a share between 0 and 1")

    @property
    def outputs(self) -> tuple[str, ...]:
        """One score."""
        return ("score",)

    @property
    def max_text_tokens(self) -> int:
        """Tokens of all slices."""
        return self.max_tokens * self.max_slices

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Accuracy."""
        return ("accuracy",)

    def encode(
        self, records: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool = False
    ) -> Sequence[EncodedText]:
        """Make one text of each query; it is encoded when it is asked for.

        Args:
            records: Columns ``id, query, candidates, supports, answer``.
            tokenizer: A fast tokenizer.
            training: True to put the supports in another order in each pass.

        Raises:
            ValueError: An answer is none of the candidates, a query has no supports, or the candidates of one do not
                fit.
        """
        for key, candidates, answer in zip(*columns(records, "id", "candidates", "answer"), strict=True):
            if not 0 <= answer < len(candidates):
                raise ValueError(f"query {key!r} has the answer {answer} of {len(candidates)} candidates: count from 0")
        _check_supports(records)
        plain, encoder = records.with_format(None), SequenceEncoder(tokenizer, self.max_tokens)
        self._check_fitting(plain, encoder)
        make = partial(self._text, plain, encoder, marker_ids(tokenizer))
        return VariedTexts(len(records), make, varied=training)

    def _text(
        self,
        records: Dataset,
        encoder: SequenceEncoder,
        markers: tuple[int, int],
        index: int,
        order: np.random.Generator | None,
    ) -> EncodedText:
        row = records[index]
        supports = [_marked(markers[1], encoder.ids(support)) for support in row["supports"]]
        if order is not None:
            supports = [supports[place] for place in order.permutation(len(supports))]
        body = np.concatenate(supports)
        ids, query, most = self._candidates(row, encoder, len(body))
        pieces = [query, *(_marked(markers[0], candidate[:most]) for candidate in ids)]
        places = np.cumsum([len(piece) for piece in pieces])[:-1].astype(np.int64)
        query = np.concatenate(pieces)
        sliced = cut_into_slices(query, body, encoder.frame, self.max_tokens, self.max_slices)
        marks = (sliced.starts[:, None] + places).flatten()
        which = np.tile(np.arange(len(places)), len(sliced.starts))
        target = np.stack([which, marks, which == row["answer"]], 1).astype(np.int64)
        return EncodedText(row["id"], sliced.input_ids, sliced.token_type_ids, sliced.lengths, target)

    def cut_queries(self, records: Dataset, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return how many queries have candidates that are cut, so that some may no longer be told apart.

        Args:
            records: Columns ``id, query, candidates, supports``.
            tokenizer: A fast tokenizer.

        Raises:
            ValueError: The candidates of a query do not fit.
        """
        encoder = SequenceEncoder(tokenizer, self.max_tokens)
        count = 0
        for row in records.with_format(None):
            ids, _, most = self._candidates(row, encoder, _body_tokens(row, encoder))
            count += most < max(map(len, ids))
        return count

    def _check_fitting(self, records: Dataset, encoder: SequenceEncoder) -> None:
        """Refuse queries whose candidates leave no room; those with few enough are not looked at.

        Raises:
            ValueError: There is such a query.
        """
        special = len(encoder.frame)
        fewest = self._head_tokens(special, self.max_tokens)
        for place, candidates in enumerate(columns(records, "candidates")[0]):
            room = fewest - len(candidates)
            if len(candidates) > room - room // 2:  # a query is cut to half of the room
                row = records[place]
                self._candidates(row, encoder, _body_tokens(row, encoder))

    def _candidates(self, row: Mapping[str, Any], encoder: SequenceEncoder, body: int) -> tuple[list[Ids], Ids, int]:
        """Token ids of a query's candidates, the query as it is read, and the most tokens of a candidate that are.

        Args:
            row: Columns ``id, query, candidates``.
            encoder: Tokenizer of the sequences.
            body: Tokens of the supports.

        Raises:
            ValueError: The candidates do not fit.
        """
        ids = [encoder.ids(candidate) for candidate in row["candidates"]]
        most = self._head_tokens(len(encoder.frame), body)
        return ids, *self._fitting(row["id"], encoder.ids(row["query"].lstrip()), ids, most)

    def _head_tokens(self, special: int, body: int) -> int:
        """The most tokens of query and candidates, beside so many special tokens and tokens of supports."""
        left = self.max_tokens - special - body
        # A support must have a token beside them, whatever their share is.
        return min(max(int(self.max_tokens * self.query_share), left), self.max_tokens - special - 1)

    def _fitting(self, key: str, query: Ids, candidates: Sequence[Ids], most_tokens: int) -> tuple[Ids, int]:
        """The query as it is read, and the most tokens of a candidate that are."""
        lengths = [*map(len, candidates)]
        room = most_tokens - len(candidates)
        # Of few tokens a candidate can still be told from others, but a query asks nothing any more.
        query = query[: max(room // 2, room - sum(lengths), 0)]
        most = even_cut(lengths, room - len(query))
        if most < 1:
            raise ValueError(
                f"query {key!r} has {len(candidates)} candidates, which leave no room in {self.max_tokens} tokens: "
                "let sequences be longer (max_tokens), or leave it out"
            )
        return query, most

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        """Log-probability of the right candidate among those of its text.

        Args:
            logits: ``(total_tokens, 1)``.
            layout: The layout of the full texts.
            targets: ``(num_texts, most markers, 3)`` int64: candidate, place of its marker in the text, and 1 for the
                right candidate, else 0; filled with -1.

        Returns:
            ``(num_texts,)`` float32, in nats.
        """
        scores, _ = _scores(logits, layout, targets)
        right = targets[:, :, 2].to(logits.device) == 1
        gold = (targets[:, :, 0].to(logits.device) * right).amax(1, keepdim=True)
        return scores.log_softmax(1).gather(1, gold).squeeze(1)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """KL(teacher || student) over the candidates; see :meth:`Task.divergence`."""
        student, real = _scores(logits / temperature, layout, targets)
        teacher, _ = _scores(teacher_logits.detach() / temperature, layout, targets)
        return divergence_by_text(student.log_softmax(1), teacher.log_softmax(1), real) * temperature**2

    def predict(
        self, texts: Sequence[EncodedText], logits: Sequence[npt.NDArray[np.float32]], records: Dataset
    ) -> dict[str, int]:
        """The index of the candidate with the largest score, for every query.

        Raises:
            ValueError: There are not as many logits as texts, or logits are NaN.
        """
        if len(texts) != len(logits):
            raise ValueError(f"{len(texts)} texts but {len(logits)} arrays of logits: give one for each text")
        (ids,) = columns(records, "id")
        return {key: _best(text, values) for key, text, values in zip(ids, texts, logits, strict=True)}

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        """Accuracy from 0 to 100.

        Raises:
            ValueError: There is no query.
        """
        return candidate_metrics(predictions, dict(zip(*columns(records, "id", "answer"), strict=True)))

    def record_scores(self, predictions: Mapping[str, Any], records: Dataset) -> npt.NDArray[np.float64]:
        """Return 100 where the right candidate is chosen, else 0; see :meth:`Task.record_scores`."""
        return scores_of_choices(predictions, records)

    def notes(
        self,
        text: EncodedText,
        logits: npt.NDArray[np.float32],
        record: Mapping[str, Any],
        prediction: Any,
        tokenizer: PreTrainedTokenizerBase,
    ) -> TokenNotes:
        """Tell query, candidates and supports apart, and mark the candidates that are right and chosen.

        See :meth:`Task.notes`.
        """
        parts = list(super().notes(text, logits, record, prediction, tokenizer).parts)
        gold, predicted = no_tokens(text), no_tokens(text)
        which, places, right = text.target.T.tolist()
        for number, place, is_right, following in zip(which, places, right, [*places[1:], len(text)], strict=True):
            # The last candidate of a slice ends with its segment, any other where the next marker stands.
            end = next((stop for stop in range(place, following) if parts[stop] == "support"), following)
            end -= end < following
            parts[place:end] = ["candidate"] * (end - place)
            gold[place:end], predicted[place:end] = bool(is_right), number == prediction
        return TokenNotes(tuple(parts), gold, predicted)

    def gold_answer(self, record: Mapping[str, Any]) -> str:
        """Return the right candidate."""
        return str(record["candidates"][record["answer"]])

    def told_answer(self, prediction: Any, record: Mapping[str, Any]) -> str:
        """Return the chosen candidate."""
        return str(record["candidates"][prediction])

    @property
    def own_form(self) -> Schema:
        """WikiHop's; see :meth:`Task.own_records`."""
        return CANDIDATES

    def own_row(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Return a query with candidates and supports; see :meth:`Task.own_row`."""
        lists = {name: lines_of(values[name]) for name in ("candidates", "supports")}
        return {"query": values["query"], **lists, "answer": 0}


def _check_supports(records: Dataset) -> None:
    """Refuse queries without supports; texts are long, so that a batch of them is looked at once.

    Raises:
        ValueError: A query has none.
    """
    for batch in records.select_columns(["id", "supports"]).with_format("arrow").iter(_BATCH):
        row = pc.index(pc.fill_null(pc.list_value_length(batch.column("supports")), 0), 0).as_py()
        if row >= 0:
            key = batch.column("id")[row].as_py()
            raise ValueError(f"query {key!r} has no supports: fill them in or leave it out")


def even_cut(lengths: Sequence[int], room: int) -> int:
    """Return the largest length at which texts of these lengths can be cut to fit a room together; 0 for none.

    Example:
        >>> even_cut([2, 9, 5], 12), even_cut([2, 9, 5], 16), even_cut([4, 4], 1)
        (5, 9, 0)
    """
    if sum(lengths) <= room:
        return max(lengths, default=0)
    low, high = 0, max(lengths)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(min(length, middle) for length in lengths) <= room else (low, middle)
    return low


def _body_tokens(row: Mapping[str, Any], encoder: SequenceEncoder) -> int:
    """Tokens of the supports, each with its marker."""
    return sum(1 + len(encoder.ids(support)) for support in row["supports"])


def _marked(marker: int, ids: Ids) -> Ids:
    return np.concatenate([np.array([marker], dtype=np.int32), ids])


def _scores(logits: Tensor, layout: Layout, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``(num_texts, most candidates)`` float32 mean scores, minus infinity where there is none, and which are real."""
    targets = targets.to(logits.device)
    which, places, marked = targets[:, :, 0], targets[:, :, 1], targets[:, :, 0] >= 0
    index = segment_starts(layout.text_lengths).to(logits.device)[:, None] + places.clamp(min=0)
    found = logits.float().squeeze(1)[index] * marked
    shape = (len(targets), int(which.max()) + 1)
    sums = torch.zeros(shape, device=logits.device).scatter_add(1, which.clamp(min=0), found)
    counts = torch.zeros(shape, device=logits.device).scatter_add(1, which.clamp(min=0), marked.float())
    real = counts > 0
    return (sums / counts.clamp(min=1)).masked_fill(~real, -torch.inf), real


def _best(text: EncodedText, logits: npt.NDArray[np.float32]) -> int:
    """The candidate of the largest mean score."""
    if np.isnan(logits).any():
        raise ValueError("logits are NaN: the model's weights or its number format are at fault")
    which, places = text.target[:, 0], text.target[:, 1]
    sums = np.bincount(which, weights=logits[places, 0])
    return int((sums / np.bincount(which)).argmax())
