"""TriviaQA over Wikipedia: questions with whole articles as evidence, and many ways to write the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from trbert_env.data.columns import Schema
from trbert_env.data.faults import BadRecordError, Faults
from trbert_env.data.files import value_of
from trbert_env.data.hub import Hub
from trbert_env.data.json_items import items_of
from trbert_env.data.kinds import ListOf, Struct, Text
from trbert_env.data.making import LeftOutError, Maker, Note
from trbert_env.data.normalisation import trivia_normal
from trbert_env.data.occurrences import AnswerFinder
from trbert_env.data.passage_ranker import PassageRanker
from trbert_env.data.passages import Passage, arranged, joined_documents
from trbert_env.data.readers.base import Reader, first_folder, told
from trbert_env.data.records import MRQA
from trbert_env.data.rows import Place, Rows
from trbert_env.data.source_kinds import Nested, each

#: Words of evidence that a record has unless told otherwise: about 5,000 wordpieces.
MAX_WORDS = 4096
_FILES = {"train": "wikipedia-train.json", "validation": "wikipedia-dev.json"}
_VERIFIED = "verified-wikipedia-dev.json"
_COLUMNS = {
    "question_id": Text(),
    "question": Text(),
    "answer": Struct({"value": Text(nullable=True), "aliases": ListOf(Text()), "normalized_aliases": ListOf(Text())}),
    "entity_pages": Nested(("wiki_context",)),
}

#: Gives the evidence of a question, of which some may be missing.
Documents = Callable[[Mapping[str, Any]], list[str | None]]


@dataclass(frozen=True)
class _Cut:
    """How much of the evidence a record has, and in which order.

    Attributes:
        ranking: The file of a passage ranker; None for the order of the documents.
        max_words: The most words; None for all.
    """

    ranking: str | None
    max_words: int | None

    @cached_property
    def ranker(self) -> PassageRanker | None:
        """The ranker, read when it is first needed."""
        return None if self.ranking is None else PassageRanker.load(Path(self.ranking).expanduser())

    def passages(self, question: str, context: str) -> list[Passage]:
        """The passages of a context in their order; all of it in one where nothing ranks them."""
        return self.ranker.ordered(question, context) if self.ranker else [Passage(0, len(context), 0)]


def _record(
    training: bool, cut: _Cut, documents_of: Documents, question: Mapping[str, Any], note: Note
) -> dict[str, Any]:
    key = value_of(question, "question_id", str, "the question")
    text = value_of(question, "question", str, "the question")
    golds, wanted = _answers(value_of(question, "answer", dict, "the question"))
    documents = documents_of(question)
    evidence = joined_documents(document or "" for document in documents)
    if not evidence:
        problem = ": none of its evidence files is there with text in it: unpack evidence/wikipedia whole"
        raise BadRecordError("without evidence", problem)
    if not all(document and document.strip() for document in documents):
        note("of whose evidence files some are missing or empty (the others are read)")
    context = arranged(evidence, cut.passages(text, evidence), cut.max_words)
    spans = AnswerFinder(wanted).find_in_lines(context)
    if training and not spans:
        raise LeftOutError("without an alias of the answer in what is read of the evidence")
    return {
        "id": key,
        "context": context,
        "question": text,
        "answers": {
            "text": [context[start:end] for start, end in spans],
            "answer_start": [start for start, _ in spans],
        },
        "aliases": golds,
        "group": key,
    }


def _answers(answer: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The right answers by the metric, and the ways to write them that are looked for in the evidence."""
    human = _texts(answer, "human_answers")
    golds = list(dict.fromkeys([*_texts(answer, "normalized_aliases"), *human]))
    if not golds:
        problem = ": the question has no aliases, as in the test files: give train and dev, or leave it out"
        raise BadRecordError("without aliases", problem)
    counted = set(map(trivia_normal, golds))
    given = [*_texts(answer, "aliases"), *([value] if (value := answer.get("value")) else [])]
    written = [text for text in given if isinstance(text, str) and trivia_normal(text) in counted]
    # Normalised, a letter would be found in every "e.g." and every genitive: as it is written, it is found less often.
    letters = {trivia_normal(text) for text in written if len(trivia_normal(text)) == 1}
    return golds, [*(gold for gold in golds if trivia_normal(gold) not in letters), *written]


def _texts(answer: Mapping[str, Any], name: str) -> list[str]:
    texts = answer.get(name) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRecordError(f"with faulty {name}", f": {name} of the answer are {texts!r:.80}: give a list of strings")
    return texts


