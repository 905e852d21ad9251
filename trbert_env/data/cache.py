"""The cache: what was made once and is kept for later runs, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from trbert_env.data.fingerprints import fingerprint, fingerprint_file
from trbert_env.presets import Preset

#: Bytes of a name in the cache, beyond which it is shortened.
LONGEST_NAME = 200


class NoHomeError(OSError):
    """There is no place for the cache."""


def cache_folder() -> Path:
    """Where what was made once is kept: the environment variable ``TRBERT_CACHE``, or ``~/.cache/trbert_env``.

    Raises:
        NoHomeError: The variable is not set, and there is no home directory.
    """
    root = os.environ.get("TRBERT_CACHE")
    if root:
        return Path(root)
    try:
        return Path.home() / ".cache" / "trbert_env"
    except RuntimeError as error:
        raise NoHomeError("there is no home directory to keep a cache in: set TRBERT_CACHE to a folder") from error


def fine_tuned_folder(preset: Preset, name: str, data_source: str, extended_to: int | None = None) -> Path:
    """Return where ``runners/finetune.py`` leaves a fine-tuned backbone, and an environment looks for one.

    Args:
        preset: The data set.
        name: The backbone's name; of a folder, configuration and weights count too, as they may be replaced.
        data_source: Source of the data that it was trained on.
        extended_to: Positions that it was extended to before; None where it was not.
    """
    key = name
    if os.path.isdir(name):  # not by Path, which fails on long names
        folder = Path(name).resolve()
        key = f"{folder}@{_content(folder)}"
    key = key.strip("/").replace("/", "--")
    if len(key.encode()) > LONGEST_NAME:
        # File systems know names of up to 255 bytes; the end of a path tells more than its beginning.
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        key = f"{digest}--{key.encode()[-100:].decode(errors='ignore')}"
    lengths = "" if extended_to is None else f"-{extended_to}"
    return cache_folder() / "backbones" / preset.name / f"{data_source}{lengths}" / key


def _content(folder: Path) -> str:
    """The fingerprint of an encoder's configuration and weights."""
    files = sorted(file for pattern in ("config.json", "*.safetensors", "*.bin") for file in folder.glob(pattern))
    return fingerprint(f"{file.name} {fingerprint_file(file)}".encode() for file in files)


def check_cache(target: Path) -> None:
    """Check that something can be left in the cache, before the work that is to be left there.

    Args:
        target: A file or folder in :func:`cache_folder`.

    Raises:
        OSError: Nothing can be written there; the message names the folder and the variable that moves it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=target.name[:100], dir=target.parent):
            pass
    except OSError as error:
        raise OSError(
            f"the cache {target.parent} cannot be written ({error.strerror or error}): "
            "set TRBERT_CACHE to a folder that can"
        ) from error


#: File beside a fine-tuned encoder in the cache that says what it was trained on.
TRAINED_ON = "trained_on.json"


def leave(saved: Path, target: Path, trained_on: Mapping[str, int] | None = None) -> None:
    """Copy a folder to its place in the cache, instead of what may be there.

    The copy is made beside it and renamed, under a lock, so that it is never found half written. Where several
    runs end at the same time, the last one's is found.

    Args:
        saved: The folder, such as that of a model.
        target: The place, such as that of :func:`fine_tuned_folder`.
        trained_on: Texts and updates of its training, by name, for :func:`told_training`; None where there are none.
    """
    check_cache(target)
    with cache_lock(target):
        staging = _staging(target)
        new, old = staging / "new", staging / "old"
        shutil.copytree(saved, new)
        if trained_on is not None:
            (new / TRAINED_ON).write_text(json.dumps(dict(trained_on)), encoding="utf-8")
        if target.exists():
            target.rename(old)
        new.rename(target)
        shutil.rmtree(staging)


def told_training(folder: Path) -> str:
    """Return what :func:`leave` was told of the training, in words: ``"517 texts, 162 updates"``; empty without.

    Args:
        folder: A folder in the cache.
    """
    file = folder / TRAINED_ON
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return ", ".join(f"{count:,} {name}" for name, count in known.items())


def make_once(target: Path, make: Callable[[Path], None]) -> None:
    """Make a folder in the cache, unless it is there.

    It is made beside its place and renamed, under a lock, so that it is never found half made; who comes meanwhile
    waits for it.

    Args:
        target: The place.
        make: Writes the content into an empty folder.
    """
    check_cache(target)
    with cache_lock(target):
        if target.is_dir():
            return
        staging = _staging(target)
        (staging / "new").mkdir(parents=True)
        make(staging / "new")
        (staging / "new").rename(target)
        shutil.rmtree(staging)


def _staging(target: Path) -> Path:
    """Where a place in the cache is made, and its old content waits until the new one is there."""
    return target.with_name(f".{target.name}.staging")


@contextmanager
def cache_lock(target: Path) -> Iterator[None]:
    """Hold a place in the cache while the block reads or replaces it; waits for whoever holds it.

    What a killed process left half replaced is put right first.
    """
    if not os.access(target.parent, os.W_OK):  # nobody replaces anything in a cache that is only read
        yield
        return
    with FileLock(target.with_name(f".{target.name}.lock")):
        staging = _staging(target)
        if (staging / "old").exists() and not target.exists():
            (staging / "old").rename(target)
        if staging.exists():
            shutil.rmtree(staging)
        yield
