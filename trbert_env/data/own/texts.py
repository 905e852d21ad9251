"""Own labelled or scored texts: sentiment, topics, relevance of passages to queries."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trbert_env.data.checking import conforming
from trbert_env.data.columns import Schema
from trbert_env.data.faults import Faults
from trbert_env.data.kinds import Text
from trbert_env.data.own.files import OwnFiles
from trbert_env.data.own.guesses import (
    GROUPS,
    IDS,
    LABELS,
    QUERY_ID,
    RARER_LABELS,
    announced,
    check_apart,
    chosen,
    found,
    matching,
    named_role,
    text_columns,
)
from trbert_env.data.own.labels import (
    LABEL_KINDS,
    LabelKind,
    Labels,
    are_relevances,
    understood,
    warn_of_one_value,
    warn_of_single_examples,
    warn_of_whole_scores,
)
from trbert_env.data.own.reader import OwnReader, OwnSplit, ids_of, whole
from trbert_env.data.own.tables import ColumnRequest, Table
from trbert_env.data.records import LABELLED_TEXT, SCORED_TEXT
from trbert_env.data.rows import Rows
from trbert_env.data.rules import blank
from trbert_env.data.sampling import GROUP

_FILL = "fill it in or leave the row out"


class _Columns(NamedTuple):
    text: str
    text_pair: str | None
    label: str
    id: str | None
    group: str | None

    def grouped(self, labels: Labels, ranking: bool) -> bool:
        """Tell whether records have a group: a column of its own, or the first text of scored or ranked pairs."""
        return self.group is not None or (self.text_pair is not None and (ranking or labels.kind == "scores"))


@dataclass(frozen=True)
class TextClassification(OwnReader):
    """Reads own texts, or pairs of texts, with labels or scores.

    Columns that are not named are guessed by their names, which :attr:`OwnSplit.origin` says. Records that have
    no id are numbered: ``<file>:<row>``, or ``<file>:<line>`` for JSON lines. Records of one group stay together in
    samples and parts; scored pairs are grouped by their query.

    Attributes:
        files: Files of the data.
        text: The column of the text, or None to guess.
        text_pair: The column of the second text; ``""`` for none.
        label: The column of the label.
        id: The column of the id; ``""`` to number the records.
        group: The column that tells the group; ``""`` for none. It is guessed where candidates are ranked, and
            nowhere else, for it changes how data are divided. Scored or ranked pairs without one have their first
            text as group.
        label_kind: ``"class"`` or ``"score"``; by default, strings and integers are classes, and other
            numbers are scores.
        ranking: True where the candidates of a query are ranked: labels of 0 and 1 are then scores by default.

    Raises:
        ValueError: ``label_kind`` is unknown.

    Example:
        >>> reader = TextClassification(OwnFiles("reviews.csv"), text="review", label="stars")
        >>> reader.name
        'reviews'
    """

    files: OwnFiles
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    id: str | None = None
    group: str | None = None
    label_kind: LabelKind = "auto"
    ranking: bool = False
    _told: list[Labels] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the kind of labels."""
        if self.label_kind not in LABEL_KINDS:
            raise ValueError(f"label_kind is {self.label_kind!r}: choose from {', '.join(LABEL_KINDS)}")

    @property
    def name(self) -> str:
        """The name of the file or data set."""
        return self.files.name

    def read(self, split: str, faults: Faults) -> OwnSplit:
        """Read a split; see :meth:`OwnReader.read`."""
        table, is_part = self.files.table(split)
        columns = self._columns(table)
        check_apart(table, columns._asdict())
        names = dict.fromkeys(column for column in columns if column is not None)
        required = dict.fromkeys((column for column in columns[:2] if column is not None), _FILL)
        raw = whole(table, ColumnRequest(list(names), required), faults)
        labels = self._labels(table, raw)
        rows = _records(raw, table, columns, labels, self.ranking, faults)
        if is_part:
            rows = self.files.part(rows, split)
        given = {name: getattr(self, name) for name in columns._fields}
        origin = (
            f"{table.name}{self.files.said(split, is_part)}: {announced(table, columns._asdict(), given)}; {labels}"
        )
        form = form_of(labels, columns.grouped(labels, self.ranking))
        return OwnSplit(rows, form, self.files.source, origin, labels.names)

    def _columns(self, table: Table) -> _Columns:
        ids: tuple[str, ...] = IDS
        groups: tuple[str, ...] = GROUPS
        if self.ranking:  # the candidates of a query share its id
            ids, groups = tuple(name for name in IDS if name != QUERY_ID), (*GROUPS, QUERY_ID)
        labels = LABELS if matching(table, LABELS) else RARER_LABELS
        others = {self.label, self.id, self.group}.union(*(matching(table, names) for names in (labels, ids, groups)))
        text, text_pair = text_columns(table, self.text, self.text_pair, others)
        if self.ranking and text_pair is None and self.text_pair is None:
            raise ValueError(
                f"{table.name}: candidates of a query are pairs, and the column of their second texts cannot be told: "
                f"name it with --columns text_pair=NAME; {found(table)}"
            )
        label = chosen(table, "label", self.label, labels)
        assert label is not None
        key = chosen(table, "id", self.id, ids, required=False)
        # Elsewhere a column "group" may be anything.
        group = chosen(table, "group", self.group, groups if self.ranking else (), required=False)
        return _Columns(text, text_pair, label, key, group)

    def _labels(self, table: Table, raw: Rows) -> Labels:
        """What the labels of the training data are, told once."""
        main = self.files.main
        if not self._told:
            column = self._columns(main).label
            rows = raw if table is main else whole(main, ColumnRequest([column]), Faults(skip=True))
            relevances = self.ranking and self.label_kind == "auto" and are_relevances(rows.table.column(column))
            self._told.append(understood(rows, column, main, "score" if relevances else self.label_kind))
            warn_of_single_examples(rows, column, main, self._told[0])
            warn_of_one_value(rows, column, main)
            if self.label_kind == "auto" and not relevances:
                warn_of_whole_scores(rows, column, main, self._told[0])
            self._warn_of_candidates(main, rows.table.column(column))
        return self._told[0]

    def _warn_of_candidates(self, table: Table, labels: pa.ChunkedArray) -> None:
        """Warn of what looks like a reranker's data and is not measured as such."""
        if self.ranking or self.label_kind == "class" or self._columns(table).text_pair is None:
            return
        named = matching(table, (*GROUPS[1:], QUERY_ID))
        if not named or not are_relevances(labels):
            return
        warnings.warn(
            f"{table.name}: pairs with labels of 0 and 1 and a column {named[0]!r} look like candidates of queries: "
            "--task-options ranking=true measures them by nDCG, and not by accuracy",
            stacklevel=2,
        )


