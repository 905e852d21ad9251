"""Malformed records: the first one is an error, or all are left out and counted by kind of fault."""

from __future__ import annotations

from dataclasses import dataclass, field

from trbert_env.parameters import Naming, ParameterError

#: The most origins (files) that a summary names.
_NAMED_ORIGINS = 3


class BadRecordError(ValueError):
    """A record that cannot be used, raised by code that does not know where the record stands.

    Attributes:
        kind: The kind of fault, to be read after "3 records", such as ``"without a label"``.
        problem: Fault, and the fix.
    """

    def __init__(self, kind: str, problem: str) -> None:
        """Keep the kind and the problem."""
        super().__init__(problem)
        self.kind = kind
        self.problem = problem


@dataclass
class _Count:
    """How many records of an origin have one kind of fault, and where the first is."""

    first: str
    number: int = 1


#: Origin -> kind of fault -> its count.
_Counts = dict[str, dict[str, _Count]]


@dataclass
class Faults:
    """What becomes of malformed records.

    Attributes:
        skip: True to leave malformed records out and count them; False to raise an error at the first one.
        skippable: True if a user can ask for it by a parameter ``skip_bad_records``, which errors then say.

    Example:
        >>> faults = Faults(skip=True)
        >>> faults.report("train.csv", "line 17", "without a label", ": label is null: fill it in")
        >>> faults.report("train.csv", "line 20", "without a label", ": label is null: fill it in")
        >>> faults.summary
        '2 records of train.csv were skipped: 2 without a label (first: line 17)'
        >>> faults.note("dev.csv", "line 3", "of which a part is missing")
        >>> faults.summary.partition("; ")[2]
        '1 record of dev.csv was read all the same: 1 of which a part is missing (first: line 3)'
    """

    skip: bool = False
    skippable: bool = True
    _counts: _Counts = field(default_factory=dict)
    _noted: _Counts = field(default_factory=dict)

    def report(self, origin: str, at: str, kind: str, problem: str) -> None:
        """Take note of a malformed record.

        Args:
            origin: The file, folder or name on the hub that holds the record.
            at: The place there, such as ``"line 17"``, with the record's id if it is known.
            kind: The kind of fault, to be read after "3 records", such as ``"without a label"``.
            problem: Fault and the fix, with what joins it to the place (``": ..."`` or ``" has ..."``).

        Raises:
            ValueError: Malformed records are not skipped.
        """
        if not self.skip:
            raise ParameterError(lambda name: f"{origin}, {at}{problem}{self._hint(name)}")
        self.leave_out(origin, at, kind)

    def _hint(self, name: Naming) -> str:
        return f"; {name('skip_bad_records')} leaves such records out" if self.skippable else ""

    def leave_out(self, origin: str, at: str, kind: str) -> None:
        """Count a record that is left out by a rule of its data set, which is no error.

        Args:
            origin: The file, folder or name on the hub that holds the record.
            at: The place there.
            kind: Reason that it is left out, to be read after "3 records".
        """
        _add(self._counts, origin, at, kind)

    def note(self, origin: str, at: str, kind: str) -> None:
        """Count a record that is read, but not as it should be.

        Args:
            origin: The file, folder or name on the hub that holds the record.
            at: The place there.
            kind: What is odd about it, to be read after "3 records".
        """
        _add(self._noted, origin, at, kind)

    @property
    def counts(self) -> dict[str, int]:
        """Records that were left out, by kind of fault, over all origins."""
        return _totals(self._counts)

    @property
    def noted(self) -> dict[str, int]:
        """Records that are read, but not as they should be, by kind of oddity, over all origins."""
        return _totals(self._noted)

    @property
    def summary(self) -> str:
        """One line on what was left out, and on what is odd about others; or nothing."""
        return "; ".join([*_told(self._counts, "skipped"), *_told(self._noted, "read all the same")])


def _add(counts: _Counts, origin: str, at: str, kind: str) -> None:
    """Count a record."""
    own = counts.setdefault(origin, {})
    if kind in own:
        own[kind].number += 1
    else:
        own[kind] = _Count(at)


def _totals(counts: _Counts) -> dict[str, int]:
    """The numbers by kind, over all origins."""
    totals: dict[str, int] = {}
    for own in counts.values():
        for kind, count in own.items():
            totals[kind] = totals.get(kind, 0) + count.number
    return totals


def _told(counts: _Counts, what: str) -> list[str]:
    """A phrase on the records of each of the first origins, and one on the others."""
    origins = [_of_origin(origin, own, what) for origin, own in counts.items()]
    more = len(origins) - _NAMED_ORIGINS
    return [*origins[:_NAMED_ORIGINS], *([f"and some of {more} more files"] if more > 0 else [])]


def _of_origin(origin: str, counts: dict[str, _Count], what: str) -> str:
    total = sum(count.number for count in counts.values())
    kinds = ", ".join(f"{count.number:,} {kind} (first: {count.first})" for kind, count in counts.items())
    return f"{total:,} {f'record of {origin} was' if total == 1 else f'records of {origin} were'} {what}: {kinds}"
