"""What adding costs: a data set of a known kind is a preset (and a reader), a kind of task is a class besides.

Each newcomer is registered here as a user would, and everything runs: the environment, an episode and an evaluation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from runners.cli.run import run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.train_policy import main as train_policy
from runners.training.options.policy import TrainPolicyOptions
from trbert_env.data.faults import Faults
from trbert_env.data.hub import Hub
from trbert_env.data.readers import READERS, Reader
from trbert_env.data.records import LABELLED_TEXT, columns
from trbert_env.data.rows import Place, Rows, rows_of_records
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText
from trbert_env.envs.registration import register_envs
from trbert_env.presets import PRESETS, Preset
from trbert_env.tasks import TASKS, Task
from trbert_env.tasks.heads import first_token_logits
from trbert_env.tasks.text_encoding import LazyTexts, SequenceEncoder


# The first newcomer, a data set of a known kind with an odd format: one preset and one reader.
def _lines(folder: Path, split: str, faults: Faults) -> Rows | None:
    """Lines such as ``spam: buy this``."""
    file = folder / f"{split}.txt"
    if not file.is_file():
        return None
    lines = [line.split(": ", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    records = ((number, {"id": f"{split}-{number}", "text": text, "label": label})
               for number, (label, text) in enumerate(lines))  # fmt: skip
    return rows_of_records(records, LABELLED_TEXT, Place(str(file)), faults)


MAIL = Reader(
    name="mail",
    form=LABELLED_TEXT,
    hub=Hub("nobody/mail"),
    splits={"train": "train", "test": "test"},
    columns=LABELLED_TEXT,
    official=_lines,
    official_files="{train,test}.txt",
)
MAIL_PRESET = Preset(
    name="Mail",
    dataset="mail",
    task="classification",
    settings={"max_tokens": 16},
    evaluation_split="test",
    length_penalty=0.001,
    joint_length_penalty=0.001,
    epochs=1,
    imitation_fraction=0.0,
)


# The second newcomer, a kind of task: one class, and a preset that names it.
@dataclass
class Tagging(Task):
    """Gives a text any number of tags; a label names them, with blanks between."""

    auto_model: ClassVar[Any] = AutoModelForSequenceClassification
    reads: ClassVar[Literal["tokens", "first_tokens"]] = "first_tokens"

    max_tokens: int = 32
    tags: tuple[str, ...] = ("red", "big")

    @property
    def num_logits(self) -> int:
        return len(self.tags)

    @property
    def max_text_tokens(self) -> int:
        return self.max_tokens

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ("all_tags_right",)

    def encode(self, records: Dataset, tokenizer: Any, *, training: bool = False) -> Sequence[EncodedText]:
        encoder, golds = SequenceEncoder(tokenizer, self.max_tokens), self._golds(records)
        keys, texts = columns(records, "id", "text")

        def make(index: int) -> EncodedText:
            ids, types = encoder.single(texts[index])
            return EncodedText(keys[index], ids, types, (len(ids),), golds[index])

        return LazyTexts(len(records), make)

    def _golds(self, records: Dataset) -> Any:
        (labels,) = columns(records, "label")
        return np.array([[tag in label.split() for tag in self.tags] for label in labels], dtype=np.float32)

    def logits(self, model: Any, states: Tensor, layout: Layout) -> Tensor:
        return first_token_logits(model, states, layout)

    def log_likelihood(self, logits: Tensor, layout: Layout, targets: Tensor) -> Tensor:
        return logsigmoid((2 * targets.to(logits.device) - 1) * logits).sum(1)

    def divergence(
        self, logits: Tensor, teacher_logits: Tensor, layout: Layout, targets: Tensor, temperature: float = 1.0
    ) -> Tensor:
        return 0.5 * ((logits - teacher_logits.detach()) ** 2).sum(1)

    def predict(self, texts: Sequence[EncodedText], logits: Any, records: Dataset) -> dict[str, Any]:
        (keys,) = columns(records, "id")
        return {key: (values[0] > 0).tolist() for key, values in zip(keys, logits, strict=True)}

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        (keys,) = columns(records, "id")
        right = [predictions[key] == gold for key, gold in zip(keys, self._golds(records).tolist(), strict=True)]
        return {"all_tags_right": 100.0 * sum(right) / len(right)}

    def stock_logits(self, outputs: Any, layout: Layout) -> Tensor:
        found: Tensor = outputs.logits
        return found

    def model_output(self, logits: Tensor, layout: Layout, mask: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=logits)


TAGS = Reader(
    name="tags",
    form=LABELLED_TEXT,
    hub=Hub("nobody/tags"),
    splits={"train": "train", "validation": "validation"},
    columns=LABELLED_TEXT,
    official=lambda folder, split, faults: None,
    official_files="none",
)
TAGS_PRESET = replace(
    MAIL_PRESET,
    name="Tags",
    dataset="tags",
    task="tagging",
    settings={"max_tokens": 24, "tags": ["red", "big", "old"]},
    evaluation_split="validation",
)

WORDS = ["mill", "sea", "boat", "hall", "town", "cart"]


def write_mail(folder: Path) -> None:
    (folder / "mail").mkdir(parents=True)
    for split in MAIL.splits:
        lines = [f"{'spam' if index % 3 else 'ham'}: the {WORDS[index % 6]} by the {WORDS[index % 5]}"
                 for index in range(12)]  # fmt: skip
        (folder / "mail" / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")


def write_tags(folder: Path) -> None:
    (folder / "tags").mkdir(parents=True)
    labels = ["red", "big red", "", "old", "old big"]
    for split in TAGS.splits:
        rows = [{"id": f"{split}{index}", "text": f"the {labels[index % 5]} {WORDS[index % 6]}", "text_pair": None,
                 "label": labels[index % 5]} for index in range(10)]  # fmt: skip
        table = pa.Table.from_pylist(rows).cast(LABELLED_TEXT_TYPES)
        pq.write_table(table, folder / "tags" / f"{split}.parquet")


LABELLED_TEXT_TYPES = pa.schema([(name, pa.string()) for name in LABELLED_TEXT.columns])


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder without a head, with a real tokenizer."""
    return save_encoder(hidden_size=8, intermediate_size=8)