def _maker(split: str, cut: _Cut, documents_of: Documents) -> Maker:
    return Maker(MRQA, partial(_record, split == "train", cut, documents_of), key="question_id")


def _convert(verified: bool, cut: _Cut, rows: Rows, split: str, faults: Faults) -> Rows:
    if verified and split != "train":
        raise ValueError(f"the columns of the hub do not tell what is verified: put the official qa/{_VERIFIED} there")
    return _maker(split, cut, _of_columns).of_rows(rows, faults)


def _of_columns(question: Mapping[str, Any]) -> list[str | None]:
    return [page["wiki_context"] for page in each(question["entity_pages"])]


def _official(verified: bool, cut: _Cut, folder: Path, split: str, faults: Faults) -> Rows | None:
    only_verified = verified and split != "train"
    name = _VERIFIED if only_verified else _FILES[split]
    root = first_folder(folder, ("triviaqa-rc", "."), f"qa/{name}")
    if root is None:
        return None
    evidence = root / "evidence" / "wikipedia"
    if not evidence.is_dir():
        raise FileNotFoundError(f"{root} has questions but no evidence/wikipedia: unpack triviaqa-rc.tar.gz whole")
    file = root / "qa" / name
    place = Place(str(file), lambda number: f"question {number}")
    return _maker(split, cut, partial(_of_files, evidence)).of_items(_questions(file, only_verified), place, faults)


def _questions(file: Path, only_verified: bool) -> Iterator[tuple[int, Any]]:
    """The questions of an official file under the names that the hub's columns have."""
    for number, question in enumerate(items_of(file, "Data")):
        if not isinstance(question, dict):
            yield number, question
        elif not only_verified or question.get("QuestionPartOfVerifiedEval"):
            names = {"question_id": "QuestionId", "question": "Question"}
            renamed = {name: question.get(official) for name, official in names.items()}
            yield number, {**renamed, "answer": _renamed(question.get("Answer")), "entity_pages": _pages(question)}


def _pages(question: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    pages = question.get("EntityPages")
    return [page for page in pages if isinstance(page, dict)] if isinstance(pages, list) else []


def _renamed(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return answer
    return {
        "value": answer.get("Value"),
        "aliases": answer.get("Aliases"),
        "normalized_aliases": answer.get("NormalizedAliases"),
        "human_answers": answer.get("HumanAnswers"),
    }


def _of_files(evidence: Path, question: Mapping[str, Any]) -> list[str | None]:
    return [_evidence(evidence, page.get("Filename")) for page in question["entity_pages"]]


def _evidence(evidence: Path, name: Any) -> str | None:
    if not isinstance(name, str) or not name or not (evidence / name).is_file():
        return None
    try:
        return (evidence / name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f": {evidence / name} is not UTF-8 ({error.reason}): write it as UTF-8"
        raise BadRecordError("with evidence that is not UTF-8", problem) from error


@told
def triviaqa(ranking: str | None = None, max_words: int | None = MAX_WORDS, verified: bool = False) -> Reader:
    """Return the reader of TriviaQA with Wikipedia's articles as evidence.

    A record's context is the evidence of its question: its documents with a blank line between two, or its passages
    in the order of a ranker, cut behind ``max_words``. Its answers are all places where an alias stands.

    Args:
        ranking: A passage ranker, which gives the passages their order; a file of
            :meth:`~trbert_env.data.passage_ranker.PassageRanker.save`.
        max_words: The most words of a context; None for the whole evidence, which needs gigabytes.
        verified: True to validate on the verified subset, which has a file of its own.

    Raises:
        ValueError: ``max_words`` is less than 1.
    """
    if max_words is not None and max_words < 1:
        raise ValueError(f"max_words is {max_words}: give at least 1, or None for all")
    if ranking is not None and not (file := Path(ranking).expanduser()).is_file():
        raise FileNotFoundError(f"passage ranker {file} does not exist: check its path")
    cut = _Cut(ranking, max_words)
    return Reader(
        name="trivia_qa",
        form=MRQA,
        hub=Hub("mandarjoshi/trivia_qa", "rc.wikipedia"),
        splits={"train": "train", "validation": "validation"},
        columns=Schema("trivia_qa", _COLUMNS, key="question_id"),
        convert=partial(_convert, verified, cut),
        official=partial(_official, verified, cut),
        official_files=f"triviaqa-rc/qa/{_VERIFIED if verified else 'wikipedia-{train,dev}.json'} and "
        "triviaqa-rc/evidence/wikipedia/",
    )
