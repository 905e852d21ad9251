"""HotpotQA: official files and the hub's columns, ranking files, and every odd case of the release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.readers import hotpotqa

CONTEXT: list[Any] = [
    ["Old Mill", ["The Old Mill stands in Askvik.", " Ada Roy built it.", ""]],
    ["Ada Roy", ["Ada Roy was a builder.", " She was born in Oslo and lived in Oslo."]],
    ["Oslo", ["Oslo lies by the sea."]],
]
FACTS: list[Any] = [["Old Mill", 1], ["Ada Roy", 1]]
SPANS = {"paragraph": [1, 1], "start": [39, 57], "text": ["Oslo", "Oslo"]}
DEV = "hotpot_dev_distractor_v1.json"


def question(**changes: Any) -> dict[str, Any]:
    base = {
        "_id": "x1",
        "question": "Where was the builder of the Old Mill born?",
        "answer": "Oslo",
        "type": "bridge",
        "level": "hard",
        "supporting_facts": FACTS,
        "context": CONTEXT,
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def load(folder: Path, split: str = "validation", **options: Any) -> Any:
    return load_examples(hotpotqa(**options), split, data_dir=str(folder))


def first(folder: Path, split: str = "validation", **options: Any) -> dict[str, Any]:
    row: dict[str, Any] = load(folder, split, **options).dataset[0]
    return row


@pytest.mark.parametrize(
    ("name", "split", "config"),
    [
        ("hotpot_qa/hotpot_train_v1.1.json", "train", "fullwiki"),
        ("hotpot_train_v1.1.json", "train", "distractor"),
        ("hotpot_qa/hotpot_train.json.gz", "train", "distractor"),
        (DEV, "validation", "distractor"),
        ("hotpot_dev_fullwiki_v1.json", "validation", "fullwiki"),
        ("hotpot_qa/hotpot_dev.json", "validation", "fullwiki"),
    ],
)
def test_official(name: str, split: str, config: str, write: Any, tmp_path: Path) -> None:
    write(name, [question()])
    assert load(tmp_path, split, config=config).dataset.to_list() == [
        {
            "id": "x1",
            "question": "Where was the builder of the Old Mill born?",
            "paragraphs": {"title": ["Old Mill", "Ada Roy", "Oslo"], "sentences": [text for _, text in CONTEXT]},
            "answer": "Oslo",
            "kind": "span",
            "spans": SPANS,
            "supports": {"title": ["Old Mill", "Ada Roy"], "sentence": [1, 1]},
            "subset": "bridge",
        }
    ]


def test_the_two_forms_of_development_questions_are_two_files(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(_id="d")])
    write("hotpot_dev_fullwiki_v1.json", [question(_id="f")])
    assert first(tmp_path)["id"] == "d"
    assert first(tmp_path, config="fullwiki")["id"] == "f"
    with pytest.raises(ValueError, match="HotpotQA has no configuration 'web': choose from distractor, fullwiki"):
        hotpotqa("web")


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_yes_and_no(answer: str, write: Any, tmp_path: Path) -> None:
    context = [["Oslo", ["Oslo said yes.", " Rome said no."]]]
    write(DEV, [question(answer=answer, type="comparison", context=context)])
    row = first(tmp_path)
    assert (row["answer"], row["kind"]) == (answer, answer)
    assert row["spans"] == {"paragraph": [], "start": [], "text": []}
    assert row["subset"] == "comparison"


def test_a_question_of_no_type(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(type=None)])
    assert first(tmp_path)["subset"] is None


def test_a_title_that_reads_no_is_a_span(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(answer="No", context=[["No", ["No is a film.", " There is no other."]]])])
    row = first(tmp_path)
    assert (row["kind"], row["spans"]["start"]) == ("span", [0])


@pytest.mark.parametrize("layout", ["a record of lists", "a list of records"])
@pytest.mark.parametrize("name", ["hotpot_qa/distractor/validation", "hotpot_qa/validation", "validation"])
def test_columns_of_the_hub(layout: str, name: str, write: Any, tmp_path: Path) -> None:
    facts: Any = [{"title": title, "sent_id": index} for title, index in FACTS]
    context: Any = [{"title": title, "sentences": sentences} for title, sentences in CONTEXT]
    if layout == "a record of lists":
        facts, context = ({key: [item[key] for item in items] for key in items[0]} for items in (facts, context))
    columns = {"id": ["x1"], "question": [question()["question"]], "answer": ["Oslo"], "type": ["bridge"]}
    write(f"{name}.parquet", {**columns, "supporting_facts": [facts], "context": [context]})
    found = load(tmp_path)
    assert found.dataset[0]["spans"] == SPANS
    assert found.dataset[0]["paragraphs"]["sentences"] == [text for _, text in CONTEXT]
    assert found.dataset[0]["supports"] == {"title": ["Old Mill", "Ada Roy"], "sentence": [1, 1]}
    assert found.dataset[0]["subset"] == "bridge"


def test_gold_paragraphs_that_a_search_missed(write: Any, tmp_path: Path) -> None:
    """Of fullwiki's questions four in ten lack one: the metric still asks for it."""
    write("hotpot_dev_fullwiki_v1.json", [question(context=CONTEXT[2:])])
    row = first(tmp_path, config="fullwiki")
    assert row["supports"]["title"] == ["Old Mill", "Ada Roy"]
    assert row["spans"] == {"paragraph": [0], "start": [0], "text": ["Oslo"]}


