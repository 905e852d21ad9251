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
    """

    skip: bool = False
    skippable: bool = True
    _counts: dict[str, dict[str, _Count]] = field(default_factory=dict)

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
        counts = self._counts.setdefault(origin, {})
        if kind in counts:
            counts[kind].number += 1
        else:
            counts[kind] = _Count(at)

    @property
    def counts(self) -> dict[str, int]:
        """Records that were left out, by kind of fault, over all origins."""
        totals: dict[str, int] = {}
        for counts in self._counts.values():
            for kind, count in counts.items():
                totals[kind] = totals.get(kind, 0) + count.number
        return totals

    @property
    def summary(self) -> str:
        """One line on what was left out, or nothing."""
        origins = [self._of_origin(origin) for origin in self._counts]
        more = len(origins) - _NAMED_ORIGINS
        return "; ".join([*origins[:_NAMED_ORIGINS], *([f"and some of {more} more files"] if more > 0 else [])])

    def _of_origin(self, origin: str) -> str:
        counts = self._counts[origin]
        total = sum(count.number for count in counts.values())
        kinds = ", ".join(f"{count.number:,} {kind} (first: {count.first})" for kind, count in counts.items())
        skipped = "record of {} was skipped" if total == 1 else "records of {} were skipped"
        return f"{total:,} {skipped.format(origin)}: {kinds}"
