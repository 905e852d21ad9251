"""IMDB, YELP, 20 Newsgroups and Hyperpartisan news: official files, the hub's columns and the odd cases of each."""

from __future__ import annotations

import codecs
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trbert_env.data import load_examples
from trbert_env.data.readers import hyperpartisan, newsgroups
from trbert_env.data.readers.hyperpartisan import plain_text

# -- IMDB ----------------------------------------------------------------------------------------------------------


def aclimdb(write: Any, prefix: str) -> None:
    write(f"{prefix}train/pos/0_9.txt", "A fine film.<br /><br />See it.")
    write(f"{prefix}train/neg/0_1.txt", "Dull. Ça va.")
    write(f"{prefix}train/neg/3_2.txt", "Dull")
    write(f"{prefix}train/unsup/0_0.txt", "Nobody knows")
    write(f"{prefix}test/pos/7_10.txt", "Great")
    write(f"{prefix}test/neg/8_1.txt", "Poor")


@pytest.mark.parametrize("prefix", ["", "aclImdb/", "imdb/", "imdb/aclImdb/"])
def test_imdb_official(prefix: str, write: Any, tmp_path: Path) -> None:
    aclimdb(write, prefix)
    found = load_examples("imdb", "train", data_dir=str(tmp_path))
    assert found.dataset.to_list() == [
        {"id": "train/neg/0_1", "text": "Dull. Ça va.", "text_pair": None, "label": "neg"},
        {"id": "train/neg/3_2", "text": "Dull", "text_pair": None, "label": "neg"},
        {"id": "train/pos/0_9", "text": "A fine film.  See it.", "text_pair": None, "label": "pos"},
    ]
    assert found.labels == ("neg", "pos")
    assert len(load_examples("imdb", "test", data_dir=str(tmp_path)).dataset) == 2


@pytest.mark.parametrize(
    ("name", "file", "missing"),
    [
        ("imdb", "train/pos/0_9.txt", "neg: unpack aclImdb"),
        ("20_newsgroups", "20news-bydate-train/sci.space/9", "alt.atheism: unpack 20news-bydate"),
        ("race", "RACE/train/high/1.txt", "middle: unpack RACE.tar.gz whole, or read one level by config=high"),
    ],
)
def test_a_release_that_is_unpacked_in_part(name: str, file: str, missing: str, write: Any, tmp_path: Path) -> None:
    write(file, "Subject: none\n")
    with pytest.raises(FileNotFoundError, match=f"lacks the folder {missing}"):
        load_examples(name, "train", data_dir=str(tmp_path))


def test_a_byte_order_mark_is_none_of_the_review(write: Any, tmp_path: Path) -> None:
    aclimdb(write, "")
    file = tmp_path / "train" / "neg" / "3_2.txt"
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    assert load_examples("imdb", "train", data_dir=str(tmp_path)).dataset["text"][1] == "Dull"


def test_shards_number_their_rows_apart(write: Any, tmp_path: Path) -> None:
    write("imdb/train-00000-of-00002.parquet", {"text": ["a", "b"], "label": [1, 0]})
    write("imdb/train-00001-of-00002.parquet", {"text": ["c", "d"], "label": [0, 1]})
    found = load_examples("imdb", "train", data_dir=str(tmp_path)).dataset
    assert found["id"][:] == ["train:0", "train:1", "train:1:0", "train:1:1"]


def test_imdb_parquet_without_unlabelled_reviews(write: Any, tmp_path: Path) -> None:
    write("imdb/train.parquet", {"text": ["a<br/>b", "c", "d"], "label": [1, -1, 0]})
    found = load_examples("imdb", "train", data_dir=str(tmp_path))
    assert [list(row.values()) for row in found.dataset.to_list()] == [
        ["train:0", "a b", None, "pos"],
        ["train:2", "d", None, "neg"],
    ]
    assert found.left_out == {"without a class (label -1)": 1}
    assert "(first: row 1)" in found.description
    write("imdb/train.parquet", {"text": ["c"], "label": [-1]})
    with pytest.raises(ValueError, match="has no rows; 1 record of"):
        load_examples("imdb", "train", data_dir=str(tmp_path))


