"""Forms of records: what every reader gives, whatever its files look like, and what tasks encode.

=====================  ============================================================  =========================
form                   columns                                                       given by
=====================  ============================================================  =========================
:data:`SPAN_QA`        id, context, question, answers{text, answer_start}            SQuAD 1.1 and 2.0
:data:`MRQA`           the same, aliases, group                                      NewsQA, NaturalQA, TriviaQA
:data:`MULTI_HOP`      id, question, paragraphs{title, sentences}, answer, kind,     HotpotQA
                       spans{paragraph, start, text},
                       supports{title, sentence}, subset
:data:`CANDIDATES`     id, query, candidates, supports, answer                       WikiHop
:data:`LABELLED_TEXT`  id, text, text_pair, label (a name)                           IMDB, 20NewsGroups
:data:`SCORED_TEXT`    id, text, text_pair, label (a number)                         rerankers, regression
:data:`CHOICES`        id, group, article, question, options, answer                 own multiple choice
:data:`RACE`           the same, subset                                              RACE
=====================  ============================================================  =========================

Records of one ``group`` share a passage or a query: samples and held-out texts keep them together. Records of one
``subset`` are a part of the benchmark that is reported by itself too. Own texts may have a ``group`` besides; that of
scored pairs is the query, of which the second texts are candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import InMemoryTable

from trbert_env.data.kinds import MAX_OFFSET, Integer, ListOf, Real, Struct, Text
from trbert_env.data.schema import Schema
from trbert_env.data.source_kinds import OneOf

#: The column that names the subset of a record.
SUBSET = "subset"

#: What the answer of a multi-hop question is: words of a paragraph, or yes or no.
ANSWER_KINDS = ("span", "yes", "no")

#: Answers are spans of the context, ``answer_start`` in characters; no answer is two empty lists, or null.
SPAN_QA = Schema(
    "span question answering",
    {
        "id": Text(unique=True),
        "context": Text(),
        "question": Text(),
        "answers": Struct(
            {
                "text": ListOf(Text(), optional=True),
                "answer_start": ListOf(Integer(0, MAX_OFFSET), optional=True),
            },
            aligned=True,
            optional=True,
        ),
    },
)

#: ``aliases`` are right answers for the metric, whether or not they stand in the context.
MRQA = Schema("MRQA", {**SPAN_QA.columns, "aliases": ListOf(Text()), "group": Text()})

#: A paragraph's text is its sentences, joined with nothing between them. ``spans`` are the places where the answer
#: stands: the index of a paragraph, and characters of its text; there are none where ``kind`` is yes or no, and there
#: may be none at all. ``supports`` are the sentences that lead to the answer, by the paragraph's title and counted from
#: 0; the metric asks for all of them, even those that no paragraph has. ``subset`` is the type of question, or null.
MULTI_HOP = Schema(
    "multi-hop question answering",
    {
        "id": Text(unique=True),
        "question": Text(),
        "paragraphs": Struct({"title": ListOf(Text()), "sentences": ListOf(ListOf(Text()))}, aligned=True),
        "answer": Text(),
        "kind": OneOf(names=ANSWER_KINDS),
        "spans": Struct(
            {
                "paragraph": ListOf(Integer(0, MAX_OFFSET)),
                "start": ListOf(Integer(0, MAX_OFFSET)),
                "text": ListOf(Text()),
            },
            aligned=True,
        ),
        "supports": Struct({"title": ListOf(Text()), "sentence": ListOf(Integer(0, MAX_OFFSET))}, aligned=True),
        SUBSET: Text(nullable=True),
    },
)

#: ``supports`` are passages that together tell which candidate answers the query; ``answer`` counts the candidates
#: from 0.
CANDIDATES = Schema(
    "choice of a candidate",
    {
        "id": Text(unique=True),
        "query": Text(),
        "candidates": ListOf(Text()),
        "supports": ListOf(Text()),
        "answer": Integer(0, MAX_OFFSET),
    },
)

#: ``text_pair`` is null, or the second of two texts; ``label`` is the name of a class.
LABELLED_TEXT = Schema(
    "labelled text", {"id": Text(unique=True), "text": Text(), "text_pair": Text(nullable=True), "label": Text()}
)

#: ``label`` is a number: 0 or 1 (irrelevant or relevant), or what a regression predicts.
SCORED_TEXT = Schema("scored text", {**LABELLED_TEXT.columns, "label": Real()})

#: ``answer`` counts the options from 0.
CHOICES = Schema(
    "multiple choice",
    {
        "id": Text(unique=True),
        "group": Text(),
        "article": Text(),
        "question": Text(),
        "options": ListOf(Text()),
        "answer": Integer(0, MAX_OFFSET),
    },
)

#: ``subset`` is the kind of school, or null: the embedded corpus has none.
RACE = Schema("RACE", {**CHOICES.columns, SUBSET: Text(nullable=True)})

#: SQuAD as the hub has it; nothing reads the title, so it may be missing.
SQUAD_V2 = Schema("squad_v2", {"id": SPAN_QA.columns["id"], "title": Text(nullable=True), **SPAN_QA.columns})


def columns(records: Dataset, *names: str) -> list[list[Any]]:
    """Return columns of records as lists, in the order of the names."""
    table = records.select_columns(list(names)).with_format("arrow")[:]
    return [table.column(name).to_pylist() for name in names]


def records_of(rows: Sequence[Mapping[str, Any]], form: Schema) -> Dataset:
    """Return rows as records in memory; nothing is written to the cache of ``datasets``.

    Args:
        rows: Values of each record by column.
        form: Form of the records.

    Example:
        >>> rows = [{"id": "0", "text": "A fine film.", "text_pair": None, "label": "pos"}]
        >>> records_of(rows, LABELLED_TEXT)["label"][0]
        'pos'
    """
    schema = pa.schema([(name, kind.type) for name, kind in form.columns.items()])
    # Under a fingerprint of its own: else `datasets` would hash the table for one.
    return Dataset(InMemoryTable(pa.Table.from_pylist(rows, schema=schema)), fingerprint=generate_random_fingerprint())