@pytest.fixture(params=["Mail", "Tags"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A newcomer, with nothing but its parts put in, and its files written."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", {**gymnasium.registry})
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    if request.param == "Mail":
        monkeypatch.setitem(PRESETS, "Mail", MAIL_PRESET)
        monkeypatch.setitem(READERS, "mail", MAIL)
        write_mail(tmp_path / "data")
    else:
        monkeypatch.setitem(PRESETS, "Tags", TAGS_PRESET)
        monkeypatch.setitem(READERS, "tags", TAGS)
        monkeypatch.setitem(TASKS, "tagging", Tagging)
        write_tags(tmp_path / "data")
    monkeypatch.setenv("TRBERT_CACHE", str(tmp_path / "cache"))
    register_envs()
    return str(request.param)


def test_a_newcomer_runs(
    name: str, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    with pytest.warns(UserWarning, match=f"not fine-tuned for {name}"):
        env: Any = gymnasium.make_vec(
            f"TRBERT/{name}-v0", num_envs=4, samples_per_text=2, backbone=str(encoder), data_dir=data, order="once",
            info_scores="residual", task_settings={"max_tokens": 12},
        )  # fmt: skip
    assert json.loads(env.spec.to_json())["kwargs"]["task_settings"] == {"max_tokens": 12}
    observation, _ = env.reset(seed=0)
    for _ in range(2):
        assert env.observation_space.contains(observation)
        observation, rewards, _, _, infos = env.step(observation["token_mask"])
    final = infos["final_info"]
    np.testing.assert_allclose(rewards, final["log_likelihood"] - env.length_penalty * final["kept_tokens"][:, 1])

    def command(main: Any, options: Any, *arguments: str) -> None:
        common = ["--data-dir", data, "--output-dir", str(tmp_path / "runs"), "--dtype", "float32"]
        monkeypatch.setattr(sys, "argv", ["runner.py", *arguments, *common])
        run(main, options)

    source = ["--env", name, "--backbone", str(encoder)]
    command(
        train_policy, TrainPolicyOptions, *source, "--total-texts", "8", "--texts-per-step", "4",
        "--samples-per-text", "2",
    )  # fmt: skip
    (policy,) = (tmp_path / "runs" / name).glob("policy*/*")
    command(evaluate, EvaluateOptions, "--env", name, "--model", str(policy))
    (evaluation,) = (tmp_path / "runs" / name).glob("evaluate*/*")
    record = json.loads((evaluation / "metrics.json").read_text())
    model = TokenReducedModel.from_pretrained(policy / "model")
    main_metric = model.task.metric_names[0]
    assert (record["env"], record["split"]) == (name, PRESETS[name].evaluation_split)
    assert 0 <= record[main_metric] <= 100
    assert f"full_{main_metric}" in record
    if isinstance(model.task, Tagging):
        assert list(model.task.tags) == ["red", "big", "old"]
        assert model.backbone.config.num_labels == 3


def test_without_an_embedded_corpus_the_message_says_where_data_can_come_from(
    name: str, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRBERT_DATA", raising=False)
    for source, message in (("auto", "--data-dir"), ("embedded", "no embedded corpus for .*: give --data-dir")):
        with pytest.raises((FileNotFoundError, ValueError), match=message) as error:
            gymnasium.make_vec(f"TRBERT/{name}-v0", backbone=str(encoder), data_source=source)
        assert "\n" not in str(error.value)


def test_a_preset_of_an_unknown_kind_or_data_set_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trbert_env.data.request import DataRequest

    monkeypatch.setitem(PRESETS, "Odd", replace(MAIL_PRESET, name="Odd", task="poetry"))
    with pytest.raises(ValueError, match="task 'poetry' is unknown: use one of candidate_qa, classification"):
        DataRequest("Odd")
    monkeypatch.setitem(PRESETS, "Odd", replace(MAIL_PRESET, name="Odd", dataset="poems"))
    with pytest.raises(ValueError, match="unknown data set 'poems'"):
        DataRequest("Odd", data_dir=str(tmp_path)).load("train")
