"""The grid of a benchmark: what its cells hold, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from runners.benchmark import inference_record
from runners.evaluation.grid import Measurement, Order, Side, batch_cells, grid_record, measure_grid
from runners.evaluation.growth import random_texts
from runners.evaluation.machine import LoadWatch
from trbert_env.encoder.families import LayerSize
from trbert_env.reduction.cost import layer_flops
from trbert_env.staged_model import StagedModel
from trbert_env.system import StockSystem, UnreducedSystem
from trbert_env.tasks import SpanQA

LENGTHS = (9, 30, 4, 17)


@pytest.fixture
def rows(make_model: Callable[..., PreTrainedModel]) -> list[Measurement]:
    model = make_model("bert", hidden=48, layers=2)
    systems = {"stock": StockSystem(model, SpanQA()), "packed": UnreducedSystem(StagedModel(model, SpanQA()))}
    sides = [Side(kind, "torch", "float32", system, kind) for kind, system in systems.items()]
    texts = [text for length in LENGTHS for text in random_texts(length, 1, 60, seed=0)]
    return measure_grid(sides, batch_cells(texts, (2, 4), ("sorted", "unsorted")), 2, LoadWatch())


def test_cells_hold_the_same_texts_in_their_order() -> None:
    texts = [text for length in LENGTHS for text in random_texts(length, 1, 60, seed=0)]
    cells = {cell.key: cell for cell in batch_cells(texts, (2, 3), ("sorted", "unsorted"))}
    assert list(cells) == ["batch_2_sorted", "batch_2_unsorted", "batch_3_sorted", "batch_3_unsorted"]
    assert [len(text) for text in cells["batch_3_sorted"].texts] == [4, 9, 17, 30]
    assert [len(text) for text in cells["batch_3_unsorted"].texts] == [9, 30, 4, 17]
    assert [len(text) for text in cells["batch_2_sorted"].largest] == [17, 30]
    assert [len(text) for text in cells["batch_3_unsorted"].largest] == [9, 30, 4]  # padded, the largest


def test_what_is_measured_of_a_side(rows: list[Measurement], make_model: Callable[..., PreTrainedModel]) -> None:
    config = make_model("bert", hidden=48, layers=2).config
    size = LayerSize(48, config.intermediate_size)
    expected = sum(2 * float(layer_flops(length, size)) for length in LENGTHS) / len(LENGTHS) / 1e9
    assert len(rows) == 8
    for row in rows:
        assert row.gflops == pytest.approx(expected)
        assert row.tokens == 15.0
        assert row.milliseconds > 0
        assert row.cpu_milliseconds > 0
        assert row.mebibytes is not None
        assert row.matrix_share is not None
        assert row.row()["gflops_per_second"] == pytest.approx(1000 * row.gflops / row.milliseconds)
    # Padding costs memory: of texts as they were drawn, the longest stands beside a short one.
    of_stock = {row.cell: row.mebibytes for row in rows if row.name == "stock"}
    assert of_stock["batch_2_unsorted"] == pytest.approx(of_stock["batch_2_sorted"], rel=0.1)
    assert of_stock["batch_4_sorted"] > of_stock["batch_2_sorted"]


@pytest.mark.parametrize("orders", [("sorted",), ("unsorted",), ("unsorted", "sorted")])
def test_a_speed_up_over_stock_transformers_is_of_sorted_texts_or_says_so(orders: tuple[Order, ...]) -> None:
    # Stock transformers need 4 ms of a sorted text and 6 of another one, where they pad more.
    def row(kind: str, order: str, milliseconds: float) -> Measurement:
        plain = ("torch", "float32", f"batch_2_{order}", 2, order, 10, 15.0, 1.0 if kind == "reduced" else 2.0)
        return Measurement(kind, kind, *plain, milliseconds, 0.0, milliseconds, None, None, None)

    rows = [
        row(kind, order, milliseconds)
        for order in orders
        for kind, milliseconds in (("stock", 4.0 if order == "sorted" else 6.0), ("packed", 3.0), ("reduced", 2.0))
    ]
    record = inference_record(rows)
    name, ratio = ("stock", 2.0) if "sorted" in orders else ("stock_unsorted", 3.0)
    assert record[f"wall_speedup_{name}"] == record[f"cpu_speedup_{name}"] == ratio
    assert record[f"{name}_over_flops"] == ratio / 2.0
    assert record[f"{name}_seconds"] == pytest.approx(ratio * 0.02)
    assert (record["wall_speedup_packed"], record["packed_over_flops"]) == (1.5, 0.75)
    assert sum("speedup_stock" in name for name in record) == 2


def test_flops_speed_ups_are_against_stock_transformers() -> None:
    """Our packed encoder computes less of a classifier with nothing skipped, and is held to what it computes."""
    of = {"stock": (12.0, 6.0), "packed": (8.0, 5.0), "reduced": (4.0, 2.0)}  # milliseconds, GFLOPs
    rows = [
        Measurement(
            kind, kind, "torch", "float32", "batch_2_sorted", 2, "sorted", 10, 15.0, flops, ms, 0.0, ms, *[None] * 3
        )
        for kind, (ms, flops) in of.items()
    ]
    record = inference_record(rows)
    assert record["flops_speedup"] == 3.0
    assert record["stock_over_flops"] == 3.0 / 3.0
    assert record["packed_over_flops"] == 2.0 / 2.5


def test_records_have_flat_names_and_no_empty_values(rows: list[Measurement]) -> None:
    record = grid_record(rows)
    assert record["packed_batch_4_unsorted_milliseconds"] == next(
        row.milliseconds for row in rows if (row.name, row.cell) == ("packed", "batch_4_unsorted")
    )
    assert all(value is not None for value in record.values())
    assert torch.tensor(list(record.values())).isfinite().all()
