"""The domains of the fact tables, and what their kinds of values have in common."""

from __future__ import annotations

from trbert_env.data.embedded.culture import MUSEUM, NOVEL, ORCHESTRA
from trbert_env.data.embedded.people import CLUB, EXPEDITION, SCIENTIST
from trbert_env.data.embedded.places import BRIDGE, CITY, RIVER
from trbert_env.data.embedded.schema import Domain
from trbert_env.data.embedded.ventures import COMPANY, SHIP, SPACECRAFT

DOMAINS: tuple[Domain, ...] = (
    SCIENTIST, NOVEL, ORCHESTRA, CLUB, RIVER, CITY, BRIDGE, MUSEUM, COMPANY, EXPEDITION, SPACECRAFT, SHIP
)  # fmt: skip

#: Kinds of values that look alike; every other kind is a family of its own.
_FAMILIES = {
    "early_year": "year",
    "late_year": "year",
    "charter_year": "year",
    "launch_date": "date",
    "silence_date": "date",
}


def family(kind: str) -> str:
    """Return the name that kinds of values share if a reader cannot tell their values apart.

    Example:
        >>> family("charter_year"), family("early_year"), family("place")
        ('year', 'year', 'place')
    """
    return _FAMILIES.get(kind, kind)
