"""Settings of readers: named in a request, checked before anything is read, and part of a cached encoder's name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from runners.cli.flags import flag
from trbert_env.data.readers import READERS, make_reader, reader_settings
from trbert_env.data.request import DataRequest
from trbert_env.parameters import ParameterError
from trbert_env.presets import PRESETS


@pytest.fixture
def trivia(monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset of a data set whose reader has settings of several types."""
    monkeypatch.setitem(PRESETS, "Trivia", replace(PRESETS["NewsQA"], name="Trivia", dataset="trivia_qa"))
    return "Trivia"


def test_readers_say_their_settings() -> None:
    assert reader_settings("trivia_qa") == {"ranking": str | None, "max_words": int | None, "verified": bool}
    assert reader_settings("squad_v2") == reader_settings("own") == {}
    assert make_reader("squad_v2") is READERS["squad_v2"]
    assert make_reader("hotpot_qa", config="fullwiki").hub.config == "fullwiki"
    with pytest.raises(ValueError, match="the reader of squad_v2 has no setting 'config': it has none"):
        make_reader("squad_v2", config="all")


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("Trivia", {"max_word": 5}, "the reader of Trivia has no setting 'max_word': did you mean 'max_words'?"),
        ("Trivia", {"max_words": "5"}, "setting 'max_words' of the reader of Trivia is '5': give int or None"),
        ("Trivia", {"max_words": 0}, "max_words is 0: give at least 1, or None for all"),
        ("Trivia", {"verified": 1}, "setting 'verified' of the reader of Trivia is 1: give bool"),
        ("RACE", {"config": "low"}, "RACE has no configuration 'low': choose from all, high, middle"),
        ("HotpotQA", {"level": "harder"}, "HotpotQA has no level 'harder': choose from easy, medium, hard"),
        ("SQuAD2", {"config": "all"}, "the reader of SQuAD2 has no setting 'config': it has none"),
        ("Hyperpartisan", {"split_seed": 1}, "the reader of Hyperpartisan has no setting 'split_seed': it has fold"),
        ("Hyperpartisan", {"fold": 10}, "fold is 10: give one from 0 to 9"),
    ],
)
def test_faulty_settings(env: str, settings: dict[str, Any], message: str, trivia: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        DataRequest(env, reader_settings=settings)
    assert str(caught.value) == message


def test_own_data_and_seeds_of_data_sets_with_splits(tmp_path: Path) -> None:
    file = str(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="the reader of TextClassification has no setting 'fold': it has none"):
        DataRequest("TextClassification", train_file=file, reader_settings={"fold": 1})
    with pytest.raises(ValueError, match="split_seed has no meaning for RACE, which comes with its splits"):
        DataRequest("RACE", split_seed=1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"split_seed": 1}, "--split-seed"), ({"reader_settings": {"fold": 1}}, "reader setting 'fold'")],
)
def test_the_embedded_corpus_has_no_reader(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError) as caught:
        DataRequest("Hyperpartisan", data_source="embedded", **settings)
    assert caught.value.told(flag) == (
        f"{named} has no meaning for the embedded corpus of hyperpartisan_news_detection, which no reader reads: "
        "leave it out, or give --data-dir or another --data-source"
    )


def test_the_embedded_corpus_is_generated_by_settings_that_it_knows() -> None:
    request = DataRequest("HotpotQA", data_source="embedded", reader_settings={"level": "hard"})
    assert request.load("train").dataset["id"][0] == "hotpot_qa-train-hard-0-00000"
    with pytest.raises(ValueError, match=r"^reader setting 'config' has no meaning for the embedded corpus"):
        DataRequest("HotpotQA", data_source="embedded", reader_settings={"level": "hard", "config": "fullwiki"})


@pytest.mark.parametrize(
    ("env", "settings", "unread"),
    [
        ("RACE", {"reader_settings": {"config": "high"}}, "reader setting 'config'"),
        ("Hyperpartisan", {"split_seed": 1}, "split_seed"),
    ],
)
def test_the_embedded_corpus_takes_no_place_of_texts_that_it_cannot_stand_for(
    env: str, settings: dict[str, Any], unread: str
) -> None:
    with pytest.warns(UserWarning, match="EMBEDDED"), pytest.raises(ValueError, match=f"^{unread} has no meaning"):
        DataRequest(env, **settings).load("train")


def test_a_setting_that_asks_for_nothing_is_none_that_a_corpus_lacks() -> None:
    """As the ranker of passages reads all words, of the embedded corpus too where the hub cannot be reached."""
    assert make_reader("trivia_qa", max_words=None).settings == {}
    DataRequest("TriviaQA", data_source="embedded", reader_settings={"max_words": None})
    with pytest.raises(ValueError, match=r"^reader setting 'max_words' has no meaning for the embedded"):
        DataRequest("TriviaQA", data_source="embedded", reader_settings={"max_words": 5})


def test_settings_reach_the_reader(trivia: str, write: Any, tmp_path: Path) -> None:
    answer = {"NormalizedAliases": ["oslo"]}
    page = {"Filename": "A.txt"}
    question = {"QuestionId": "a", "Question": "Which?", "EntityPages": [page], "Answer": answer}
    write("qa/wikipedia-dev.json", {"Data": [question]})
    write("evidence/wikipedia/A.txt", "It is in Oslo by the sea.")
    for settings, context in (({}, "It is in Oslo by the sea."), ({"max_words": 4}, "It is in Oslo")):
        request = DataRequest(trivia, data_dir=str(tmp_path), reader_settings=settings)
        assert request.load("validation").dataset["context"][:] == [context]


