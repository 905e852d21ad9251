"""TriviaQA over Wikipedia: official files with evidence, the hub's columns, and every odd case of the release."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.passage_ranker import FEATURES, PassageRanker, fit_passage_ranker
from trbert_env.data.readers import triviaqa

MILL = "The Old Mill is a building.\n\nIt stands in Oslo, Norway. Oslo has two mills.\r\nOSLO is big.\n"
TOWN = "Some towns are small.\nIn \u201cOslo\u201d they are not; Oslofjord is a fjord."
ANSWER = {
    "Aliases": ["Oslo", "Oslo, Norway", "Christiania (Oslo)"],
    "MatchedWikiEntityName": "Oslo",
    "NormalizedAliases": ["oslo", "oslo norway", "christiania oslo"],
    "NormalizedValue": "oslo",
    "Type": "WikipediaEntity",
    "Value": "Oslo",
}


def page(name: str | None, **more: Any) -> dict[str, Any]:
    filename = {} if name is None else {"Filename": name}
    return {"DocSource": "TagMe", **filename, "Title": "Old Mill", **more}


def question(key: str = "tc_9", pages: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    base = {
        "Question": "Which city has the old mill?",
        "QuestionId": key,
        "QuestionSource": "http://example.org",
        "EntityPages": [page("Old_Mill.txt"), page("Town.txt")] if pages is None else pages,
        "SearchResults": [],
        "Answer": ANSWER,
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def official(write: Any, name: str, *questions: Any, root: str = "triviaqa-rc", **evidence: Any) -> Path:
    """Write a release: pretty-printed questions, the list first, and the evidence files."""
    for file, text in {"Old_Mill": MILL, "Town": TOWN, **evidence}.items():
        write(f"{root}/evidence/wikipedia/{file}.txt", text)
    content = {"Data": list(questions), "Domain": "Wikipedia", "VerifiedEval": "verified" in name, "Version": 1.0}
    file: Path = write(f"{root}/qa/{name}.json", json.dumps(content, indent=4))
    return file


def load(folder: Path, split: str = "validation", skip: bool = False, **options: Any) -> Any:
    return load_examples(triviaqa(**options), split, data_dir=str(folder), skip_bad_records=skip)


def first(folder: Path, split: str = "validation", **options: Any) -> dict[str, Any]:
    row: dict[str, Any] = load(folder, split, **options).dataset[0]
    for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
        assert row["context"][start : start + len(text)] == text
    return row


@pytest.mark.parametrize(
    ("root", "name", "split"),
    [
        ("triviaqa-rc", "wikipedia-train", "train"),
        (".", "wikipedia-dev", "validation"),
        ("trivia_qa", "wikipedia-dev", "validation"),
        ("trivia_qa/triviaqa-rc", "wikipedia-dev", "validation"),
    ],
)
def test_official(root: str, name: str, split: str, write: Any, tmp_path: Path) -> None:
    official(write, name, question(), root=root)
    row = first(tmp_path, split)
    assert row["context"] == (
        "The Old Mill is a building.\nIt stands in Oslo, Norway. Oslo has two mills.\nOSLO is big.\n\n"
        "Some towns are small.\nIn \u201cOslo\u201d they are not; Oslofjord is a fjord."
    )
    assert row["answers"]["text"] == ["Oslo, Norway", "Oslo", "OSLO", "Oslo"]
    assert row["aliases"] == ["oslo", "oslo norway", "christiania oslo"]
    assert (row["id"], row["group"]) == ("tc_9", "tc_9")
    assert row["question"] == "Which city has the old mill?"


def test_a_byte_order_mark_is_none_of_the_evidence(write: Any, tmp_path: Path) -> None:
    official(write, "wikipedia-dev", question())
    plain = first(tmp_path, "validation")["context"]
    for file in tmp_path.rglob("*.txt"):
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert first(tmp_path, "validation")["context"] == plain


def test_aliases_that_the_metric_does_not_count_are_not_looked_for(write: Any, tmp_path: Path) -> None:
    answer = {**ANSWER, "Aliases": ["Oslo", "Norway"], "Value": "Town", "NormalizedAliases": ["oslo"]}
    official(write, "wikipedia-dev", question(Answer=answer))
    assert set(first(tmp_path)["answers"]["text"]) == {"Oslo", "OSLO"}


def test_the_verified_subset_has_a_file_of_its_own(write: Any, tmp_path: Path) -> None:
    pages = [page("Old_Mill.txt", DocPartOfVerifiedEval=False), page("Town.txt", DocPartOfVerifiedEval=True)]
    answer = {**ANSWER, "HumanAnswers": ["The city of Oslo", "In Oslo"]}
    counted = question("a", pages, Answer=answer, QuestionPartOfVerifiedEval=True)
    other = question("b", pages, QuestionPartOfVerifiedEval=False)
    official(write, "verified-wikipedia-dev", other, counted)
    official(write, "wikipedia-dev", other, counted)
    official(write, "wikipedia-train", question("c"))
    found = load(tmp_path, verified=True)
    assert found.dataset["id"][:] == ["a"]
    # Official readers leave pages out of questions of the web alone.
    assert found.dataset["context"][0].startswith("The Old Mill")
    assert found.dataset["aliases"][0] == ["oslo", "oslo norway", "christiania oslo", "The city of Oslo", "In Oslo"]
    assert load(tmp_path).dataset["id"][:] == ["b", "a"], "without it, all questions and all documents count"
    assert load(tmp_path).dataset["context"][1].startswith("The Old Mill")
    assert load(tmp_path, "train", verified=True).dataset["id"][:] == ["c"]
    with pytest.raises(FileNotFoundError, match=r"triviaqa-rc/qa/verified-wikipedia-dev.json"):
        load(tmp_path / "triviaqa-rc" / "evidence", verified=True)


def test_human_answers_are_looked_for_too(write: Any, tmp_path: Path) -> None:
    answer = {**ANSWER, "NormalizedAliases": [], "HumanAnswers": ["A fjord"]}
    official(write, "wikipedia-dev", question(Answer=answer))
    assert first(tmp_path)["answers"]["text"] == ["a fjord"]


@pytest.mark.parametrize("odd", [page("Gone.txt"), page("Empty.txt"), page("Blank.txt"), page(None), page("")])
def test_evidence_that_is_missing_or_empty(odd: dict[str, Any], write: Any, tmp_path: Path) -> None:
    official(write, "wikipedia-dev", question(pages=[odd, page("Town.txt")]), Empty="", Blank=" \n\r\n")
    found = load(tmp_path)
    assert found.dataset["context"][0].startswith("Some towns are small.")
    assert found.noted == {"of whose evidence files some are missing or empty (the others are read)": 1}
    file = official(write, "wikipedia-dev", question(pages=[odd]), question("b"))
    with pytest.raises(ValueError, match=rf"^{file}, question 0, question_id 'tc_9': none of its evidence files is"):
        load(tmp_path)
    assert load(tmp_path, skip=True).dataset["id"][:] == ["b"]


def test_questions_without_evidence_files(write: Any, tmp_path: Path) -> None:
    for pages in ([], None, ["text"]):
        file = official(write, "wikipedia-dev", {**question(), "EntityPages": pages})
        with pytest.raises(ValueError, match=rf"^{file}, question 0, question_id 'tc_9': none of its evidence"):
            load(tmp_path)
    write("other/qa/wikipedia-dev.json", {"Data": [question()]})
    with pytest.raises(FileNotFoundError, match=r"other has questions but no evidence/wikipedia: unpack triviaqa-rc"):
        load(tmp_path / "other")


@pytest.mark.parametrize(
    ("aliases", "text", "found"),
    [
        (["k", "K"], "K is kelvin, and k is not a unit.", ["K", "k"]),
        (["E"], "Vitamin E, e.g. in oil.", ["E"]),
        (["a", "the"], "A mill by the sea.", []),
        (["o brien"], "Old O\u2019Brien and O'Brien and O`Brien", ["O\u2019Brien", "O'Brien", "O`Brien"]),
        (["mill"], "mill " * 400, ["mill"] * 400),
        (["l\u00fctzen"], "L\u00dcTZEN", ["L\u00dcTZEN"]),
    ],
)
def test_odd_aliases(aliases: list[str], text: str, found: list[str], write: Any, tmp_path: Path) -> None:
    answer = {"NormalizedAliases": aliases, "Aliases": aliases, "Value": aliases[0]}
    official(write, "wikipedia-dev", question(pages=[page("A.txt")], Answer=answer), A=text)
    assert first(tmp_path)["answers"]["text"] == found


def test_an_answer_stands_within_one_paragraph(write: Any, tmp_path: Path) -> None:
    """What two documents or two passages make where they meet is none."""
    answer = {"NormalizedAliases": ["new york", "york"], "Aliases": ["New York"], "Value": "New York"}
    asked = question(pages=[page("A.txt"), page("B.txt")], Answer=answer)
    official(write, "wikipedia-dev", asked, A="It is new.\nYork is old, and so new", B="york. New York")
    row = first(tmp_path)
    assert row["context"] == "It is new.\nYork is old, and so new\n\nyork. New York"
    assert row["answers"]["text"] == ["York", "york", "New York"]


def test_no_alias_in_what_is_read(write: Any, tmp_path: Path) -> None:
    """Training questions are left out and counted; development questions are all scored."""
    pages = [page("Late.txt")]
    for name in ("wikipedia-train", "wikipedia-dev"):
        official(write, name, question("a", pages), question("b"), Late="word " * 11 + "Oslo")
    train = load(tmp_path, "train", max_words=11)
    assert train.dataset["id"][:] == ["b"]
    assert train.left_out == {"without an alias of the answer in what is read of the evidence": 1}
    dev = load(tmp_path, max_words=11)
    assert dev.dataset["answers"][0] == {"text": [], "answer_start": []}
    assert dev.dataset["aliases"][0] == ANSWER["NormalizedAliases"]
    assert load(tmp_path, "train", max_words=12).dataset["answers"][0] == {"text": ["Oslo"], "answer_start": [55]}


def test_the_most_words(write: Any, tmp_path: Path) -> None:
    official(write, "wikipedia-dev", question())
    assert first(tmp_path, max_words=9)["context"] == "The Old Mill is a building.\nIt stands in"
    assert first(tmp_path, max_words=11)["answers"]["text"] == ["Oslo, Norway"]
    assert first(tmp_path, max_words=10)["answers"]["text"] == ["Oslo"], "of Oslo, Norway a part is left"
    for wrong in (0, -5):
        with pytest.raises(ValueError, match=f"max_words is {wrong}: give at least 1, or None for all"):
            triviaqa(max_words=wrong)
    long = " ".join(f"word{number}" for number in range(5000))
    official(write, "wikipedia-dev", question(pages=[page("Long.txt")]), Long=long)
    assert len(first(tmp_path)["context"].split()) == 4096
    assert first(tmp_path, max_words=None)["context"] == long


def test_ranked_passages(write: Any, tmp_path: Path) -> None:
    official(write, "wikipedia-dev", question(pages=[page("Town.txt"), page("Old_Mill.txt")]))
    file = tmp_path / "ranker.json"
    PassageRanker({**dict.fromkeys(FEATURES, 0.0), "question_words": 1.0}, 6).save(file)
    row = first(tmp_path, ranking=str(file), max_words=7)
    assert row["context"] == "The Old Mill is a building.\nSome"
    row = first(tmp_path, ranking=str(file), max_words=None)
    assert row["context"].startswith("The Old Mill is a building.\nSome towns are small.")
    assert sorted(row["answers"]["text"]) == ["OSLO", "Oslo", "Oslo", "Oslo, Norway"]
    with pytest.raises(FileNotFoundError, match=r"passage ranker .*gone.json does not exist"):
        load(tmp_path, ranking=str(tmp_path / "gone.json"))


def test_a_ranker_fitted_on_the_records(write: Any, tmp_path: Path) -> None:
    official(write, "wikipedia-train", question(), question("b"))
    fitted = fit_passage_ranker(load(tmp_path, "train", max_words=None).dataset, passage_words=6)
    assert fitted == fit_passage_ranker(load(tmp_path, "train", max_words=None).dataset, passage_words=6)
    fitted.save(tmp_path / "ranker.json")
    assert first(tmp_path, "train", ranking=str(tmp_path / "ranker.json"))["answers"]["text"]


def test_test_files_have_no_answers(write: Any, tmp_path: Path) -> None:
    answer = {"Value": "<unk>", "Aliases": [], "NormalizedAliases": []}
    file = official(write, "wikipedia-dev", question(Answer=answer))
    with pytest.raises(ValueError, match=rf"^{file}, question 0, question_id 'tc_9': the question has no aliases, as"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="trivia_qa has no split 'test': choose from train, validation"):
        load(tmp_path, "test")


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (5, ": not a JSON object"),
        (question("b", QuestionId=None), ": the question has no question_id"),
        (question("b", Question=None), ", question_id 'b': the question has no question"),
        (question("b", Question=""), ", id 'b' has an empty question"),
        (question("b", Answer=None), ", question_id 'b': the question has no answer"),
        (question("b", Answer="Oslo"), ": answer of the question is str, but dict is needed"),
        (question("b", Answer={"NormalizedAliases": "oslo"}), ": normalized_aliases of the answer are 'oslo': give a"),
        (question("b", Answer={"NormalizedAliases": [5]}), ": normalized_aliases of the answer are [5]: give a list"),
        (question("tc_9"), ": id 'tc_9' comes twice, first in question 0"),
        (question("b", [page("Bytes.txt")]), "Bytes.txt is not UTF-8 (invalid start byte): write it as UTF-8"),
    ],
)
def test_faults(odd: Any, message: str, write: Any, tmp_path: Path) -> None:
    file = official(write, "wikipedia-dev", question(), odd, Bytes=b"\xff")
    with pytest.raises(ValueError, match=rf"^{file}, question 1") as caught:
        load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    found = load(tmp_path, skip=True)
    assert found.dataset["id"][:] == ["tc_9"]
    assert sum(found.left_out.values()) == 1


def test_files_that_are_not_the_official_ones(write: Any, tmp_path: Path) -> None:
    file = official(write, "wikipedia-dev", question())
    whole = file.read_text()
    file.write_text("[]")
    with pytest.raises(ValueError, match=f"^{file} is not a JSON object with a list 'Data'"):
        load(tmp_path)
    file.write_text(whole[: whole.index("Old_Mill")])
    with pytest.raises(ValueError, match=rf"^{file}, line \d+, is not JSON"):
        load(tmp_path)


@pytest.mark.parametrize("layout", ["a record of lists", "a list of records"])
@pytest.mark.parametrize("name", ["trivia_qa/rc.wikipedia/validation-00000-of-00001", "trivia_qa/validation"])
def test_columns_of_the_hub(layout: str, name: str, write: Any, tmp_path: Path) -> None:
    rows = [{"title": "Old Mill", "filename": "Old_Mill.txt", "wiki_context": text} for text in (MILL, "", TOWN)]
    pages: Any = {key: [row[key] for row in rows] for key in rows[0]} if layout == "a record of lists" else rows
    answer = {"value": "Oslo", "aliases": ["Oslo"], "normalized_aliases": ["oslo"], "type": "WikipediaEntity"}
    columns = {"question_id": ["tc_9"], "question": ["Which?"], "answer": [answer], "entity_pages": [pages]}
    write(f"{name}.parquet", columns)
    row = first(tmp_path)
    assert row["answers"]["text"] == ["Oslo", "Oslo", "OSLO", "Oslo"]
    assert row["aliases"] == ["oslo"]
    assert row["context"].count("\n\n") == 1
    assert load(tmp_path).noted == {"of whose evidence files some are missing or empty (the others are read)": 1}
    with pytest.raises(ValueError, match=r"columns of the hub do not tell what is verified: put the official qa/ver"):
        load(tmp_path, verified=True)
    unknown = {"value": "<unk>", "aliases": [], "normalized_aliases": []}
    file = write(f"{name}.parquet", {**columns, "answer": [{**unknown, "type": ""}]})
    with pytest.raises(ValueError, match=f"^{file}, row 0, question_id 'tc_9': the question has no aliases"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("normalised", "written", "text", "found"),
    [
        (["e", "vitamin e"], ["E"], "Vitamin E, e.g. in oil; i.e. fat. Grade E.", ["Vitamin E", "E"]),
        (["s"], ["S"], "Sulphur's sign is S.", ["S"]),
        (["s"], [], "Of sulphur s is the sign.", ["s"]),  # nothing tells how it is written
    ],
)
def test_a_letter_is_looked_for_as_it_is_written(
    normalised: list[str], written: list[str], text: str, found: list[str], write: Any, tmp_path: Path
) -> None:
    """The release normalises aliases to lower case."""
    answer = {"NormalizedAliases": normalised, "Aliases": written, "Value": (written or normalised)[0]}
    official(write, "wikipedia-dev", question(pages=[page("A.txt")], Answer=answer), A=text)
    row = first(tmp_path)
    assert row["answers"]["text"] == found
    assert row["aliases"] == normalised
