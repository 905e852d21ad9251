"""A tiny encoder, a tiny data folder, and the real command line."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from tokenizers.processors import BertProcessing
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from trbert_env.encoder.kernels import attention_way, linear_library

ROOT = Path(__file__).resolve().parents[2]

#: Kernels of all runs: where two ways are about as fast, processes with other caches would choose for themselves, and
#: runs that are to be the same bit for bit would not be.
KERNELS = {"TRBERT_LINEAR": "torch", "TRBERT_ATTENTION": "fused"}
#: Set for every command: the test must neither reach a network nor the user's own cache or data.
ENVIRONMENT = {
    **KERNELS,
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

NAMES = ["Anna", "Boris", "Clara", "David", "Edith", "Felix", "Greta", "Hugo"]
TOWNS = ["Aden", "Bern", "Cork", "Dover", "Essen", "Faro"]


def rows(split: str, count: int) -> list[dict[str, Any]]:
    """Who lives where; every fourth question has no answer."""
    found = []
    for index in range(count):
        name, other = NAMES[index % len(NAMES)], NAMES[(index * 3 + 1) % len(NAMES)]
        town = TOWNS[index % len(TOWNS)]
        context = f"{name} moved to {town} last year . {other} likes the sea and never travels ."
        answerable = index % 4 != 3
        found.append(
            {
                "id": f"{split}-{index}",
                "title": "towns",
                "context": context,
                "question": f"Where did {name} move ?" if answerable else "Who likes the hills ?",
                "answers": {
                    "text": [town] if answerable else [],
                    "answer_start": [context.index(town)] if answerable else [],
                },
            }
        )
    return found


SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])),
    ]
)


def write_data(
    folder: Path, train: list[dict[str, Any]] | None = None, validation: list[dict[str, Any]] | None = None
) -> Path:
    """A data folder in SQuAD 2's form; splits that are not given hold a few rows."""
    (folder / "squad_v2").mkdir(parents=True)
    splits = {
        "train": rows("train", 24) if train is None else train,
        "validation": rows("validation", 12) if validation is None else validation,
    }
    for split, content in splits.items():
        pq.write_table(pa.Table.from_pylist(content, schema=SCHEMA), folder / "squad_v2" / f"{split}.parquet")
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece over the words of the data."""
    texts = [row[column] for row in rows("train", 24) for column in ("context", "question")]
    words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())}
    # Not trained: that finds other pieces in another order each time, and what is learned from them would differ.
    pieces = sorted(words | set("".join(words)) | {f"##{letter}" for letter in "".join(words)})
    ids = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces])}
    backend = BertWordPieceTokenizer(vocab=ids)
    backend.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def save_backbone(folder: Path, model: PreTrainedModel) -> Path:
    """A model's folder, with the tokenizer."""
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_config(layers: int = 4) -> BertConfig:
    return BertConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=384,
        initializer_range=0.1,
    )


#: The programs that run a runner in a forked process.
FORKED_RUN = Path(__file__).with_name("forked_run.py")
NUMBERS = itertools.count()