def test_a_supporting_sentence_beyond_the_paragraph(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(supporting_facts=[["Ada Roy", 1], ["Ada Roy", 7]])])
    row = first(tmp_path)
    assert row["supports"]["sentence"] == [1, 7]
    assert row["spans"] == SPANS


def test_titles_with_entities(write: Any, tmp_path: Path) -> None:
    title = "Roy &amp; Oak &quot;Ltd&quot;"
    write(DEV, [question(context=[[title, ["It is in Oslo."]]], supporting_facts=[[title, 0]])])
    row = first(tmp_path)
    assert row["paragraphs"]["title"] == row["supports"]["title"] == ['Roy & Oak "Ltd"']


def test_paragraphs_of_empty_sentences(write: Any, tmp_path: Path) -> None:
    """An empty sentence stays, because supporting sentences are counted."""
    context = [["Nothing", []], ["Blank", ["", " "]], ["Ada Roy", ["", " She was born in Oslo."]]]
    write(DEV, [question(context=context)])
    row = first(tmp_path)
    assert row["paragraphs"]["sentences"] == [[], ["", " "], ["", " She was born in Oslo."]]
    assert row["spans"] == {"paragraph": [2], "start": [17], "text": ["Oslo"]}


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("oslo", "She was born in Oslo.", "Oslo"),
        ("Oslo Norway", "She was born in Oslo, Norway.", "Oslo, Norway"),
        ("24", "It was built in 1924.", None),
        ("Bergen", "She was born in Oslo.", None),
    ],
)
def test_answers_that_do_not_stand_there_as_they_are(
    answer: str, text: str, found: str | None, write: Any, tmp_path: Path
) -> None:
    odd = question(_id="x2", answer=answer, context=[["Ada Roy", [text]]])
    write("hotpot_train_v1.1.json", [question(), odd])
    write(DEV, [question(), odd])
    dev, train = load(tmp_path), load(tmp_path, "train")
    assert dev.dataset[1]["spans"]["text"] == ([found] if found else []), "development questions are all scored"
    assert dev.dataset[1]["answer"] == answer
    assert train.dataset["id"][:] == ["x1", "x2"][: 2 if found else 1]
    assert train.left_out == ({} if found else {"whose answer stands in no paragraph that it follows from": 1})
    assert (
        found
        or "1 whose answer stands in no paragraph that it follows from (first: question 1, id 'x2')"
        in train.description
    )


def test_occurrences_in_supporting_sentences_go_before_all_others(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(supporting_facts=[["Oslo", 0]]), question(_id="x2", supporting_facts=[])])
    rows = load(tmp_path).dataset
    assert rows[0]["spans"] == {"paragraph": [2], "start": [0], "text": ["Oslo"]}
    assert rows[1]["spans"]["paragraph"] == [1, 1, 2]


def test_fewer_than_ten_paragraphs_and_none(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(context=CONTEXT[:2])])
    assert len(first(tmp_path)["paragraphs"]["title"]) == 2
    write(DEV, [question(context=[])])  # a search may find none, and the question counts all the same
    assert first(tmp_path)["paragraphs"] == {"title": [], "sentences": []}
    write("hotpot_train_v1.1.json", [question(context=[]), question(_id="x2")])
    train = load(tmp_path, "train")
    assert (train.dataset["id"][:], train.left_out) == (["x2"], {"without paragraphs": 1})


