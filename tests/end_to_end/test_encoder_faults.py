"""Encoders and models that are not whole, or do not fit: refused in one line before a run folder exists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, RobertaForQuestionAnswering

from runners import benchmark, evaluate, finetune, joint_finetune, train_policy
from runners.cli.run import run
from runners.runs.models import load_model
from trbert_env.data.backbones import load_backbone_from
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.presets import get_preset
from trbert_env.tasks import make_task

Tamper = Callable[[Path], None]
Tensors = dict[str, torch.Tensor]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
LAYER = "encoder.layer.3."


def weights(change: Callable[[Tensors], Any]) -> Tamper:
    def tamper(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file({name: values.contiguous() for name, values in tensors.items()}, folder / WEIGHTS, {"format": "pt"})

    return tamper


def config(**values: Any) -> Tamper:
    def tamper(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text())
        # In a token-reduced model the encoder's configuration is a part.
        part = content["backbone"] if "backbone" in content and not values.keys() <= content.keys() else content
        part.update(values)
        (folder / CONFIG).write_text(json.dumps(content))

    return tamper


def earlier(folder: Path) -> None:
    """The configuration as it was before shared words were weighed."""
    content = json.loads((folder / CONFIG).read_text())
    content["overlap"] = content.pop("weighted_overlap")
    (folder / CONFIG).write_text(json.dumps(content))


def content(name: str, data: bytes | None) -> Tamper:
    def tamper(folder: Path) -> None:
        (folder / name).unlink()
        if data is not None:
            (folder / name).write_bytes(data)

    return tamper


def drop(*parts: str) -> Tamper:
    """Without the weights whose name has one of these parts."""
    return weights(lambda t: [t.pop(name) for name in list(t) if any(part in name for part in parts)])


def rename(old: str, new: str) -> Tamper:
    return weights(lambda t: [t.__setitem__(n.replace(old, new), t.pop(n)) for n in list(t) if old in n])


def fill(part: str, value: float) -> Tamper:
    def change(tensors: Tensors) -> None:
        name = next(name for name in sorted(tensors) if part in name)
        tensors[name].view(-1)[0] = value

    return weights(change)


def shape(part: str) -> Tamper:
    def change(tensors: Tensors) -> None:
        name = next(name for name in sorted(tensors) if part in name)
        tensors[name] = torch.cat([tensors[name], tensors[name][:1]])

    return weights(change)


def cut(part: str, rows: int, **values: int) -> Tamper:
    """Fewer embeddings of a kind, in weights and configuration alike."""

    def tamper(folder: Path) -> None:
        config(**values)(folder)
        weights(lambda t: t.update({name: found[:rows] for name, found in t.items() if part in name}))(folder)

    return tamper


def one_layer_more(tensors: Tensors) -> None:
    for name in [name for name in tensors if LAYER in name]:
        tensors[name.replace(LAYER, "encoder.layer.4.")] = tensors[name].clone()


def truncated(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def sharded(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    save_file(tensors, folder / shards[0], {"format": "pt"})
    places = {name: shards[index % 2] for index, name in enumerate(tensors)}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def index(content: dict[str, Any]) -> Tamper:
    def tamper(folder: Path) -> None:
        sharded(folder)
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(content))

    return tamper


def another_family(folder: Path) -> None:
    size = json.loads((folder / CONFIG).read_text())["vocab_size"]
    other = RobertaConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64
    )
    kept = (folder / CONFIG).read_text()
    RobertaForQuestionAnswering(other).save_pretrained(folder)
    (folder / CONFIG).write_text(kept)


def tokenizer(change: Callable[[dict[str, Any]], Any]) -> Tamper:
    def tamper(folder: Path) -> None:
        found = json.loads((folder / "tokenizer.json").read_text())
        change(found)
        (folder / "tokenizer.json").write_text(json.dumps(found))

    return tamper


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def tokenizer_config(**values: str | None) -> Tamper:
    """Other entries; None takes one away."""

    def tamper(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        entries = json.loads(path.read_text()) | values
        path.write_text(json.dumps({name: value for name, value in entries.items() if value is not None}))

    return tamper


def unknown(*names: str) -> Tamper:
    """With weights of these names too."""
    return weights(lambda t: t.update({name: torch.ones(2) for name in names}))


#: Of an encoder that is fine-tuned, by what is wrong with it and a word of the line that says so.
BACKBONES: dict[str, tuple[Tamper, str]] = {
    "a layer missing": (drop(LAYER), "lacks weights"),
    "a bias missing": (drop("layer.1.output.dense.bias"), "lacks weights"),
    "embeddings missing": (drop("word_embeddings"), "lacks weights"),
    "positions missing": (drop("position_embeddings"), "lacks weights"),
    "a norm missing": (drop("embeddings.LayerNorm.weight"), "lacks weights"),
    "half a head": (drop("qa_outputs.bias"), "lacks weights (qa_outputs.bias)"),
    "the other half of a head": (drop("qa_outputs.weight"), "lacks weights (qa_outputs.weight)"),
    "more layers promised": (config(num_hidden_layers=6), "lacks weights"),
    "fewer layers promised": (config(num_hidden_layers=2), "does not know"),
    "a layer too many": (weights(one_layer_more), "does not know"),
    "an unknown weight in a layer": (
        weights(lambda t: t.update({"bert.encoder.layer.0.adapter.weight": torch.ones(2)})),
        "does not know",
    ),
    "all renamed": (rename("bert.", "model."), "none of the weights"),
    "another family's weights": (another_family, "none of the weights"),
    "another family's configuration": (config(model_type="roberta"), "none of the weights"),
    "yet another family's configuration": (config(model_type="distilbert"), "none of the weights"),
    "a larger vocabulary promised": (config(vocab_size=500), "another shape"),
    "a smaller vocabulary promised": (config(vocab_size=20), "another shape"),
    "a wider feed-forward promised": (config(intermediate_size=128), "another shape"),
    "more positions promised": (config(max_position_embeddings=512), "another shape"),
    "more token types promised": (config(type_vocab_size=3), "another shape"),
    "a wider encoder promised": (config(hidden_size=64), "another shape"),
    "a row too many in a layer": (shape("layer.0.attention.self.query.weight"), "another shape"),
    "a head of three labels": (shape("qa_outputs.weight"), "has a task head of 3 outputs"),
    "heads that do not divide the width": (config(num_attention_heads=3), "could not be built"),
    "no heads": (config(num_attention_heads=0), "could not be built"),
    "a width of text": (config(hidden_size="wide"), "hidden_size"),
    "layers of text": (config(num_hidden_layers="many"), "num_hidden_layers"),
    "a negative depth": (config(num_hidden_layers=-1), "does not know"),
    "a negative width": (config(intermediate_size=-4), "could not be built"),
    "an unknown activation": (config(hidden_act="wavy"), "could not be built"),
    "a family without a name": (config(model_type=""), "of no family known here"),
    "an unknown family": (config(model_type="berta"), "of no family known here"),
    "NaN in a layer": (fill("layer.2.output.dense.weight", float("nan")), "no numbers"),
    "infinity in the head": (fill("qa_outputs.weight", float("inf")), "no numbers"),
    "minus infinity in the embeddings": (fill("word_embeddings", float("-inf")), "no numbers"),
    "truncated weights": (truncated, "damaged"),
    "empty weights": (content(WEIGHTS, b""), "damaged"),
    "weights that are none": (content(WEIGHTS, b"\x00" * 64), "damaged"),
    "weights that are a page": (content(WEIGHTS, b"<html>not found</html>"), "damaged"),
    "no weights": (content(WEIGHTS, None), "has no weights"),
    "a pickle": (pickled, "a pickle"),
    "a shard missing": (sharded, "lacks the shard model-00002-of-00002.safetensors"),
    "an empty index of shards": (index({}), "has no weight_map"),
    "an index without shards": (index({"weight_map": {}}), "has no weight_map"),
    "a shard outside of the folder": (index({"weight_map": {"x": "../other.safetensors"}}), "is not in its folder"),
    "a token-reduced model": (config(model_type="trbert"), "is a token-reduced model"),
    "no configuration": (content(CONFIG, None), "no config.json"),
    "an empty configuration": (content(CONFIG, b""), "not valid JSON"),
    "a configuration that is a list": (content(CONFIG, b"[]"), "not a JSON object"),
    "a configuration that is no text": (content(CONFIG, b"\xff\xfe\x00"), "not valid JSON"),
    "no tokenizer": (no_tokenizer, "tokenizer"),
    "a tokenizer that is no JSON": (content("tokenizer.json", b"{"), "not valid JSON"),
    "a tokenizer of another form": (content("tokenizer.json", b'{"model": 3}'), "tokenizer"),
    "a tokenizer without [SEP]": (tokenizer_config(sep_token=None), "sep_token"),
    "a tokenizer without [CLS]": (tokenizer_config(cls_token=None), "cls_token"),
    "a tokenizer without padding": (tokenizer_config(pad_token=None), "pad_token"),
    "a [SEP] beyond the embeddings": (tokenizer_config(sep_token="[NEW]"), "gives its sep_token the id"),
    "a slow tokenizer": (tokenizer_config(tokenizer_class="CanineTokenizer"), "is a slow one"),
    "an unknown weight beside the layers": (unknown("bert.encoder.extra.weight"), "does not know"),
    "an unknown weight beside the encoder's parts": (unknown("bert.adapter.weight"), "does not know"),
    "an unknown weight without the prefix": (unknown("encoder.extra.weight"), "does not know"),
    "a decoder": (config(is_decoder=True), "is a decoder"),
    "a norm's epsilon of NaN": (config(layer_norm_eps=float("nan")), "layer_norm_eps nan"),
    "an infinite dropout": (config(hidden_dropout_prob=float("inf")), "dropout"),
    "a configuration without end": (content(CONFIG, b"[" * 100_000), "not valid JSON"),
}
#: Found with the texts only.
WITH_TEXTS: dict[str, tuple[Tamper, str]] = {
    "too few positions": (cut("position_embeddings", 8, max_position_embeddings=8), "knows 8 positions"),
    "one token type": (cut("token_type_embeddings", 1, type_vocab_size=1), "knows only 1"),
    "a token beyond the embeddings": (cut("word_embeddings", 40, vocab_size=40), "embeds ids up to 39"),
}
#: Of a token-reduced model.
MODELS: dict[str, tuple[Tamper, str]] = {
    "no policy": (drop("policy."), "lacks weights"),
    "no encoder": (drop("backbone."), "lacks weights"),
    "no task head": (drop("qa_outputs"), "lacks weights"),
    "no offsets": (drop("calibration."), "lacks weights"),
    "one head of the policy": (drop("policy.heads.1."), "lacks weights"),
    "a layer missing": (drop(LAYER), "lacks weights"),
    "more layers promised": (config(num_hidden_layers=6), "lacks weights"),
    "fewer layers promised": (config(num_hidden_layers=3), "does not know"),
    "a wider policy promised": (config(policy_size=64), "another shape"),
    "no overlap promised": (config(weighted_overlap=False), "does not know"),
    "an earlier version's overlap": (earlier, "train the policy again"),
    "one reduction promised": (config(reduction_layers=[2]), "another shape"),
    "three reductions promised": (config(reduction_layers=[2, 3, 4]), "another shape"),
    "a cut beyond the depth": (config(reduction_layers=[2, 9]), "4 layers"),
    "cuts of text": (config(reduction_layers=["a"]), "could not be built"),
    "an unknown kind of task": (config(task="spans"), "task 'spans' is unknown"),
    "a setting that the task lacks": (config(task_settings={"strides": 1}), "strides"),
    "a setting out of range": (config(task_settings={"stride": -1}), "stride is -1"),
    "a threshold of 5": (config(threshold=5.0), "threshold 5.0"),
    "a threshold of NaN": (config(threshold=float("nan")), "threshold nan"),
    "fractions that rise": (config(keep_fractions=[0.2, 0.5]), "cannot rise"),
    "one fraction": (config(keep_fractions=[0.2]), "2 reductions"),
    "a fraction of 0": (config(keep_fractions=[0.5, 0.0]), "keep_fractions"),
    "an unknown part": (weights(lambda t: t.update({"policy.extra.weight": torch.ones(1)})), "does not know"),
    "NaN in the policy": (fill("policy.heads.0.1.weight", float("nan")), "no numbers"),
    "infinity in the offsets": (fill("calibration.offsets", float("inf")), "no numbers"),
    "truncated weights": (truncated, "damaged"),
    "empty weights": (content(WEIGHTS, b""), "damaged"),
    "no weights": (content(WEIGHTS, None), "has no weights"),
    "a pickle": (pickled, "a pickle"),
    "a configuration that is a list": (content(CONFIG, b"[]"), CONFIG),
    "a tokenizer that is no JSON": (content("tokenizer.json", b"{"), "tokenizer"),
    "a tokenizer without [SEP]": (tokenizer_config(sep_token=None), "sep_token"),
    "a tokenizer's [CLS] beyond the embeddings": (tokenizer_config(cls_token="[NEW]"), "gives its cls_token the id"),
    "a weight of nothing": (unknown("extra.weight"), "does not know"),
    "a task head beside the encoder": (unknown("qa_outputs.weight"), "does not know"),
    "a pooler": (unknown("backbone.bert.pooler.dense.weight"), "does not know"),
    "a decoder": (config(is_decoder=True), "is a decoder"),
    "a norm's epsilon of NaN": (config(layer_norm_eps=float("nan")), "layer_norm_eps nan"),
    "a configuration without end": (content(CONFIG, b"[" * 100_000), "not valid JSON"),
    "a shard missing": (sharded, "lacks the shard model-00002-of-00002.safetensors"),
}


def damaged(source: Path, tamper: Tamper, folder: Path) -> Path:
    copy = Path(shutil.copytree(source, folder))
    tamper(copy)
    return copy


def check_line(line: str, word: str, folder: Path) -> None:
    assert word in line
    assert "\n" not in line
    assert len(line) < 800, line


@pytest.mark.parametrize("name", list(BACKBONES))
def test_an_encoder_that_is_not_whole(name: str, place: Any, tmp_path: Path) -> None:
    tamper, word = BACKBONES[name]
    folder = damaged(place.fine_tuned, tamper, tmp_path / "encoder")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_backbone_from(str(folder), make_task(get_preset("SQuAD2")), str(folder))
    check_line(str(caught.value), word, folder)


def test_the_whole_encoder_loads(place: Any) -> None:
    task = make_task(get_preset("SQuAD2"))
    assert load_backbone_from(str(place.fine_tuned), task, "x").fine_tuned
    assert not load_backbone_from(str(place.pretrained), task, "x").fine_tuned


@pytest.mark.parametrize(
    "tamper",
    [
        drop("qa_outputs"),
        weights(lambda t: t.update({"cls.predictions.bias": torch.ones(3), "bert.pooler.dense.bias": torch.ones(32)})),
        weights(lambda t: t.update({"bert.embeddings.position_ids": torch.arange(384)[None]})),
    ],
    ids=["without a head", "with other heads", "with a buffer of old"],
)
def test_what_an_encoder_may_lack_or_bring(tamper: Tamper, place: Any, tmp_path: Path) -> None:
    folder = damaged(place.fine_tuned, tamper, tmp_path / "encoder")
    load_backbone_from(str(folder), make_task(get_preset("SQuAD2")), "x")


@pytest.fixture(scope="module")
def trained(place: Any) -> Path:
    """The model of a run of stage 2."""
    sizes = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2"]
    place.command("train_policy", "--backbone", str(place.fine_tuned), *place.common("encoder-faults"), *sizes)
    return Path(place.only_run("encoder-faults") / "model")


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_that_is_not_whole(name: str, trained: Path, tmp_path: Path) -> None:
    tamper, word = MODELS[name]
    folder = damaged(trained, tamper, tmp_path / "model")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_model(folder, "cpu")
    check_line(str(caught.value), word, folder)
    if "tokenizer" not in name:  # as users load it
        with pytest.raises((ValueError, FileNotFoundError)):
            TokenReducedModel.from_pretrained(folder)


def test_the_whole_model_loads(trained: Path) -> None:
    model, report = TokenReducedModel.from_pretrained(trained, output_loading_info=True)
    assert not any(report.values())
    again = load_file(trained / WEIGHTS)
    assert all(torch.equal(values, again[name]) for name, values in model.state_dict().items())


JOBS = {
    "finetune": (finetune.main, finetune.FinetuneOptions, "--backbone"),
    "train_policy": (train_policy.main, train_policy.TrainPolicyOptions, "--backbone"),
    "joint_finetune": (joint_finetune.main, joint_finetune.JointFinetuneOptions, "--backbone"),
    "evaluate": (evaluate.main, evaluate.EvaluateOptions, "--backbone"),
    "benchmark": (benchmark.main, benchmark.BenchmarkOptions, "--backbone"),
}
OWN = {"joint_finetune": ["--holdout-texts", "4"], "evaluate": ["--agent", "keep-all"]}


def naming(job: str, option: str, path: Path, place: Any) -> list[str]:
    """What a job needs to get as far as reading ``path``."""
    backbone = ["--backbone", str(place.fine_tuned)] if option == "--teacher" else []
    return [option, str(path), *backbone, *(OWN.get(job, []) if option != "--model" else [])]


def refused(job: str, arguments: list[str], place: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    main, options, _ = JOBS[job]
    output = tmp_path / "runs"
    common = [*place.common(), "--output-dir", str(output)]
    with pytest.raises(SystemExit) as caught:
        run(main, options, [*common, *arguments])
    err = capsys.readouterr().err
    assert caught.value.code == 2, err
    assert "Traceback" not in err
    assert not output.exists()
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    return last


@pytest.mark.parametrize("name", [*list(BACKBONES)[::7], *WITH_TEXTS])
@pytest.mark.parametrize("job", list(JOBS))
def test_an_encoder_on_the_command_line(
    job: str, name: str, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper, word = (BACKBONES | WITH_TEXTS)[name]
    folder = damaged(in_process.fine_tuned, tamper, tmp_path / "encoder")
    arguments = naming(job, "--backbone", folder, in_process)
    assert word in refused(job, arguments, in_process, tmp_path, capsys)


@pytest.mark.parametrize("name", list(MODELS)[::5])
@pytest.mark.parametrize(
    ("job", "option"),
    [
        ("train_policy", "--policy"),
        ("joint_finetune", "--policy"),
        ("joint_finetune", "--teacher"),
        ("evaluate", "--model"),
        ("benchmark", "--model"),
    ],
)
def test_a_model_on_the_command_line(
    job: str, option: str, name: str, trained: Path, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper, word = MODELS[name]
    arguments = naming(job, option, damaged(trained, tamper, tmp_path / "model"), in_process)
    assert word in refused(job, arguments, in_process, tmp_path, capsys)


@pytest.mark.parametrize(
    ("job", "option"),
    [
        ("train_policy", "--policy"),
        ("joint_finetune", "--policy"),
        ("joint_finetune", "--teacher"),
        ("evaluate", "--model"),
        ("benchmark", "--model"),
        ("finetune", "--backbone"),
        ("evaluate", "--backbone"),
    ],
)
def test_a_file_is_no_model(
    job: str, option: str, trained: Path, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = naming(job, option, trained / WEIGHTS, in_process)
    assert "is a file" in refused(job, arguments, in_process, tmp_path, capsys)