def _records(rows: Rows, table: Table, columns: _Columns, labels: Labels, ranking: bool, faults: Faults) -> Rows:
    """Make records of the columns, and leave out what is malformed."""
    rows, values = labels.conform(rows, columns.label, faults)
    raw, has_pair = rows.table, columns.text_pair is not None
    pairs = raw.column(columns.text_pair) if has_pair else pa.nulls(len(rows), pa.string())
    ids = ids_of(rows, table, columns.id)
    form = form_of(labels, columns.grouped(labels, ranking))
    groups = {GROUP: _as_text(raw.column(columns.group or columns.text))} if GROUP in form.columns else {}
    texts = {"text": raw.column(columns.text), "text_pair": pairs}
    rows = rows.with_columns({"id": ids, **texts, "label": values, **groups})
    # Either all records have a second text or none has. Ids are looked at later, over all files.
    kinds = {**form.columns, "id": Text(), "text_pair": Text(nullable=not has_pair)}
    rows = conforming(rows, Schema(form.name, kinds), faults)
    for name, column in (("text", columns.text), ("text_pair", columns.text_pair), (GROUP, columns.group)):
        if column is not None:
            rows = _filled(rows, name, column, faults)
    return rows


def _as_text(groups: pa.ChunkedArray) -> pa.ChunkedArray:
    """Groups as strings: they may be counted."""
    return groups.cast(pa.string()) if pa.types.is_integer(groups.type) else groups


def form_of(labels: Labels, grouped: bool = False) -> Schema:
    """Return the form of texts with such labels.

    Args:
        labels: Kind and names of the labels.
        grouped: True if they have a group.
    """
    form = SCORED_TEXT if labels.kind == "scores" else LABELLED_TEXT
    return Schema(form.name, {**form.columns, GROUP: Text()}) if grouped else form


def _filled(rows: Rows, name: str, column: str, faults: Faults) -> Rows:
    """The rows whose value is not blank; the others are reported, by the name of the column in the file."""
    kept = np.ones(len(rows), np.bool_)
    for row in blank(rows.table.column(name)):
        origin, at = rows.where(row)
        problem = f" has an empty {named_role(name, column)}: fill it in or leave the row out"
        faults.report(origin, at, f"with an empty {name}", problem)
        kept[row] = False
    return rows.keep(kept)
