"""Classes of tokens: special tokens, punctuation, function words of English, and content words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trbert_env.envs.rendering import Piece, pieces_of
from trbert_env.tasks.markers import MARKERS

SPECIAL, PUNCTUATION, FUNCTION, CONTENT = "special tokens", "punctuation", "function words", "content words"

#: English words of closed classes, and what tokenizers leave of contractions.
_ROWS = (
    "a an the this that these those my your his her its our their whose some any no every each either neither both all",
    "half such what which another other enough much many more most few fewer little less least several own same",
    "i me mine myself you yours yourself yourselves he him himself she hers herself it itself we us ours ourselves",
    "they them theirs themselves who whom one ones oneself someone somebody something anyone anybody anything everyone",
    "everybody everything nobody nothing none there here",
    "of in to for with on at by from up about into over after beneath under above below between among through during",
    "before behind beyond against along across around near off out onto upon within without toward towards until till",
    "since despite except per via than like as amid unlike inside outside throughout beside besides down past lest",
    "and or but nor so yet if because although though while whereas whether unless when where why how whenever",
    "wherever however once",
    "am is are was were be been being do does did done doing have has had having will would shall should can could may",
    "might must ought need dare used",
    "not n never ever also too very just only even still already again then now thus therefore hence else rather quite",
    "perhaps maybe always often",
    "s t d m ll re ve don doesn didn isn aren wasn weren won wouldn shouldn couldn hasn haven hadn ain",
)
FUNCTION_WORDS = frozenset(word for row in _ROWS for word in row.split())


def kinds_of(tokens: Sequence[str], special: Collection[str]) -> list[str]:
    """Return the class of each token: of a word in several pieces, all have that of the whole word.

    Args:
        tokens: The tokens of a text, in order.
        special: Special tokens of the tokenizer.

    Example:
        >>> kinds_of(["[CLS]", "the", "drum", "##mer", "there", "##of", "!", "[SEP]"], {"[CLS]", "[SEP]"})[1:7]
        ['function words', 'content words', 'content words', 'content words', 'content words', 'punctuation']
    """
    kinds: list[str] = []
    word: list[int] = []
    pieces = pieces_of(tokens)

    def close() -> None:
        is_function = "".join(pieces[place].text for place in word).casefold() in FUNCTION_WORDS
        for place in word:
            kinds[place] = FUNCTION if is_function else CONTENT
        word.clear()

    for place, (token, piece) in enumerate(zip(tokens, pieces, strict=True)):
        kind = _alone(token, piece, special)
        if kind is not None or piece.begins:
            close()
        kinds.append(kind or CONTENT)
        if kind is None:
            word.append(place)
    close()
    return kinds


def _alone(token: str, piece: Piece, special: Collection[str]) -> str | None:
    """The class of what is no part of a word; None for a part of one."""
    if token in special or token in MARKERS:
        return SPECIAL
    return None if any(letter.isalnum() for letter in piece.text) else PUNCTUATION
