"""The cache of fine-tuned backbones: never half written, never lost, and tried before the work."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from trbert_env.data.cache import cache_lock, check_cache, fine_tuned_folder, leave, make_once
from trbert_env.presets import get_preset

PRESET = get_preset("SQuAD2")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(folder: Path, content: str, files: int = 5) -> Path:
    """A folder like a saved model's, all of whose files say the same."""
    folder.mkdir(parents=True)
    for index in range(files):
        (folder / f"file-{index}").write_text(content * 1000)
    return folder


def whole(target: Path, files: int = 5) -> str:
    """What the files say, which must be one thing."""
    contents = {path.read_text()[:1] for path in target.iterdir()}
    assert len(list(target.iterdir())) == files
    assert len(contents) == 1
    return contents.pop()


def leave_at(folder: Path, start: float) -> None:
    while os.times().elapsed < start:
        pass
    leave(folder, fine_tuned_folder(PRESET, "encoder", "local"))


def test_runs_that_end_together_all_succeed(tmp_path: Path, cache: Path) -> None:
    folders = [saved(tmp_path / name, name) for name in "abcdef"]
    target = fine_tuned_folder(PRESET, "encoder", "local")
    context = multiprocessing.get_context("fork")
    for _ in range(10):
        start = os.times().elapsed + 0.05
        processes = [context.Process(target=leave_at, args=(folder, start)) for folder in folders]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=60)
        assert [process.exitcode for process in processes] == [0] * len(folders)
        assert whole(target) in "abcdef"
        assert sorted(path.name for path in target.parent.iterdir()) == [".encoder.lock", "encoder"]


def test_what_a_killed_run_left_half_replaced_is_put_right(tmp_path: Path) -> None:
    leave(saved(tmp_path / "a", "a"), fine_tuned_folder(PRESET, "encoder", "local"))
    target = fine_tuned_folder(PRESET, "encoder", "local")
    staging = target.with_name(".encoder.staging")
    # Killed in the copy.
    saved(staging / "new", "h", files=2)
    with cache_lock(target):
        assert whole(target) == "a"
    assert not staging.exists()
    # Killed between the two renames: the old one comes back.
    saved(staging / "new", "h")
    target.rename(staging / "old")
    with cache_lock(target):
        assert whole(target) == "a"
    assert not staging.exists()
    # Killed before the old one was removed.
    saved(staging / "old", "h")
    leave(saved(tmp_path / "b", "b", files=3), fine_tuned_folder(PRESET, "encoder", "local"))
    assert whole(target, files=3) == "b"
    assert not staging.exists()


def test_what_is_made_once_is_made_whole_or_not_at_all(tmp_path: Path, cache: Path) -> None:
    target = cache / "tokens" / "x"

    def stopped(folder: Path) -> None:
        (folder / "file-0").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(target, stopped)
    assert not target.exists()
    for content in "ab":  # the second finds what the first made
        make_once(target, lambda folder, content=content: (folder / "file-0").write_text(content))  # type: ignore[misc]
        assert whole(target, files=1) == "a"
    assert sorted(path.name for path in target.parent.iterdir()) == [".x.lock", "x"]


def test_a_name_that_begins_with_another_is_left_alone(tmp_path: Path) -> None:
    for name in ("encoder", "encoder.v2", "encoder.staging"):
        leave(saved(tmp_path / name, name[-1]), fine_tuned_folder(PRESET, name, "local"))
    leave(saved(tmp_path / "again", "x"), fine_tuned_folder(PRESET, "encoder", "local"))
    assert whole(fine_tuned_folder(PRESET, "encoder.v2", "local")) == "2"
    assert whole(fine_tuned_folder(PRESET, "encoder.staging", "local")) == "g"
    assert whole(fine_tuned_folder(PRESET, "encoder", "local")) == "x"


@pytest.mark.parametrize("name", ["e" * 300, "é" * 200, "some/" * 50, f"hub/{'x' * 251}"])
def test_a_long_name_is_shortened_and_stays_its_own(tmp_path: Path, name: str) -> None:
    one, other = (fine_tuned_folder(PRESET, found, "local") for found in (name, f"{name}2"))
    assert one != other
    leave(saved(tmp_path / "a", "a"), fine_tuned_folder(PRESET, name, "local"))
    leave(saved(tmp_path / "b", "b"), fine_tuned_folder(PRESET, f"{name}2", "local"))
    assert (whole(one), whole(other)) == ("a", "b")


def test_a_short_name_is_what_it_was(cache: Path) -> None:
    assert fine_tuned_folder(PRESET, "hub/name", "local") == cache / "backbones" / "SQuAD2" / "local" / "hub--name"


def test_a_cache_that_is_a_file_is_said(cache: Path) -> None:
    cache.write_text("")
    with pytest.raises(OSError, match=r"cannot be written.*set TRBERT_CACHE") as caught:
        check_cache(fine_tuned_folder(PRESET, "encoder", "local"))
    assert str(cache) in str(caught.value)


def test_a_cache_that_is_good_is_left_as_it_was(cache: Path) -> None:
    target = fine_tuned_folder(PRESET, "encoder", "local")
    check_cache(target)
    assert list(target.parent.iterdir()) == []