class Forked:
    """A runner in a process that is forked from one that has imported everything, used as a ``subprocess.Popen``.

    The imports take longer than most runs of the tests. Processes that begin with them, as a user's do, are those of
    ``Place.start_anew`` and of tests/runners/cli/test_opening_lines.py.
    """

    def __init__(self, job: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        number = next(NUMBERS)
        self._printed = [folder / f"printed-{number}-{name}" for name in ("out", "err")]
        task = {
            "script": str(ROOT / "runners" / f"{job}.py"),
            "arguments": list(arguments),
            "environment": environment,
            "folder": str(folder),
            **{name: str(path) for name, path in zip(("out", "err"), self._printed, strict=True)},
        }
        self._process: Any = fork_server().Process(target=runpy.run_path, args=(str(FORKED_RUN), {"TASK": task}))
        self._process.start()
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal that ended it; None while it runs."""
        status: int | None = self._process.exitcode
        return status

    def poll(self) -> int | None:
        """The exit status, as :attr:`returncode`."""
        return self.returncode

    def send_signal(self, how: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it printed."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        out, err = (path.read_text() if path.exists() else "" for path in self._printed)
        return out, err


def fork_server() -> Any:
    """The context that forks processes from one that has imported the runners and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    runners = [path.stem for path in sorted((ROOT / "runners").glob("*.py")) if path.stem not in ("__init__", "script")]
    # And what transformers and rich import only when a model is loaded and a note shown.
    late = ["transformers.models.bert.modeling_bert", "transformers.conversion_mapping", "rich.panel"]
    context.set_forkserver_preload([*(f"runners.{name}" for name in runners), *late])
    return context


@dataclass(frozen=True)
class Place:
    """Where the commands of a test module work.

    Attributes:
        root: Holds the run folders and the cache.
        data: A data folder.
        pretrained: An encoder without a task head.
        fine_tuned: An encoder with one.
    """

    root: Path
    data: Path
    pretrained: Path
    fine_tuned: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a command."""
        # Nothing of a real data folder or a traceback switch leaks in from the shell that runs the tests.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRBERT_")}
        return {**kept, **ENVIRONMENT, "TRBERT_CACHE": str(self.root / "cache")}

    def common(self, output: str = "runs") -> list[str]:
        """The options of every command."""
        return ["--data-dir", str(self.data), "--output-dir", str(self.root / output), "--dtype", "float32"]

    def start(self, job: str, *arguments: str) -> Forked:
        """Start a runner in a process of its own."""
        return Forked(job, arguments, self.environment, self.root)

    def start_anew(self, job: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a runner as a user does, in an interpreter that begins with the imports."""
        command = [sys.executable, str(ROOT / "runners" / f"{job}.py"), *arguments]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=self.root,
        )

    def command(self, job: str, *arguments: str, anew: bool = False) -> str:
        """Run a runner to its end; what it printed."""
        process = (self.start_anew if anew else self.start)(job, *arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{job} {arguments}\n{out}\n{err}"
        return out

    def checkpoints_written(self, output: str) -> int:
        """The number of the latest checkpoint of the one run below an output folder; 0 before the first."""
        pointers = list((self.root / output).glob("*/*/*/checkpoint/latest.json"))
        if not pointers:
            return 0
        (pointer,) = pointers
        return int(json.loads(pointer.read_text())["folder"].removeprefix("step-"))

    def stop(
        self, process: Any, output: str, checkpoints: int, how: signal.Signals = signal.SIGKILL
    ) -> tuple[int, str]:
        """Send a signal once so many checkpoints are written; the exit status and stderr."""
        while self.checkpoints_written(output) < checkpoints:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
        return process.returncode, err

    def only_run(self, output: str, stage: str = "*") -> Path:
        """The one run folder of a stage."""
        (found,) = (self.root / output).glob(f"SQuAD2/{stage}/*")
        return found


@dataclass(frozen=True)
class Data:
    """The helpers above, for tests: importlib mode knows no imports between test files."""

    rows: Callable[[str, int], list[dict[str, Any]]]
    write: Callable[..., Path]
    save_backbone: Callable[[Path, PreTrainedModel], Path]


@pytest.fixture(scope="session")
def forking() -> Any:
    """Makes processes that have imported the runners."""
    return fork_server()


@pytest.fixture(scope="session")
def data() -> Data:
    """Makers of data folders and backbones."""
    return Data(rows, write_data, save_backbone)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with data and encoders: one for each test module, so that names of folders need only differ in it."""
    root = tmp_path_factory.mktemp("end_to_end")
    data = write_data(root / "data")
    torch.manual_seed(0)
    pretrained = save_backbone(root / "pretrained", BertModel(tiny_config(), add_pooling_layer=False))
    fine_tuned = save_backbone(root / "fine_tuned", BertForQuestionAnswering(tiny_config()))
    return Place(root, data, pretrained, fine_tuned)


@pytest.fixture
def in_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The same place for runners that are called in this process."""
    for name in [name for name in os.environ if name.startswith("TRBERT_")]:
        monkeypatch.delenv(name)
    for name, value in {**KERNELS, "HF_HUB_OFFLINE": "1", "TRBERT_CACHE": str(place.root / "cache")}.items():
        monkeypatch.setenv(name, value)
    choose_kernels_anew()
    monkeypatch.chdir(place.root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield place
    torch.set_num_threads(threads)
    choose_kernels_anew()


def choose_kernels_anew() -> None:
    """Forget what this process chose by its environment."""
    linear_library.cache_clear()
    attention_way.cache_clear()
