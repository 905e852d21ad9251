"""Make records of parsed items one by one: malformed items are reported, those that a rule leaves out are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.rows import Place, Rows, rows_of_records

#: Rows that are turned into Python objects at once.
_BATCH = 1024

#: Counts the record at hand, if it is kept, under a kind of oddity, to be read after "3 records".
Note = Callable[[str], None]


class LeftOutError(Exception):
    """A record that a rule of its data set leaves out, which is no fault of the data.

    Attributes:
        kind: Reason that it is left out, to be read after "3 records", such as ``"without a detected answer"``.
    """

    def __init__(self, kind: str) -> None:
        """Keep the kind."""
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Maker:
    """How an item becomes a record.

    Attributes:
        form: The form of the records.
        make: Makes the record of an item; raises :class:`~trbert_env.data.faults.BadRecordError` for a malformed
            one and :class:`LeftOutError` for one to leave out.
        key: The key of an item's id, for messages.
    """

    form: Schema
    make: Callable[[Mapping[str, Any], Note], Mapping[str, Any]]
    key: str = "id"

    def of_items(self, items: Iterable[tuple[int, Any]], place: Place, faults: Faults) -> Rows:
        """Make rows of the items of a file.

        Args:
            items: The number of each item within the place, and the item.
            place: The file.
            faults: Handling of malformed items.

        Raises:
            ValueError: An item is malformed.
        """
        return rows_of_records(self._records(items, place, faults), self.form, place, faults)

    def of_rows(self, rows: Rows, faults: Faults) -> Rows:
        """Make rows of the hub's columns; each becomes one record at most.

        Args:
            rows: The rows.
            faults: Handling of malformed rows.

        Raises:
            ValueError: A row is malformed.
        """
        place = Place(rows.places[0].name, lambda row: rows.where(row)[1])
        made = self.of_items(_numbered(rows), place, faults)
        kept = made.numbers
        return Rows(made.table, rows.places, rows.place_of[kept], rows.numbers[kept])

    def _records(
        self, items: Iterable[tuple[int, Any]], place: Place, faults: Faults
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, item in items:
            named = item.get(self.key) if isinstance(item, Mapping) else None
            at = place.locate(number) + (f", {self.key} {named!r}" if named else "")
            try:
                if not isinstance(item, Mapping):
                    raise BadRecordError("that are not JSON objects", ": not a JSON object: write {...}")
                notes: list[str] = []
                record = self.make(item, notes.append)
                for kind in notes:  # of records that are kept alone
                    faults.note(place.name, at, kind)
                yield number, record
            except BadRecordError as fault:
                faults.report(place.name, at, fault.kind, fault.problem)
            except LeftOutError as left_out:
                faults.leave_out(place.name, at, left_out.kind)


def _numbered(rows: Rows) -> Iterator[tuple[int, dict[str, Any]]]:
    first = 0
    for batch in rows.table.to_batches(max_chunksize=_BATCH):
        yield from enumerate(batch.to_pylist(), first)
        first += len(batch)