def test_there_is_no_test_split_as_it_has_no_answers(write: Any, tmp_path: Path) -> None:
    write("hotpot_test_fullwiki_v1.json", [question(answer=None, supporting_facts=None)])
    with pytest.raises(FileNotFoundError, match="hotpot_qa has no split 'test': choose from train, validation"):
        load(tmp_path, "test")
    file = write(DEV, [question(answer=None)])
    with pytest.raises(ValueError, match=f"^{file}, question 0, id 'x1': the question has no answer: fill it in"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("text", "question 1: not a JSON object"),
        (question(_id=None), "question 1: the question has no id"),
        (question(_id="x2", question=5), "id 'x2': question of the question is int, but str is needed"),
        (question(_id="x2", question=" "), "id 'x2' has an empty question"),
        (question(_id="x1"), "id 'x1' comes twice, first in question 0"),
        (question(_id="x2", context=None), "id 'x2': context has None: give a list of pairs of title and sentences"),
        (question(_id="x2", context=[["a"]]), "id 'x2': context has [['a']]: give a list of pairs"),
        (question(_id="x2", context=[["a", "b."]]), "id 'x2': context has ['a', 'b.']: give a title and a list"),
        (question(_id="x2", supporting_facts=[["a", "0"]]), "supporting_facts has ['a', '0']: give a title and the"),
        (question(_id="x2", supporting_facts=[["a", -1]]), "supporting_facts has ['a', -1]: give a title and the"),
        (question(_id="x2", type=3), "type of the question is int, but str is needed"),
        (question(_id="x2", supporting_facts=None), "supporting_facts has None: give a list of pairs"),
    ],
)
def test_faults(odd: Any, message: str, write: Any, tmp_path: Path) -> None:
    file = write(DEV, [question(), odd])
    with pytest.raises(ValueError, match=rf"^{file}, question 1") as caught:
        load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    found = load_examples(hotpotqa(), "validation", data_dir=str(tmp_path), skip_bad_records=True)
    assert found.dataset["id"][:] == ["x1"]
    assert sum(found.left_out.values()) == 1


def test_files_that_are_not_the_official_ones(write: Any, tmp_path: Path) -> None:
    file = write(DEV, {"data": []})
    with pytest.raises(ValueError, match=f"^{file} is not a JSON list"):
        load(tmp_path)
    write(DEV, json.dumps([question()])[:-1])
    with pytest.raises(ValueError, match=f"^{file}, line 1, is not JSON"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"hotpot_train_v1.1.json and hotpot_dev_distractor_v1.json"):
        load(tmp_path, "train")


# -- ranking files -------------------------------------------------------------------------------------------------


def titles(folder: Path, ranking: Any, write: Any, split: str = "validation") -> list[str]:
    file = write("ranking.json", ranking)
    row = first(folder, split, ranking=str(file))
    texts = ["".join(sentences) for sentences in row["paragraphs"]["sentences"]]
    spans = row["spans"]
    for index, start, text in zip(spans["paragraph"], spans["start"], spans["text"], strict=True):
        assert texts[index][start : start + len(text)] == text
    found: list[str] = row["paragraphs"]["title"]
    return found


def test_a_ranking_file_gives_the_order(write: Any, tmp_path: Path) -> None:
    write(DEV, [question()])
    assert titles(tmp_path, {"x1": ["Oslo", "Ada Roy", "Old Mill"]}, write) == ["Oslo", "Ada Roy", "Old Mill"]
    assert titles(tmp_path, {"x1": [["Ada Roy", 0.9], ["Oslo", 0.1]]}, write) == ["Ada Roy", "Oslo", "Old Mill"]
    assert titles(tmp_path, {"x1": ["Oslo"]}, write) == ["Oslo", "Old Mill", "Ada Roy"], "the others follow"
    assert titles(tmp_path, {"x1": ["Oslo", "Ada Roy", "Oslo"]}, write)[0] == "Oslo", "its best place counts"


def test_titles_of_a_ranking_may_have_entities(write: Any, tmp_path: Path) -> None:
    write(DEV, [question(context=[*CONTEXT, ["Roy &amp; Oak", ["Oslo"]]])])
    assert titles(tmp_path, {"x1": ["Roy &amp; Oak"]}, write)[0] == "Roy & Oak"
    assert titles(tmp_path, {"x1": ["Roy & Oak"]}, write)[0] == "Roy & Oak"


