from __future__ import annotations

import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runners.runs.checkpoint import FORMAT, has_state, load_state, save_state, saved_progress
from runners.runs.tree import decode_tree


def round_trip(tmp_path: Path, state: Any) -> Any:
    save_state(tmp_path / "checkpoint", state)
    return load_state(tmp_path / "checkpoint")


def test_progress_stands_beside_the_state(tmp_path: Path) -> None:
    assert saved_progress(tmp_path / "checkpoint") == 0.0
    save_state(tmp_path / "checkpoint", {"step": 1})
    assert saved_progress(tmp_path / "checkpoint") == 0.0
    save_state(tmp_path / "checkpoint", {"step": 2}, progress=0.25)
    assert saved_progress(tmp_path / "checkpoint") == 0.25
    assert load_state(tmp_path / "checkpoint") == {"step": 2}


def to_bytes(tensor: torch.Tensor) -> bytes:
    """A tensor's memory; numpy knows no bfloat16."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy().tobytes()


def assert_same(left: Any, right: Any) -> None:
    """Equal to the bit, types included."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert to_bytes(left) == to_bytes(right)
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()
    else:
        assert repr(left) == repr(right)


def test_plain_values_come_back_exactly(tmp_path: Path) -> None:
    state = {
        "none": None,
        "flags": [True, False],
        "integers": [0, -1, 2**127 + 1, -(2**200)],
        "floats": [0.1, 1e-320, -0.0, float("inf"), float("-inf"), float("nan"), 1 / 3],
        "text": 'Zürich "quoted" \u2028 \n',
        3: {"deep": [[], {}, {-1: {"1": "text key", 1: "integer key"}}]},
        "dict": 1,
        "look-alike": {"tensor": "t0"},
    }
    assert_same(round_trip(tmp_path, state), state)


def test_tuples_become_lists_and_mappings_dicts(tmp_path: Path) -> None:
    assert_same(round_trip(tmp_path, (1, OrderedDict(a=(2,)))), [1, {"a": [2]}])


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int8,
        torch.int64,
        torch.bool,
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 5)])
def test_tensors_come_back_exactly(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape) * 100).to(dtype)
    assert_same(round_trip(tmp_path, {"x": tensor})["x"], tensor)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "u2", "u4", "u8", "i8", "?"])
@pytest.mark.parametrize("shape", [(), (0,), (4, 5)])
def test_arrays_come_back_exactly(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).random(shape) * 200).astype(dtype)
    assert_same(round_trip(tmp_path, [array])[0], array)


def test_views_parameters_and_shared_memory(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "all": base,
        "same": base,
        "row": base[1],
        "transposed": base.T,
        "parameter": torch.nn.Parameter(base),
    }
    loaded = round_trip(tmp_path, state)
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor.detach())
        assert not loaded[name].requires_grad
    array = np.arange(12).reshape(3, 4)
    array.flags.writeable = False
    assert_same(round_trip(tmp_path, [array.T])[0], np.ascontiguousarray(array.T))


def train(steps: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()


def make_training(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 1))
    groups = [
        {"params": model[0].parameters(), "lr": 1e-2},
        {"params": model[2].parameters(), "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.98))


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = make_training(seed=1)
    train(5, model, optimizer)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "torch": torch.get_rng_state()}
    save_state(tmp_path, state)
    train(5, model, optimizer)

    resumed, resumed_optimizer = make_training(seed=2)
    loaded = load_state(tmp_path)
    assert set(loaded["optimizer"]["state"]) == {0, 1, 2, 3}
    resumed.load_state_dict(loaded["model"])
    resumed_optimizer.load_state_dict(loaded["optimizer"])
    torch.set_rng_state(loaded["torch"])
    train(5, resumed, resumed_optimizer)
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_numpy_generators_go_on(tmp_path: Path, kind: Callable[[int], np.random.BitGenerator]) -> None:
    generator = np.random.Generator(kind(3))
    generator.random(7)
    loaded = round_trip(tmp_path, {"rng": generator.bit_generator.state})
    expected = generator.random(50)
    other = np.random.Generator(kind(4))
    other.bit_generator.state = loaded["rng"]
    assert np.array_equal(other.random(50), expected)


def test_the_saved_state_is_a_copy(tmp_path: Path) -> None:
    tensor = torch.zeros(3)
    save_state(tmp_path, [tensor])
    loaded = load_state(tmp_path)
    loaded[0] += 1
    assert torch.equal(load_state(tmp_path)[0], tensor)
    # What was loaded stays when its file goes.
    save_state(tmp_path, [loaded[0] * 5])
    assert torch.equal(loaded[0], torch.ones(3))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [0, {1, 2}]}, r"state\['a'\]\[1\] is of type set"),
        ({"a": np.float32(1)}, r"state\['a'\] is of type numpy.float32"),
        ({(1, 2): 3}, r"state has the key \(1, 2\)"),
        ({True: 3}, "state has the key True"),
        ([np.array(["x"])], r"state\[0\] is an array of <U1"),
        ([np.array([None])], r"state\[0\] is an array of object"),
    ],
)
def test_what_cannot_be_stored_is_named_and_the_old_state_stays(tmp_path: Path, state: Any, message: str) -> None:
    save_state(tmp_path, {"old": 1})
    with pytest.raises(TypeError, match=message):
        save_state(tmp_path, state)
    assert load_state(tmp_path) == {"old": 1}


