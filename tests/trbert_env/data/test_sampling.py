"""Samples and held-out records keep groups together, and are as before where there are none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets

from trbert_env.data.sampling import begin, hold_out, passages_of, sample


def grouped(*sizes: int) -> Dataset:
    """Records of groups of some sizes, which take turns."""
    names = sorted((place, name) for name, size in enumerate(sizes) for place in range(size))
    return Dataset.from_dict({"id": list(map(str, range(len(names)))), "group": [f"g{name}" for _, name in names]})


def test_without_groups_the_order_is_that_of_a_permutation() -> None:
    data = Dataset.from_dict({"id": list(map(str, range(100)))})
    order = [str(row) for row in np.random.default_rng(3).permutation(100)]
    assert sample(data, None, seed=3)["id"][:] == order
    assert sample(data, 17, seed=3)["id"][:] == order[:17]
    rest, aside = hold_out(data, 30, seed=3)
    assert (rest["id"][:], aside["id"][:]) == (order[:70], order[70:])
    assert passages_of(rest).tolist() == list(range(70))
    assert len(sample(rest, 5)) == 5


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(seed: int) -> None:
    data = grouped(*[1, 2, 3, 4, 5] * 6)
    sizes = Counter(data["group"][:])
    everything = sample(data, None, seed)
    assert sorted(everything["id"][:], key=int) == data["id"][:]
    for count in range(5, len(data)):
        some = sample(data, count, seed)
        assert count - 5 < len(some) <= count
        assert some["id"][:] == everything["id"][: len(some)], "a smaller sample begins a larger one"
        assert all(sizes[group] == number for group, number in Counter(some["group"][:]).items())
    for count in range(0, len(data) - 5):
        rest, aside = hold_out(data, count, seed)
        assert count <= len(aside) < count + 5
        assert rest["id"][:] + aside["id"][:] == everything["id"][:]
        assert not set(rest["group"][:]) & set(aside["group"][:])
        assert not count or not set(sample(data, len(data) - count, seed)["group"][:]) & set(aside["group"][:])


FORMS = {
    "questions": lambda passage, number: {"context": passage, "question": number},
    "pairs": lambda passage, number: {"text": passage[:1], "text_pair": passage[1:]},
    "texts": lambda passage, number: {"text": passage, "text_pair": None},
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_held_out_shares_no_passage_with_any_sample_beside_it(form: str) -> None:
    passages = [f"p{number}" for number in range(40) for _ in range(1 + number % 5)]
    rows = [{"id": str(row), **FORMS[form](passage, str(row))} for row, passage in enumerate(passages)]
    parts = [Dataset.from_list(rows[:50]), Dataset.from_list(rows[50:])]
    data = concatenate_datasets(parts)
    assert len(set(passages_of(data).tolist())) == 40

    def told(records: Dataset) -> set[str]:
        return {passages[int(key)] for key in records["id"][:]}

    assert len(told(sample(data, 20, 3))) > 10  # not five passages of four
    for count in range(61):
        rest, aside = hold_out(data, count, 3)
        assert count <= len(aside) < count + 5
        assert sorted(rest["id"][:] + aside["id"][:], key=int) == data["id"][:]
        assert not told(rest) & told(aside)
        assert not told(sample(data, len(rest), 3)) & told(aside)
    with pytest.raises(ValueError, match="those that share a passage stay together"):
        hold_out(data, len(data) - 1, 3)


@pytest.mark.parametrize("sizes", [(20,), (12, 8), (3, 17)])
def test_samples_of_few_passages_are_random_all_the_same(sizes: tuple[int, ...]) -> None:
    contexts = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    data = Dataset.from_dict({"id": list(map(str, range(20))), "context": contexts})
    for seed in range(4):
        found = sample(data, 6, seed)["id"][:]
        assert len(found) == 6
        assert found != sorted(found, key=int)
    assert sorted(sample(data, None)["id"][:], key=int) == data["id"][:]
    if len(sizes) == 1:
        with pytest.raises(ValueError, match="give examples of several passages"):
            hold_out(data, 2)


@pytest.mark.parametrize("sizes", [(400, *[5] * 10), (*[5] * 10, 400), (20, 300, 20), (200, 100, 60)])
@pytest.mark.parametrize("form", ["context", "group"])
def test_nothing_is_held_out_of_a_passage_that_has_most_records(sizes: tuple[int, ...], form: str) -> None:
    names = [f"passage {number}" for number, size in enumerate(sizes) for _ in range(size)]
    data, large = Dataset.from_dict({form: names, "id": range(len(names))}), f"passage {sizes.index(max(sizes))}"
    for seed in range(5):
        rest, withheld = hold_out(data, len(names) // 10, seed)
        assert len(withheld) <= len(rest)
        assert large not in withheld[form][:]
        beside = sample(data, len(rest), seed)
        assert not set(beside["id"][:]) & set(withheld["id"][:]), "a sample has none of them"


def test_no_records_have_no_passages() -> None:
    assert passages_of(Dataset.from_dict({"context": []})).tolist() == []
    assert len(sample(Dataset.from_dict({"text": ["a"], "text_pair": [None]}).select([]), 3)) == 0


def test_the_beginning_of_what_lies_in_random_order_has_whole_groups() -> None:
    everything = sample(grouped(*[1, 2, 3, 4, 5] * 6), None, 7)
    for count in range(1, len(everything) + 2):
        assert begin(everything, count)["id"][:] == sample(grouped(*[1, 2, 3, 4, 5] * 6), count, 7)["id"][:]
    data = Dataset.from_dict({"id": list(map(str, range(9)))})
    assert begin(data, 4)["id"][:] == ["0", "1", "2", "3"]
    with pytest.raises(ValueError, match="the number of examples is 0"):
        begin(data, 0)


def test_a_first_group_that_is_too_large_is_cut_but_never_held_out_in_part() -> None:
    data = grouped(6)
    assert sample(data, 2)["id"][:] == ["0", "1"]
    with pytest.raises(ValueError, match="2 of 6 examples cannot be held out, as those that share a passage"):
        hold_out(data, 2)
    rest, aside = hold_out(data, 0)
    assert (len(rest), len(aside)) == (6, 0)