def test_imdb_refuses_other_labels_bytes_and_splits(write: Any, tmp_path: Path) -> None:
    file = write("imdb/train.parquet", {"text": ["a", "b"], "label": [1, 2]})
    with pytest.raises(
        ValueError, match=f"^{file}, row 1: label is 2: give a whole number from -1 to 1; skip_bad_records leaves"
    ):
        load_examples("imdb", "train", data_dir=str(tmp_path))
    write("test/pos/1_9.txt", b"\xff")
    write("test/pos/2_9.txt", "fine")
    write("test/neg/3_1.txt", "poor")
    with pytest.raises(ValueError, match=r"test, pos/1_9.txt: not UTF-8"):
        load_examples("imdb", "test", data_dir=str(tmp_path))
    found = load_examples("imdb", "test", data_dir=str(tmp_path), skip_bad_records=True)
    assert found.left_out == {"that are not UTF-8": 1}
    with pytest.raises(ValueError, match="imdb has no split 'validation': choose from train, test"):
        load_examples("imdb", "validation", "hub")


# -- YELP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "yelp_review_full_csv/", "yelp_review_full/"])
def test_yelp_official(prefix: str, write: Any, tmp_path: Path) -> None:
    lines = ['"5","Great soup.\\n\\nWill be back, \\""really\\"" good."', '"1","x"', '"3","a, b"']
    write(f"{prefix}train.csv", "\n".join(lines))
    found = load_examples("yelp_review_full", "train", data_dir=str(tmp_path))
    assert found.dataset["text"][:] == ['Great soup.\n\nWill be back, "really" good.', "x", "a, b"]
    assert found.dataset["label"][:] == ["5 stars", "1 star", "3 stars"]
    assert found.dataset["id"][:] == ["train:0", "train:1", "train:2"]
    assert found.labels == ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")


def test_yelp_parquet_keeps_escapes_which_are_turned_back(write: Any, tmp_path: Path) -> None:
    write("yelp_review_full/test.parquet", {"label": [4, 0], "text": ['a\\nb \\"c\\"', "plain"]})
    found = load_examples("yelp_review_full", "test", data_dir=str(tmp_path)).dataset
    assert found["text"][:] == ['a\nb "c"', "plain"]
    assert found["label"][:] == ["5 stars", "1 star"]


def test_yelp_faults(write: Any, tmp_path: Path) -> None:
    file = write("train.csv", '"5","two\nlines"\n\n"6","b"\n"4"\n"2","c","d"\n"1","e"\n')
    with pytest.raises(ValueError, match=rf"^{file}, line "):
        load_examples("yelp_review_full", "train", data_dir=str(tmp_path))
    found = load_examples("yelp_review_full", "train", data_dir=str(tmp_path), skip_bad_records=True)
    assert found.dataset["text"][:] == ["two\nlines", "e"]
    assert found.dataset["id"][:] == ["train:0", "train:4"]
    assert found.left_out == {"with too many or too few values": 2, "with a faulty stars": 1}
    assert "1 with a faulty stars (first: line 4)" in found.description
    assert "too few values (first: line 5)" in found.description


# -- 20 Newsgroups -------------------------------------------------------------------------------------------------

MESSAGE = (
    b"From: ada@example.org (Ada Roy)\nNewsgroups: sci.space,\n\tsci.med\nSubject: Re: old m\xfclls\nLines: 2\n\n"
    b"> who has one?\nNewsgroups: not a header\x00\n"
)