@pytest.mark.parametrize(
    ("ranking", "kind"),
    [
        ({"x1": ["Rome", "Oslo"]}, "whose ranking names paragraphs that they lack (the others are ranked)"),
        ({"x1": []}, "without a ranking (their paragraphs keep their order)"),
    ],
)
def test_rankings_that_do_not_fit_are_counted(ranking: Any, kind: str, write: Any, tmp_path: Path) -> None:
    write(DEV, [question()])
    file = write("ranking.json", ranking)
    found = load(tmp_path, ranking=str(file))
    assert found.noted == {kind: 1}
    assert len(found.dataset) == 1
    expected = ["Oslo", "Old Mill", "Ada Roy"] if ranking["x1"] else ["Old Mill", "Ada Roy", "Oslo"]
    assert found.dataset[0]["paragraphs"]["title"] == expected


def test_the_ranking_of_other_questions(write: Any, tmp_path: Path) -> None:
    write(DEV, [question()])
    write("hotpot_train_v1.1.json", [question()])
    file = write("ranking.json", {"y": ["Oslo"]})
    with pytest.raises(ValueError, match=f"^ranking file {file} names no question of HotpotQA validation: give"):
        load(tmp_path, ranking=str(file))
    assert titles(tmp_path, {"y": ["Oslo"]}, write, "train") == ["Old Mill", "Ada Roy", "Oslo"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"is not a JSON object: write \{id: \[title, ...\]\}"),
        ({"x1": "Oslo"}, r": the ranking of 'x1' is 'Oslo': give a list of titles"),
        ({"x1": [3]}, r": the ranking of 'x1' is \[3\]: give a list of titles"),
        ({"x1": [[]]}, r": the ranking of 'x1' is \[\[\]\]: give a list of titles"),
    ],
)
def test_faulty_ranking_files(content: Any, message: str, write: Any, tmp_path: Path) -> None:
    write(DEV, [question()])
    file = write("ranking.json", content)
    with pytest.raises(ValueError, match=rf"^{file}{'' if message[0] == ':' else ' '}{message}"):
        load(tmp_path, ranking=str(file))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"^ranking file {file} does not exist"):
        load(tmp_path, ranking=str(file))


@pytest.mark.parametrize("name", ["hotpot_train_v1.1.json", "hotpot_qa/train.parquet"])
def test_training_questions_of_a_level(name: str, write: Any, tmp_path: Path) -> None:
    levels = ["easy", "hard", "medium", "hard", None]
    questions = [question(_id=f"x{number}", level=level) for number, level in enumerate(levels)]
    if name.endswith("parquet"):
        facts = {"title": [title for title, _ in FACTS], "sent_id": [index for _, index in FACTS]}
        context = {"title": [title for title, _ in CONTEXT], "sentences": [lines for _, lines in CONTEXT]}
        hub = [{**row, "id": row["_id"], "supporting_facts": facts, "context": context} for row in questions]
        write(name, {key: [row.get(key) for row in hub] for key in hub[0] if key != "_id"})
    else:
        write(name, questions)
    train = load(tmp_path, "train", level="hard")
    assert train.dataset["id"][:] == ["x1", "x3"]
    assert "3 of another level than hard" in train.description
    write(DEV, questions[:1])
    assert len(load(tmp_path, level="hard").dataset) == 1  # the evaluation split stays whole


OTHER = ["Book", ["A book about the Beatles and Lakers."]]


@pytest.mark.parametrize(
    ("answer", "sentences", "found"),
    [
        # In a supporting sentence, though written otherwise; exactly in another paragraph.
        ("the Beatles", ["The Beatles played there.", " It was cold."], [(0, "The Beatles")]),
        # In no supporting sentence, but in a paragraph of one.
        ("Lakers", ["It was cold.", " The Lakers won."], [(0, "Lakers")]),
        # In no such paragraph: that another one has the words is chance.
        ("Lakers", ["It was cold.", " It was late."], []),
    ],
)
def test_an_answer_is_looked_for_where_it_follows_from(
    answer: str, sentences: list[str], found: list[tuple[int, str]], write: Any, tmp_path: Path
) -> None:
    asked = {"answer": answer, "context": [["Gig", sentences], OTHER], "supporting_facts": [["Gig", 0]]}
    write(DEV, [question(**asked)])
    spans = first(tmp_path)["spans"]
    assert list(zip(spans["paragraph"], spans["text"], strict=True)) == found
    # Without the paragraphs that lead to it, as where a search missed them, any occurrence will do.
    write(DEV, [question(**{**asked, "context": [["Gig 2", sentences], OTHER]})])
    assert len(first(tmp_path)["spans"]["text"]) > 0