def test_a_seed_and_a_fold_go_together(write: Any, tmp_path: Path) -> None:
    texts = {"text": [f"text {row}" for row in range(60)], "hyperpartisan": [row % 3 == 0 for row in range(60)]}
    write("hyperpartisan_news_detection/train.parquet", texts)

    def test_ids(**options: Any) -> set[str]:
        return set(DataRequest("Hyperpartisan", data_dir=str(tmp_path), **options).load("test").dataset["id"][:])

    folds = [test_ids(split_seed=3, reader_settings={"fold": fold}) for fold in range(10)]
    assert set().union(*folds) == {f"article:{row}" for row in range(60)}
    assert folds[0] == test_ids(split_seed=3) != test_ids()


def test_encoders_of_other_records_have_other_names_in_the_cache() -> None:
    """An encoder that was trained on one split would know the test texts of another."""
    requests = [
        DataRequest("Hyperpartisan"),
        DataRequest("Hyperpartisan", split_seed=1),
        DataRequest("Hyperpartisan", split_seed=2),
        DataRequest("Hyperpartisan", reader_settings={"fold": 1}),
    ]
    keys = [request.cache_key("hub") for request in requests]
    assert keys[0] == "hub"
    assert len(set(keys)) == 4
    assert keys[1] == DataRequest("Hyperpartisan", split_seed=1).cache_key("hub")


def test_own_files_count_by_their_content_and_how_they_are_split(write: Any, tmp_path: Path) -> None:
    """Else an encoder would be evaluated on texts that it was fine-tuned on, by another name of the split."""

    def key(**named: Any) -> str:
        return DataRequest("TextClassification", **{"train_file": str(tmp_path / "own.csv"), **named}).cache_key(
            "local"
        )

    write("own.csv", "text,label\na,x\nb,y\n")
    before = key()
    assert len({before, key(split_seed=1), key(validation_share=0.2)}) == 3
    write("copy.csv", "text,label\na,x\nb,y\n")
    assert key(train_file=str(tmp_path / "copy.csv")) == before
    whole = key(validation_file=str(tmp_path / "copy.csv"))
    write("own.csv", "text,label\na,x\nc,y\n")
    assert key() != before
    assert key(validation_file=str(tmp_path / "copy.csv")) not in (whole, key())
    folder = tmp_path / "saved"
    Dataset.from_list([{"text": "a", "label": "x"}]).save_to_disk(folder)
    saved = key(train_file=None, dataset=str(folder))
    shutil.rmtree(folder)
    Dataset.from_list([{"text": "b", "label": "x"}]).save_to_disk(folder)
    assert key(train_file=None, dataset=str(folder)) != saved


def test_the_content_of_a_ranking_file_counts_not_its_path(write: Any, tmp_path: Path) -> None:
    """An encoder that learned from other paragraphs is another one, though the file that ranks them has one name."""

    def key(file: Path) -> str:
        return DataRequest("HotpotQA", reader_settings={"ranking": str(file)}).cache_key("local")

    file = write("order.json", {"a": ["Ada Roy", "Ben Oak"]})
    before = key(file)
    assert before == key(write("copy.json", {"a": ["Ada Roy", "Ben Oak"]})) != "local"
    write("order.json", {"a": ["Ben Oak", "Ada Roy"]})
    assert key(file) != before
    with pytest.raises(FileNotFoundError, match=r"^ranking file .*missing.json does not exist: check its path$"):
        key(tmp_path / "missing.json")
    with pytest.raises(FileNotFoundError, match=r"^passage ranker .*missing.json does not exist: check its path$"):
        DataRequest("TriviaQA", reader_settings={"ranking": str(tmp_path / "missing.json")})


@pytest.mark.parametrize(
    ("length", "stride", "question"), [(128, 42, 64), (192, 64, 64), (384, 128, 64), (1024, 128, 64)]
)
def test_a_shorter_length_shortens_what_windows_share(length: int, stride: int, question: int) -> None:
    settings = DataRequest("SQuAD2", max_length=length).preset.settings
    assert [settings[name] for name in ("max_tokens", "stride", "max_question_tokens")] == [length, stride, question]
    asked = DataRequest("SQuAD2", max_length=length, task_settings={"stride": 20}).preset.settings
    assert (asked["max_tokens"], asked["stride"], asked["max_question_tokens"]) == (length, 20, question)


@pytest.mark.parametrize(("env", "length"), [("RACE", 128), ("HotpotQA", 64), ("SQuAD2", 60), ("MultipleChoice", 128)])
def test_a_shorter_length_is_refused_for_no_setting_that_nobody_gave(env: str, length: int, tmp_path: Path) -> None:
    own = {"train_file": str(tmp_path / "a.jsonl")} if env == "MultipleChoice" else {}
    settings = DataRequest(env, max_length=length, **own).preset.settings
    assert settings["max_tokens"] == length
    assert settings["max_question_tokens"] <= length // 2


@pytest.mark.parametrize(("source", "told"), [("hub", "local"), ("embedded", "embedded")])
def test_own_files_come_from_nowhere_else(source: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"data_source.*{told}"):
        DataRequest("TextClassification", train_file=str(tmp_path / "a.csv"), data_source=source)
    assert DataRequest("TextClassification", train_file=str(tmp_path / "a.csv"), data_source="local").is_own
    with pytest.raises(ValueError, match=r"data_source is 'local', and own data come from .* \(hub\): leave it out"):
        DataRequest("TextClassification", dataset="someone/things", data_source="local")