def test_newsgroups_official(write: Any, tmp_path: Path) -> None:
    write("20_newsgroups/20news-bydate-train/sci.space/60", MESSAGE)
    write("20_newsgroups/20news-bydate-train/sci.space/9", b"Subject: none\n\n")
    write("20_newsgroups/20news-bydate-train/alt.atheism/60", MESSAGE)
    write("20_newsgroups/20news-bydate-train/sci.space/.DS_Store", b"\x00")
    for group in newsgroups().labels:
        (tmp_path / "20_newsgroups" / "20news-bydate-train" / group).mkdir(exist_ok=True)
    found = load_examples("20_newsgroups", "train", data_dir=str(tmp_path))
    assert found.dataset["id"][:] == ["train/alt.atheism/60", "train/sci.space/9", "train/sci.space/60"]
    assert found.dataset["label"][:] == ["alt.atheism", "sci.space", "sci.space"]
    assert found.dataset["text"][2] == (
        "From: ada@example.org (Ada Roy)\nSubject: Re: old mülls\nLines: 2\n\n"
        "> who has one?\nNewsgroups: not a header\x00\n"
    )
    assert len(found.labels) == 20
    assert list(found.labels) == sorted(found.labels)
    kept = load_examples(newsgroups(keep_newsgroups=True), "train", data_dir=str(tmp_path)).dataset
    assert "Newsgroups: sci.space,\n\tsci.med\n" in kept["text"][2]


def test_newsgroups_parquet(write: Any, tmp_path: Path) -> None:
    columns = {"text": [MESSAGE.decode("latin-1"), ""], "label": [3, 1], "label_text": ["sci.med", "rec.autos"]}
    write("20_newsgroups/test.parquet", columns)
    found = load_examples("20_newsgroups", "test", data_dir=str(tmp_path)).dataset
    assert found["label"][:] == ["sci.med", "rec.autos"]
    assert "sci.space" not in found["text"][0]
    assert found["text"][1] == ""
    file = write("20_newsgroups/test.parquet", {**columns, "label_text": ["sci.med", "cars"]})
    with pytest.raises(ValueError, match=rf"^{file}, row 1: label_text is 'cars': give one of alt.atheism, "):
        load_examples("20_newsgroups", "test", data_dir=str(tmp_path))
    (tmp_path / "20news-bydate-train" / "cars").mkdir(parents=True)
    with pytest.raises(ValueError, match="has the folder cars, which is none of the 20 groups"):
        load_examples("20_newsgroups", "train", data_dir=str(tmp_path))


# -- Hyperpartisan -------------------------------------------------------------------------------------------------

ARTICLES = "articles-training-byarticle-20181122.xml"
TRUTH = "ground-truth-training-byarticle-20181122.xml"


def xml(count: int) -> tuple[str, str]:
    """Articles of which each fourth is hyperpartisan; the first two have one text, and the last is empty."""
    texts = [f'The mill <a href="http://example.org/?a=1&gt;2">{max(row, 1)}</a> &amp;amp; co.' for row in range(count)]
    body = [f'<article id="{row:07}" title="a > b"><p>{text}</p></article>\n' for row, text in enumerate(texts[:-1])]
    body.append(f'<article id="{count - 1:07}"/>\n')
    truth = [f'<article id="{row:07}" hyperpartisan="{str(row % 4 == 2).lower()}"/>\n' for row in range(count)]
    return f"<articles>{''.join(body)}</articles>", f"<articles>{''.join(truth)}</articles>"


def whole(data_dir: Path, seed: int = 0, fold: int = 0) -> dict[str, list[dict[str, Any]]]:
    reader = hyperpartisan(split_seed=seed, fold=fold)
    return {split: load_examples(reader, split, data_dir=str(data_dir)).dataset.to_list() for split in reader.splits}


