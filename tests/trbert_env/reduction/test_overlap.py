"""Lexical overlap by hand, and its independence of batch mates."""

from __future__ import annotations

import numpy as np
import torch

from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.overlap import NUM_FEATURES, RADII, lexical_overlap

CLS, SEP = 1, 2


def text(*sequences: list[int]) -> EncodedText:
    ids = np.array([token for sequence in sequences for token in sequence], dtype=np.int32)
    lengths = tuple(map(len, sequences))
    return EncodedText(str(len(ids)), ids, np.zeros_like(ids), lengths, np.zeros(2, dtype=np.int64))


def norms(ids: list[int]) -> list[float]:
    """Embedding norms that tell the tokens apart, in no order."""
    return [1.0 + (token * 7 % 11) / 10 for token in ids]


def equal_norms(tokens: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(tokens))


def overlap_of(*texts: EncodedText, query_segment: int = 0, equal: bool = False) -> torch.Tensor:
    batch = TextBatch.from_texts(texts)
    return lexical_overlap(
        batch, equal_norms if equal else lambda tokens: torch.tensor(norms(tokens.tolist())), query_segment
    )


def naive(ids: list[int]) -> torch.Tensor:
    """The definition, token by token."""
    ends = ids.index(ids[-1])
    first, second = range(ends + 1), range(ends + 1, len(ids))
    features = torch.zeros(len(ids), NUM_FEATURES)
    if not second:
        return features
    words = [place for place in range(1, len(ids)) if ids[place] != ids[-1]]
    here, there = ({ids[place] for place in words if place in part} for part in (first, second))
    lengths = norms(ids)
    least, greatest = (bound(lengths[place] for place in words) for bound in (min, max))
    weight = [0.0] * len(ids)
    for place in words:
        if ids[place] in here & there:
            significance = (lengths[place] - least) / (greatest - least)
            weight[place] = significance / sum(ids[other] == ids[place] for other in second if other in words)
    for place in range(len(ids)):
        features[place, 0] = float(place in first or ids[place] == ids[-1])
        features[place, 1] = weight[place]
        for column, radius in enumerate(RADII):
            around = [other for other in range(len(ids)) if abs(other - place) <= radius]
            features[place, 2 + column] = sum(weight[other] for other in around if other in second) / len(around)
    greatest = features[:, 2:].amax(0)
    features[:, 2:] /= torch.where(greatest > 0, greatest, 1.0)
    return features


def test_a_question_and_its_passage() -> None:
    ids = [CLS, 7, 8, 9, SEP, *range(20, 45), 8, 7, 30, 7, *range(50, 90), 9, SEP]
    found = overlap_of(text(ids))
    torch.testing.assert_close(found, naive(ids), atol=1e-5, rtol=0)
    # "7" stands twice in the passage, "8" once; "30" stands there twice but is not asked for.
    assert overlap_of(text(ids), equal=True)[[1, 2, 30, 31, 32], 1].tolist() == [0.5, 1.0, 1.0, 0.5, 0.0]
    assert found.amin() >= 0
    assert found.amax() == 1


def test_short_embeddings_weigh_little() -> None:
    # [CLS] 7 8 9 [SEP] 7 8 9 9 5 [SEP]; the norms of [CLS] and the separators are no words'.
    ids = [CLS, 7, 8, 9, SEP, 7, 8, 9, 9, 5, SEP]
    lengths = {CLS: 0.1, SEP: 50.0, 7: 1.0, 8: 1.5, 9: 3.0, 5: 2.0}
    found = lexical_overlap(
        TextBatch.from_texts([text(ids)]), lambda tokens: torch.tensor([lengths[token] for token in tokens.tolist()])
    )
    assert found[:, 1].tolist() == [0, 0, 0.25, 0.5, 0, 0, 0.25, 0.5, 0.5, 0, 0]


def test_roberta_puts_two_separators_between() -> None:
    ids = [CLS, 7, 8, SEP, SEP, 20, 7, 21, SEP]
    torch.testing.assert_close(overlap_of(text(ids)), naive(ids), atol=1e-5, rtol=0)


def test_one_segment_has_no_overlap() -> None:
    assert not overlap_of(text([CLS, 7, 8, 7, SEP]), text([CLS])).any()
    assert overlap_of(text([CLS, 7, 8, 7, SEP]), text([CLS, 7, SEP, 7, SEP])).any()


def test_nothing_shared_leaves_the_first_segment_marked() -> None:
    found = overlap_of(text([CLS, 7, SEP, 8, 9, SEP]))
    assert found[:, 0].tolist() == [1, 1, 1, 0, 0, 1]
    assert not found[:, 1:].any()


def test_batch_mates_and_sequences_do_not_mix() -> None:
    generator = np.random.default_rng(0)
    sequences = [
        [CLS, *generator.integers(3, 20, 5).tolist(), SEP, *generator.integers(3, 20, size).tolist(), SEP]
        for size in (30, 11, 80, 3)
    ]
    texts = [text(sequences[0]), text(*sequences[1:3]), text(sequences[3])]
    found = overlap_of(*texts).split([len(sequence) for sequence in sequences])
    for mine, sequence in zip(found, sequences, strict=True):
        torch.testing.assert_close(mine, naive(sequence), atol=1e-5, rtol=0)


def test_the_question_may_be_the_second_segment() -> None:
    """Multiple choice: ``[CLS] article [SEP] question option [SEP]``, several sequences a text."""
    # [CLS] 20 7 21 7 8 [SEP] 7 9 8 [SEP]: the question asks for 7, 9 and 8; the article has 7 twice and 8 once.
    one = [CLS, 20, 7, 21, 7, 8, SEP, 7, 9, 8, SEP]
    found = overlap_of(text(one), query_segment=1, equal=True)
    assert found[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert found[:, 1].tolist() == [0, 0, 0.5, 0, 0.5, 1, 0, 0.5, 0, 1, 0]
    # Of 4 tokens to either side: what the article's weights sum up to, over how many tokens there are.
    means = torch.tensor([1 / 5, 2 / 6, 2 / 7, 2 / 8, 2 / 9, 2 / 9, 2 / 9, 1.5 / 8, 1.5 / 7, 1 / 6, 0])
    torch.testing.assert_close(found[:, 2], means / (2 / 6))
    # The question's own words are the same; what they point at is not.
    assert not overlap_of(text(one))[:, 0].equal(found[:, 0])


def test_options_of_a_text_do_not_mix() -> None:
    options = [[CLS, 20, 7, 8, SEP, 7, 30, SEP], [CLS, 20, 7, 8, SEP, 8, 8, SEP], [CLS, 20, 7, 8, SEP, 40, SEP]]
    found = overlap_of(text(*options), text(options[1]), query_segment=1, equal=True)
    found = found.split([*map(len, options), len(options[1])])
    assert [piece[:, 1].tolist() for piece in found] == [
        [0, 0, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 1, 1, 0],
        [0] * 7,
        [0, 0, 0, 1, 0, 1, 1, 0],
    ]
    for mine, ids in zip(found, [*options, options[1]], strict=True):
        alone = overlap_of(text(ids), query_segment=1, equal=True)
        torch.testing.assert_close(mine, alone)
        assert mine[:, 0].tolist() == [0.0] * 4 + [1.0] * (len(ids) - 4)


def test_one_segment_has_no_overlap_whichever_is_the_question() -> None:
    assert not overlap_of(text([CLS, 7, 8, 7, SEP]), query_segment=1).any()