def test_only_the_latest_state_is_kept(tmp_path: Path) -> None:
    assert not has_state(tmp_path / "none")
    for step in range(12):
        save_state(tmp_path, {"step": step, "x": torch.full((2,), step)})
        assert has_state(tmp_path)
        assert load_state(tmp_path)["step"] == step
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.rglob("*.pt"))


class Crash(BaseException):
    """The machine stops here."""


#: Every way in which the writing touches the disk.
DISK_CALLS = [
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (shutil, "rmtree"),
    (Path, "mkdir"),
    (Path, "open"),
]


def crash_at(monkeypatch: pytest.MonkeyPatch, call: int, *, after: bool) -> list[str]:
    """Make the ``call``-th touch of the disk raise, before or after it has its effect."""
    touched: list[str] = []

    def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            touched.append(name)
            if len(touched) == call and not after:
                raise Crash
            result = original(*arguments, **options)
            if len(touched) == call:
                raise Crash
            return result

        return wrapped

    for owner, name in DISK_CALLS:
        monkeypatch.setattr(owner, name, wrap(name, getattr(owner, name)))
    return touched


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_moment_leaves_a_whole_state(tmp_path: Path, after: bool) -> None:
    old = {"step": 1, "x": torch.zeros(1000)}
    new = {"step": 2, "x": torch.ones(1000)}
    outcomes = []
    for call in range(1, 100):
        directory = tmp_path / str(call)
        save_state(directory, old)
        with pytest.MonkeyPatch.context() as patch:
            touched = crash_at(patch, call, after=after)
            crashed = True
            try:
                save_state(directory, new)
                crashed = False
            except Crash:
                pass
        loaded = load_state(directory)
        assert_same(loaded, old if loaded["step"] == 1 else new)
        outcomes.append(loaded["step"])
        # The next write works, and clears away what the crash left.
        save_state(directory, new | {"step": 3})
        assert load_state(directory)["step"] == 3
        assert {path.name for path in directory.glob("*[0-9]*")} == {json_pointer(directory)}
        if not crashed:
            break
    assert not crashed
    assert {"fsync", "rename", "replace", "rmtree"} <= set(touched)
    # The old state until the pointer moves, the new one from then on.
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {1, 2}


def json_pointer(directory: Path) -> str:
    return str(json.loads((directory / "latest.json").read_text())["folder"])


def test_half_written_files_are_never_read(tmp_path: Path) -> None:
    save_state(tmp_path, {"step": 1})
    partial = tmp_path / "step-000002.partial"
    partial.mkdir()
    (partial / "state.safetensors").write_bytes(b"\0" * 5)
    unnamed = tmp_path / "step-000007"  # whole by its name, but the pointer never moved to it
    unnamed.mkdir()
    assert load_state(tmp_path) == {"step": 1}
    save_state(tmp_path, {"step": 2})
    assert load_state(tmp_path) == {"step": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "step-000008"]


def test_a_missing_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        load_state(tmp_path)


POINTER = {"folder": "step-000001", "format": FORMAT, "run_id": "this run"}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("latest.json", b"{", "latest.json is not valid JSON"),
        ("latest.json", b"\xff\xfe", "latest.json is not valid JSON"),
        ("latest.json", b'{"folder": "../../elsewhere"}', "names no step folder"),
        ("latest.json", b'{"folder": 3}', "names no step folder"),
        ("latest.json", b"[]", "holds list, not a record"),
        ("latest.json", b"null", "holds NoneType, not a record"),
        ("latest.json", b"{}", "latest.json lacks folder"),
        ("latest.json", b'{"folder": "step-000001"}', f"format 1, this version reads {FORMAT}"),
        ("latest.json", json.dumps(POINTER | {"format": 99}).encode(), "format 99, this version reads"),
        ("latest.json", json.dumps(POINTER | {"run_id": "x"}).encode(), "belongs to run 'x', not to this one"),
        ("latest.json", json.dumps(POINTER).encode(), "state.safetensors is damaged"),
        ("latest.json", json.dumps(POINTER | {"digests": []}).encode(), "state.safetensors is damaged"),
        ("step-000001/state.json", b"[1", "state.json is damaged"),
        ("step-000001/state.json", b'{"tensor": "t9"}', "state.json is damaged"),
        ("step-000001/state.safetensors", b"\0" * 30, "state.safetensors is damaged"),
        ("step-000001/state.safetensors", b"", "state.safetensors is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    save_state(tmp_path, {"x": torch.ones(3)}, "this run")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_state(tmp_path, "this run")
    assert str(tmp_path) in str(caught.value)


def test_a_single_flipped_bit_is_noticed(tmp_path: Path) -> None:
    save_state(tmp_path, {"x": torch.ones(3)}, "this run")
    for name in ("state.safetensors", "state.json"):
        file = tmp_path / "step-000001" / name
        content = file.read_bytes()
        for place in (len(content) // 2, len(content) - 2):
            flipped = bytearray(content)
            flipped[place] ^= 4
            file.write_bytes(flipped)
            with pytest.raises(ValueError, match=f"{name} is damaged"):
                load_state(tmp_path, "this run")
        file.write_bytes(content)
    assert torch.equal(load_state(tmp_path, "this run")["x"], torch.ones(3))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"tensor": "t9"}, "a missing tensor 't9'"),
        ({"code": 1}, "unknown kind 'code'"),
        ({"dict": [], "list": []}, "an object with the keys"),
    ],
)
def test_a_tree_of_an_unknown_form_is_refused(tree: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_tree(tree, {})