def test_hyperpartisan_official_split(write: Any, tmp_path: Path) -> None:
    articles, truth = xml(120)
    write(ARTICLES, articles)
    write(TRUTH, truth)
    parts = whole(tmp_path)
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 96, "validation": 12, "test": 12}
    assert {split: Counter(row["label"] for row in rows)["true"] for split, rows in parts.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    ids = [row["id"] for rows in parts.values() for row in rows]
    assert sorted(ids) == [f"{row:07}" for row in range(120)]
    of = {row["id"]: split for split, rows in parts.items() for row in rows}
    assert of["0000000"] == of["0000001"], "equal texts stay together"
    texts = {row["id"]: row["text"] for rows in parts.values() for row in rows}
    assert texts["0000005"] == "The mill 5 & co."
    assert texts["0000119"] == ""
    assert whole(tmp_path) == parts
    assert whole(tmp_path, seed=1) != parts
    assert load_examples("hyperpartisan_news_detection", "test", data_dir=str(tmp_path)).labels == ("false", "true")


@pytest.mark.parametrize("seed", [0, 5])
def test_the_test_splits_of_ten_folds_are_all_articles(seed: int, write: Any, tmp_path: Path) -> None:
    articles, truth = xml(129)
    write(ARTICLES, articles)
    write(TRUTH, truth)
    folds = [whole(tmp_path, seed, fold) for fold in range(10)]
    ids = [[row["id"] for row in parts["test"]] for parts in folds]
    assert sorted(key for fold in ids for key in fold) == [f"{row:07}" for row in range(129)]
    for fold, parts in enumerate(folds):
        assert {row["id"] for row in parts["validation"]} == set(ids[(fold + 1) % 10])
        assert sum(map(len, parts.values())) == 129
        assert 12 <= len(parts["test"]) <= 14
        assert 3 <= sum(row["label"] == "true" for row in parts["test"]) <= 4
    assert any({"0000000", "0000001"} <= set(fold) for fold in ids), "equal texts stay together"
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match=f"fold is {wrong}: give one from 0 to 9"):
            hyperpartisan(fold=wrong)


def test_hyperpartisan_zipped_and_damaged(write: Any, tmp_path: Path) -> None:
    articles, truth = xml(40)
    write(ARTICLES, articles)
    with pytest.raises(FileNotFoundError, match=f"lacks {TRUTH}: add it"):
        whole(tmp_path)
    for name, content in ((ARTICLES, articles), (TRUTH, truth)):
        (tmp_path / name).unlink(missing_ok=True)
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(name, content)
    assert sum(map(len, whole(tmp_path).values())) == 40
    write(TRUTH, truth.replace('id="0000003"', 'id="x"'))
    with pytest.raises(ValueError, match="article 3, id '0000003': no label true or false"):
        whole(tmp_path)
    write(TRUTH, truth)
    write(ARTICLES, articles[:-20])
    with pytest.raises(ValueError, match=f"{ARTICLES} is not XML"):
        whole(tmp_path)


def test_hyperpartisan_parquet(write: Any, tmp_path: Path) -> None:
    texts = ['<article id="1" title="x > y">\n<p>A &amp;#8217;b<a href="u">c</a></p><p>d &lt;e&gt;</p></article>'] * 10
    write("hyperpartisan_news_detection/train.parquet", {"text": texts, "hyperpartisan": [True] * 5 + [False] * 5})
    found = load_examples("hyperpartisan_news_detection", "train", data_dir=str(tmp_path)).dataset
    assert found["text"][:] == ["A ’bc d <e>"] * 10, "equal texts stay together"
    with pytest.raises(ValueError, match=r"test from .* has no rows"):
        load_examples("hyperpartisan_news_detection", "test", data_dir=str(tmp_path))


def test_hyperpartisan_shards_number_their_articles_apart(write: Any, tmp_path: Path) -> None:
    for shard in range(2):
        columns = {"text": [f"<p>{shard} {row}</p>" for row in range(30)], "hyperpartisan": [True, False] * 15}
        write(f"hyperpartisan_news_detection/train-0000{shard}-of-00002.parquet", columns)
    found = [
        key
        for split in ("train", "validation", "test")
        for key in load_examples("hyperpartisan_news_detection", split, data_dir=str(tmp_path)).dataset["id"]
    ]
    assert sorted(found) == sorted(f"article:{shard}{row}" for shard in ("", "1:") for row in range(30))


def test_plain_text() -> None:
    assert plain_text("<p>a</p><p>b</p>") == "a b"
    assert plain_text('x<a href="a>b">y</a>z') == "xyz"
    assert plain_text("1 &lt; 2 &amp;amp; <br/>3") == "1 < 2 & 3"
