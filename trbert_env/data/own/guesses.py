"""Tell which column of a table plays which role, by its name; every guess is announced, and doubt is an error."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trbert_env.data.own.tables import Table
from trbert_env.suggestions import nearest_name

#: The option that names columns of labelled data.
COLUMNS = "--columns"

#: Names of first and second texts that belong together.
PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("question", "passage"),
)
TEXTS = (
    "text",
    "sentence",
    "sentence1",
    "review",
    "content",
    "body",
    "comment",
    "tweet",
    "message",
    "query",
    "premise",
)
#: First texts that seldom stand alone.
HALVES = frozenset(first for first, _ in PAIRS) - {"text"}
LABELS = (
    "label", "labels", "class", "category", "target", "relevance", "score", "stars", "rating", "sentiment",
    "gold_label",
)  # fmt: skip
#: Names of labels where there is none of the others.
RARER_LABELS = ("relevant", "is_relevant")
#: The id of a record, or of the query whose candidates are ranked.
QUERY_ID = "qid"
IDS = ("id", "guid", "idx", QUERY_ID, "uid")
GROUPS = ("group", "query_id", "group_id")
QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph", "document", "article", "text")
ANSWERS = ("answers", "answer_text", "answer")
STARTS = ("answer_start", "start")
OPTIONS = ("options", "choices", "candidates")
CHOSEN = ("answer", "label", "correct", "target")


def chosen(
    table: Table,
    role: str,
    given: str | None,
    guesses: Sequence[str],
    required: bool = True,
    option: str = COLUMNS,
) -> str | None:
    """Return the column that plays a role.

    Args:
        table: The data.
        role: The role, as the argument that names it is called, such as ``"label"``.
        given: The name that the user gave; ``""`` says that no column plays the role, None lets guess.
        guesses: Names that are guessed; the first wins over the others.
        required: True if the role must be played.
        option: The option that names columns, for messages.

    Returns:
        The name of the column; None if the role is not played.

    Raises:
        ValueError: The named column is not there, or no column or several columns may play the role.
    """
    if given == "":
        if required:
            raise ValueError(f"{table.name}: {option} {role}= names no column, and one is needed: {found(table)}")
        return None
    if given:
        return present(table, role, given, option)
    fitting = matching(table, guesses)
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and not required:
        return None
    what = f"may be {' or '.join(map(repr, fitting))}" if fitting else "cannot be told"
    raise ValueError(f"{table.name}: the column for {role} {what}: name it with {option} {role}=NAME; {found(table)}")


def matching(table: Table, guesses: Sequence[str]) -> list[str]:
    """Return the columns that a role may be played by; just one if it has the role's own name.

    Args:
        table: The data.
        guesses: Names, in lower case; the first is the role's own.
    """
    fitting = [column for column in table.columns if column.lower() in guesses]
    exact = [column for column in fitting if column.lower() == guesses[0]]
    return exact if len(exact) == 1 else fitting


def present(table: Table, role: str, given: str, option: str = COLUMNS) -> str:
    """Return a column that the user named.

    Args:
        table: The data.
        role: The role that it plays.
        given: Its name.
        option: The option that names columns, for messages.

    Raises:
        ValueError: It is not there, or comes twice.
    """
    count = table.columns.count(given)
    if count != 1:
        problem = "has no column" if count == 0 else "has more than one column"
        near = nearest_name(given, table.columns) if count == 0 else None
        hint = "" if near is None else f"did you mean {near!r}? "
        raise ValueError(f"{table.name} {problem} {given!r}, which {option} {role}= names: {hint}{found(table)}")
    return given


def found(table: Table) -> str:
    """Return the columns of a table, for messages.

    Args:
        table: The data.
    """
    return f"its columns are {', '.join(table.columns) or 'none'}"


def text_columns(
    table: Table,
    text: str | None,
    text_pair: str | None,
    others: Collection[str | None] = (),
    option: str = COLUMNS,
) -> tuple[str, str | None]:
    """Return the columns of the first and the second text; the second may be missing.

    Args:
        table: The data.
        text: The name that the user gave for the first, or None to guess.
        text_pair: The same for the second; ``""`` says that there is none.
        others: Columns that play or may play other roles.
        option: The option that names columns, for messages.

    Raises:
        ValueError: A named column is not there, or no column or several columns may be the text.
    """
    by_lower = {column.lower(): column for column in table.columns}
    pairs = [
        (by_lower[first], by_lower[second])
        for first, second in PAIRS
        if first in by_lower
        and second in by_lower
        and text in (None, by_lower[first])
        and text_pair in (None, by_lower[second])
    ]
    if text_pair != "" and not (text and text_pair):
        alone = "text" in by_lower and text is None and not any("text" in pair for pair in pairs)
        if len(pairs) == 1 and not alone:
            return pairs[0]
        if pairs:
            doubt = " or ".join([*(f"{first} and {second}" for first, second in pairs), *(["text"] if alone else [])])
            raise ValueError(
                f"{table.name}: the texts may be {doubt}: "
                f"name them with {option} text=NAME text_pair=NAME; {found(table)}"
            )
    first = chosen(table, "text", text, TEXTS, option=option)
    if first is None:
        raise ValueError(f"{table.name}: a text is needed: name its column with {option} text=NAME; {found(table)}")
    left = [column for column in table.columns if column != first and column not in others]
    if text is None and text_pair is None and first.lower() in HALVES and left:
        raise ValueError(
            f"{table.name}: {first!r} is the first of two texts by its name: name the second with "
            f"{option} text_pair=NAME, or say with {option} text_pair= that there is none; {found(table)}"
        )
    return first, present(table, "text_pair", text_pair, option) if text_pair else None


def named_role(role: str, column: str) -> str:
    """Return a role for messages, with the name of its column where that is another one.

    Args:
        role: The role.
        column: The column that plays it.

    Example:
        >>> named_role("text", "text"), named_role("text", "body")
        ('text', "text (column 'body')")
    """
    return role if role == column else f"{role} (column {column!r})"


def announced(table: Table, columns: dict[str, str | None], given: dict[str, str | None]) -> str:
    """Return one phrase on how columns were understood, and which were not read.

    Args:
        table: The data.
        columns: The column of each role.
        given: Names that the user gave.

    Returns:
        Text such as ``"text is column 'review' (guessed), label is column 'stars', not read: 'time', 'user'"``.
    """
    phrases = [
        f"{role} is column {column!r}{'' if given.get(role) else ' (guessed)'}"
        for role, column in columns.items()
        if column is not None
    ]
    unread = [repr(column) for column in table.columns if column not in columns.values()]
    return ", ".join([*phrases, *([f"not read: {', '.join(unread)}"] if unread else [])])


#: Roles that a column may play beside another one.
_SHARED = ("id", "group")


def check_apart(table: Table, columns: dict[str, str | None], option: str = COLUMNS) -> None:
    """Refuse a column that plays two roles, as text and label: nothing would be learned from it.

    Args:
        table: The data.
        columns: The column of each role.
        option: The option that names columns, for messages.

    Raises:
        ValueError: There is one.
    """
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if column is None or role in _SHARED:
            continue
        if (other := roles.setdefault(column, role)) != role:
            raise ValueError(
                f"{table.name}: {other} and {role} are one column, {column!r}: "
                f"name another with {option} {role}=NAME; {found(table)}"
            )
