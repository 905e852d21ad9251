"""Lexical overlap: which neighbourhoods of one segment share words with the other (question and passage).

States of the first layers hardly know yet what is asked: measured on SQuAD 2.0, token identity alone
says far more about which sentences can stop early. It costs no FLOPs to speak of, and no gold answer.

What a shared word is worth depends on how common it is. No word counts are needed for that: embeddings of words that
stand in every kind of context are short, those of words with a meaning of their own are long (Schakel and Wilson, 2015,
"Measuring Word Significance using Distributed Representations of Words").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trbert_env.encoder.packing import segment_starts
from trbert_env.encoder.texts import TextBatch
from trbert_env.reduction.float64 import in_float64

#: Tokens to either side that a neighbourhood reaches: a phrase, and about a sentence.
RADII = (4, 16)
#: Columns of the features; see :func:`lexical_overlap`.
NUM_FEATURES = 2 + len(RADII)


def lexical_overlap(batch: TextBatch, norms: Callable[[Tensor], Tensor], query_segment: int = 0) -> Tensor:
    """Features of every token, each in [0, 1]: ``(total_tokens, NUM_FEATURES)`` float32.

    A sequence is taken as two segments, the first of which ends with the first separator (the token that the sequence
    ends with); one is the query, the other the passage. A token matches if it stands in both. Its weight is its
    significance over how often it stands in the passage: words that are everywhere in a language or in a passage say
    little about a place in it. Significance is the norm of the word embedding, scaled so that the least of a sequence
    is 0 and the greatest 1 (all are 1 where they are equal). The columns are: 1 for the query and for separators; the
    token's own weight; the mean weight of the neighbourhood of each of :data:`RADII`, in which only tokens of the
    passage weigh, over the sequence's greatest. Where there is one segment only, all are 0.

    Args:
        batch: The texts.
        norms: Function that gives token ids, ``(total_tokens,)``, the float32 norms of their word embeddings; not
            called where it is known at once that no sequence has two segments.
        query_segment: Segment of the query: 0, the first, or 1.

    Example:
        >>> from trbert_env.encoder.texts import TextBatch
        >>> ids = torch.tensor([[1, 7, 8, 2, 5, 7, 5, 2]])  # [CLS] 7 8 [SEP] 5 7 5 [SEP]
        >>> norms = {1: 9.0, 2: 9.0, 5: 1.0, 7: 1.5, 8: 1.2}
        >>> found = lexical_overlap(
        ...     TextBatch.from_padded(ids), lambda tokens: torch.tensor([norms[token] for token in tokens.tolist()])
        ... )
        >>> found[:, :2].T.tolist()
        [[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]]
    """
    layout = batch.layout
    lengths = layout.sequence_lengths.to(layout.device)
    starts = segment_starts(lengths)
    sequence = torch.repeat_interleave(lengths, output_size=layout.total_tokens)
    separators = batch.input_ids == batch.input_ids[(starts + lengths - 1)[sequence]]
    before = separators.long().cumsum(0) - separators.long()
    first = before == before[starts][sequence]
    # A lone segment is all "first" up to its only separator: there is nothing to compare with.
    paired = torch.zeros_like(lengths).index_add(0, sequence, (~first).long()) > 0
    if layout.device.type == "cpu" and not bool(paired.any()):  # a GPU would wait for it
        return torch.zeros(layout.total_tokens, NUM_FEATURES, dtype=torch.float32, device="cpu")
    query = first if query_segment == 0 else ~first
    words = ~separators
    words[starts] = False  # [CLS]
    word = _word_numbers(sequence, batch.input_ids)
    none = torch.zeros(len(word), dtype=torch.float32, device=layout.device)
    in_query = none.index_add(0, word, (query & words).float())
    in_passage = none.index_add(0, word, (~query & words).float())
    matched = (in_query > 0) & (in_passage > 0)
    weight = torch.where(matched, 1.0 / in_passage.clamp(min=1.0), 0.0)
    own = weight[word] * _significance(norms(batch.input_ids), words, sequence, len(lengths))
    # A question's own words would make its first neighbours in the passage look like matches.
    passage = own * ~query
    columns = [(query | separators).float(), own, *_neighbourhoods(passage, starts, lengths, sequence)]
    return torch.stack(columns, 1) * paired[sequence][:, None]


def _word_numbers(sequence: Tensor, input_ids: Tensor) -> Tensor:
    """``(total_tokens,)`` int64: equal for equal token ids of a sequence, and less than the number of tokens.

    Not by ``torch.unique``, which has to tell the host how many there are, so that a GPU would wait.
    """
    ordered, order = (sequence * (input_ids.max() + 1) + input_ids).sort()
    changes = torch.nn.functional.pad(ordered[1:] != ordered[:-1], (1, 0))
    return torch.empty_like(order).scatter_(0, order, changes.cumsum(0))


def _significance(norms: Tensor, words: Tensor, sequence: Tensor, count: int) -> Tensor:
    """Norms of words scaled to [0, 1] in each of ``count`` sequences; 0 for what is no word."""
    least = norms.new_full((count,), torch.inf)
    least = least.scatter_reduce(0, sequence, norms.masked_fill(~words, torch.inf), "amin")[sequence]
    greatest = norms.new_zeros(count).scatter_reduce(0, sequence, norms * words, "amax")[sequence]
    scaled = torch.where(greatest > least, (norms - least) / (greatest - least), 1.0)
    return torch.where(words, scaled, 0.0)


def _neighbourhoods(values: Tensor, starts: Tensor, lengths: Tensor, sequence: Tensor) -> Tensor:
    """``(len(RADII), total_tokens)`` means over the tokens within a radius in the same sequence, over the greatest.

    All radii at once: for a single text, the number of calls is the cost.
    """
    place = torch.arange(len(values), device=values.device)
    radii = torch.tensor(RADII, device=values.device)[:, None]
    low = torch.maximum(place - radii, starts[sequence])
    high = torch.minimum(place + radii + 1, (starts + lengths)[sequence])
    sums = torch.nn.functional.pad(in_float64(values).cumsum(0), (1, 0))
    low, high = low.to(sums.device), high.to(sums.device)
    means = ((sums[high] - sums[low]) / (high - low)).float().to(values.device).clamp(min=0.0)
    greatest = means.new_zeros(len(RADII), len(lengths)).scatter_reduce(1, sequence.expand_as(means), means, "amax")
    return means / greatest.clamp(min=1e-6)[:, sequence]
