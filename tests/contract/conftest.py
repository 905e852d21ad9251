"""A tiny data set, tokenizer and fine-tuned encoder, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trbert_env.data.backbones import Backbone
from trbert_env.data.workload import Workload
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task

MakeEnv = Callable[..., TokenReductionVectorEnv]

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "##s", "."]
SENTENCES = ("The red boat sails at noon to Oslo .", "A bridge stands in York since May .")
PLACES = ("oslo", "york", "noon", "may", "bridge", "boat", "red")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    words = sorted(set(" ".join([*SENTENCES, "who where does"]).lower().split()) - set(SPECIALS))
    vocabulary = {word: index for index, word in enumerate([*SPECIALS, *words])}
    backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = Lowercase()
    backend.pre_tokenizer = Whitespace()
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def rows() -> list[dict[str, Any]]:
    """Seven questions on contexts of different lengths; every third has no answer."""
    found = []
    for index, place in enumerate(PLACES):
        context = " ".join(SENTENCES[: 1 + index % 2])
        start = context.lower().find(place)
        answered = index % 3 != 2 and start >= 0
        gold = {"text": [context[start : start + len(place)]], "answer_start": [start]}
        nothing: dict[str, list[Any]] = {"text": [], "answer_start": []}
        found.append(
            {
                "id": f"q{index}",
                "title": "t",
                "question": "Where does the boat sail" if index % 2 else "Who knows",
                "context": context,
                "answers": gold if answered else nothing,
            }
        )
    return found


@pytest.fixture(scope="session")
def workload(make_model: Callable[..., PreTrainedModel], tokenizer: PreTrainedTokenizerBase) -> Workload:
    """Seven texts of 13 to 26 tokens, and a BERT of four layers, hidden size 32."""
    preset = replace(get_preset("SQuAD2"), settings={"max_tokens": 28, "stride": 4, "max_question_tokens": 8})
    backbone = Backbone(make_model("bert", hidden=32), tokenizer, "tiny", "tiny", fine_tuned=True)
    examples = Dataset.from_list(rows())
    texts = make_task(preset).encode(examples, tokenizer)
    assert len(texts) == 7
    return Workload(preset, make_task(preset), backbone, examples, texts, "train", "local")


@pytest.fixture
def make_env(workload: Workload) -> Iterator[MakeEnv]:
    """``make_env(6, samples_per_text=3)``, on the tiny workload; closed at the end."""
    made = []

    def make(num_envs: int = 4, **options: Any) -> TokenReductionVectorEnv:
        env = TokenReductionVectorEnv(options.pop("workload", workload), EnvSettings(num_envs=num_envs, **options))
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


@pytest.fixture(scope="session")
def on_disk(
    make_model: Callable[..., PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The keywords that name a data folder and a backbone folder, as JSON values."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    make_model("bert", hidden=32).save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    for split in ("train", "validation"):
        file = folder / "data" / "squad_v2" / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows()), file)
    return {"backbone": str(folder / "backbone"), "data_dir": str(folder / "data")}
