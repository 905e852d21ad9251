"""From a checkpoint to a faster model through the command line: a file, a data set, a loss, a time, an interruption."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from runners.cli.run import read_options, run
from runners.evaluate import EvaluateOptions
from runners.evaluate import main as evaluate
from runners.evaluation.machine import Load, LoadWatch
from runners.evaluation.record import CLOCK_KEYS
from runners.faster import candidates, pacing, stages
from runners.faster.ledger import Ledger
from runners.faster.options import MakeFasterOptions
from runners.faster.pacing import measure_work
from runners.faster.plan import Work
from runners.make_faster import begin
from runners.make_faster import main as make_faster
from runners.report import ReportOptions
from runners.report import main as report
from trbert_env import TokenReducedModel

#: Two updates of stage 2, one of stage 3.
SHORT = ["--total-texts", "32", "--dtype", "float32"]


@dataclass(frozen=True)
class Engineer:
    """Someone with a checkpoint and a file of reviews.

    Attributes:
        place: A place with data and encoders.
        reviews: Texts of two classes.
        classifier: A checkpoint with a head for them.
    """

    place: Any
    reviews: Path
    classifier: Path

    def run(self, output: str, *options: str) -> Path:
        """Make a faster model; returns the run's folder."""
        run(make_faster, MakeFasterOptions, [*options, *SHORT, "--output-dir", str(self.place.root / output)])
        return self.folder(output)

    def folder(self, output: str) -> Path:
        """The one run below an output folder."""
        (found,) = (self.place.root / output).glob("*/faster-*/*")
        return found

    def faster(self) -> Path:
        """A faster classifier, made once by whichever test comes first on its worker."""
        made = list((self.place.root / "file").glob("*/faster-*/*"))
        return made[0] if made else self.run("file", *self.file(), "--target-speedup", "1.5")

    def file(self) -> list[str]:
        """The options of the classifier and its texts."""
        return ["--model", str(self.classifier), "--train-file", str(self.reviews)]


@pytest.fixture(scope="module")
def engineer(place: Any, data: Any) -> Engineer:
    """Reviews that a random classifier of two classes reads."""
    reviews = place.root / "reviews.csv"
    with open(reviews, "w", newline="") as file:
        rows = [[f"{row['context']} {n}", ("bad", "good")[n % 2]] for n, row in enumerate(data.rows("train", 240))]
        csv.writer(file).writerows([["text", "label"], *rows])
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(place.pretrained, num_labels=2)
    folder = data.save_backbone(place.root / "classifier", BertForSequenceClassification(config))
    (folder / "README.md").write_text("---\nlicense: mit\nbase_model: made/up\n---\n# A classifier\n")
    return Engineer(place, reviews, folder)


@pytest.fixture
def at_work(engineer: Engineer, in_process: Any) -> Engineer:
    """The same, for runs in this process."""
    return engineer


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def card(folder: Path) -> tuple[dict[str, Any], str]:
    """The head and the text of the model card."""
    text = (folder / "model" / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def run_code(body: str) -> dict[str, Any]:
    """Run the code blocks of a card, in their order; the names that they leave."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", body, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    return names


def test_a_classifier_and_a_file(at_work: Engineer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = at_work.run("first", *at_work.file(), "--target-speedup", "1.5")
    said = capsys.readouterr()
    told = " ".join(said.err.replace("│", " ").split())
    assert "--env TextClassification: the checkpoint" in told
    assert "21 of 216 training texts are withheld from training, to choose the speed by" in told
    assert re.search(r"stage 3, joint training: about [\d.]+ minutes; with what follows, [\d.]+ are left in all", told)
    assert "closing tables are of 24 texts" in told
    assert "plan, about" in said.out
    assert "promised: " in said.out
    assert "found: " in said.out

    found = record(folder)
    assert found["outcome"] == "speed"
    assert found["flops_speedup"] == pytest.approx(1.5, rel=0.25)  # after two updates, thresholds tell little apart
    assert found["promised_flops_speedup"] == pytest.approx(found["holdout_flops_speedup"])
    assert found["loss"] == pytest.approx(found["full_accuracy"] - found["accuracy"])
    assert found["promised_loss"] < found["promised_loss_bound"]
    assert found["wall_speedup_stock_least"] <= found["wall_speedup_stock"] <= found["wall_speedup_stock_most"]
    nested = [json.loads(path.read_text()) for path in (folder / "stages").glob("*/*/*/metrics.json")]
    assert len(nested) == 2
    assert not any(name.startswith("wall_") for flat in nested for name in flat)  # 24 texts would tell another clock
    assert said.out.count("clock, against") == 2  # of the run itself
    for name in ("stock", "packed"):
        assert found[f"cpu_speedup_{name}_least"] <= found[f"cpu_speedup_{name}"] <= found[f"cpu_speedup_{name}_most"]
    assert said.out.count("CPU time, against") == 2
    assert (found.get("other_processors") is None) == (found.get("machine_quiet") is None)
    assert found["processors"] == os.cpu_count()
    assert not list((folder / "stages").glob("*/finetune-*"))  # it has its head

    # Stage 3 is held near the unreduced states, and no stage sees the held-out texts.
    (config,) = (folder / "stages").glob("*/joint-*/*/config.json")
    options = json.loads(config.read_text())["options"]
    assert (options["states_weight"], options["holdout_texts"], options["max_train_texts"]) == (1.0, 21, 195)

    # What is shipped is what was measured.
    model = TokenReducedModel.from_pretrained(folder / "model")
    assert model.decision.keep_fractions is None
    assert model.config.id2label == {0: "bad", 1: "good"}
    run(evaluate, EvaluateOptions, ["--model", str(folder), "--output-dir", str(tmp_path), "--dtype", "float32"])
    (again,) = tmp_path.glob("*/evaluate-*/*/metrics.json")
    for name in ("accuracy", "full_accuracy", "flops_speedup", "texts_fingerprint"):
        assert json.loads(again.read_text())[name] == pytest.approx(found[name])

    run(make_faster, MakeFasterOptions, ["--resume", str(folder)])
    assert "has ended" in capsys.readouterr().out


def test_the_card_says_what_it_is_and_its_code_runs(
    at_work: Engineer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = at_work.faster()
    head, body = card(folder)
    assert head == {
        "library_name": "transformers",
        "license": "mit",
        "base_model": "made/up",
        "metrics": ["accuracy"],
        "pipeline_tag": "text-classification",
        "tags": ["trbert", "token-reduction"],
    }
    assert (folder / "README.md").read_text() == (folder / "model" / "README.md").read_text()
    found = record(folder)
    assert f"| {found['accuracy']:.2f} ± " in body
    assert f"found: {found['flops_speedup']:.2f}x in FLOPs" in body
    assert body.startswith("# classifier, faster")
    assert (
        "It reads at most 384 tokens of a text, from its beginning. Its classes, in the order of the logits: " in body
    )
    assert "`bad`, `good`." in body
    assert "reviews.csv. 195 records to train on, 21 held-out ones" in body
    by_cpu = rf"^\| CPU time, against stock transformers \| {found['cpu_speedup_stock']:.2f}x \("
    assert re.search(by_cpu, body, re.MULTILINE)
    if "other_processors" in found:
        busy = f"other processes kept {found['other_processors']:.2f} of {found['processors']} processors busy"
        assert (
            f"The clock was read while {busy}: the machine was {'' if found['machine_quiet'] else 'not '}quiet" in body
        )
    command = re.search(r"^python runners/make_faster\.py (.*)$", body, re.MULTILINE)
    assert command is not None
    options = read_options(MakeFasterOptions, command[1].split())
    assert (options.model, options.target_speedup, options.total_texts) == (str(at_work.classifier), 1.5, 32)

    monkeypatch.chdir(folder / "model")
    capsys.readouterr()
    names = run_code(body)
    assert names["logits"].shape == (2, 2)
    assert names["model"].decision != TokenReducedModel.from_pretrained(".").decision  # its speed was changed
    assert capsys.readouterr().err == ""


def test_its_report_draws_the_measured_speeds_the_stages_and_the_intervals(at_work: Engineer, tmp_path: Path) -> None:
    folder = at_work.faster()
    found = record(folder)
    kept = json.loads((folder / "speeds.json").read_text())
    assert (kept["metric"], kept["held_out"]) == ("accuracy", 21)
    (chosen,) = [point for point in kept["points"] if point["chosen"]]
    assert chosen["flops_speedup"] == found["promised_flops_speedup"]
    assert (chosen["loss"], chosen["loss_bound"]) == (found["promised_loss"], found["promised_loss_bound"])
    assert chosen["quality"] == found["holdout_accuracy"] == pytest.approx(kept["unreduced"] - chosen["loss"])
    assert chosen["threshold"] == TokenReducedModel.from_pretrained(folder / "model").decision.threshold

    run(report, ReportOptions, [str(folder), "--num-texts", "2", "--output-dir", str(tmp_path)])
    (path,) = tmp_path.glob("*/report-page/*/report.html")
    page = " ".join(path.read_text().split())
    assert "quality against speed, held-out texts" in page
    assert "on 21 held-out texts, by which the speed was chosen" in page
    assert f"{chosen['loss_bound']:.2f} with 95 % confidence" in page
    assert "Speed while training" in page
    assert "faster, seed 0: stage 2, policy" in page  # two updates; the one of stage 3 is no curve
    change = found["accuracy"] - found["full_accuracy"]
    assert f"change {change:+.2f} ± {found['loss_half_width']:.2f}" in page
    assert f"± {found['flops_speedup_half_width']:.2f}, over all layers" in page
    assert f"{found['wall_speedup_stock_least']:.2f}× to {found['wall_speedup_stock_most']:.2f}× in single" in page
    assert f"{found['cpu_speedup_stock']:.2f}× by CPU time" in page
    if "other_processors" in found:
        assert f"was read, other processes kept {found['other_processors']:.2f} of" in page


def test_the_policy_alone_where_it_is_better(
    at_work: Engineer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(candidates, "loses_when_slow", lambda points, choice: True)
    monkeypatch.setattr(candidates, "better", lambda one, other: True)
    folder = at_work.run("alone", *at_work.file(), "--target-speedup", "1.5")
    assert "policy alone, encoder unchanged: speeds on 21 held-out texts" in " ".join(capsys.readouterr().out.split())
    model = TokenReducedModel.from_pretrained(folder / "model")
    before = BertForSequenceClassification.from_pretrained(at_work.classifier).state_dict()
    after = model.backbone.state_dict()
    assert all(after[name].equal(weights) for name, weights in before.items())
    (policy,) = (folder / "stages").glob("*/policy-*/*/model")
    trained = TokenReducedModel.from_pretrained(policy).policy.state_dict()
    assert all(weights.equal(trained[name]) for name, weights in model.policy.state_dict().items())
    assert "The encoder is that of the base model, unchanged." in card(folder)[1]
    assert record(folder)["policy_alone"] is True


def test_a_question_answerer_by_its_loss(
    at_work: Engineer, data: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.write(at_work.place.root / "questions", data.rows("train", 120), data.rows("validation", 24))
    options = ["--env", "SQuAD2", "--data-dir", str(folder), "--model", str(at_work.place.fine_tuned)]
    run_dir = at_work.run("loss", *options, "--max-loss", "60", "--holdout-texts", "40")
    assert "even if no answer changed" not in capsys.readouterr().err
    found = record(run_dir)
    assert found["outcome"] == "shown"  # a random head answers nothing, and loses little
    assert found["promised_loss_bound"] <= 60
    assert found["max_loss"] == 60
    assert found["loss"] == pytest.approx(found["full_f1"] - found["f1"])
    (config,) = (run_dir / "stages").glob("*/joint-*/*/config.json")
    assert json.loads(config.read_text())["options"]["states_weight"] == 0.0
    head, body = card(run_dir)
    assert (head["pipeline_tag"], head["license"], head["datasets"]) == (
        "question-answering",
        "unknown",
        ["rajpurkar/squad_v2"],
    )
    assert "Licence of the base model: unknown: see base model." in body
    assert "base_model" not in head  # a folder's name means nothing on the hub
    assert "It reads a context in windows of 384 tokens, each with the question." in body
    monkeypatch.chdir(run_dir / "model")
    names = run_code(body)
    assert names["answer"].text in "Ada sold drums."  # "" too: no answer


def test_a_reranker_is_shown_as_one(
    at_work: Engineer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = at_work.place.root / "pairs.csv"
    with open(pairs, "w", newline="") as file:
        rows = [
            [f"q{n}", f"who sold drum {n}?", f"Ada sold drum {n * k}.", int(k == 1)] for n in range(60) for k in (1, 2)
        ]
        csv.writer(file).writerows([["query_id", "query", "passage", "label"], *rows])
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(at_work.place.pretrained, num_labels=1)
    reranker = at_work.place.root / "reranker"
    BertForSequenceClassification(config).save_pretrained(reranker)
    AutoTokenizer.from_pretrained(at_work.classifier).save_pretrained(reranker)
    options = ["--model", str(reranker), "--train-file", str(pairs), "--target-speedup", "1.3", "--label-kind", "score"]
    folder = at_work.run("reranker", *options, "--columns", "group=query_id", "--task-options", "ranking=true")
    said = capsys.readouterr()
    assert re.search(r"points of ndcg at 10 (lost|gained) .* validation texts in \d+ groups", said.out)
    head, body = card(folder)
    assert head["pipeline_tag"] == "text-ranking"
    monkeypatch.chdir(folder / "model")
    names = run_code(body)
    scores = names["scores"].tolist()
    assert [found["corpus_id"] for found in names["ranked"]] == names["ranking"]
    assert [found["score"] for found in names["ranked"]] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_a_time_and_a_loss_that_so_few_texts_cannot_show(at_work: Engineer, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*at_work.file(), "--minutes", "20", "--max-loss", "1", "--env", "TextClassification"]
    # Planned and not run: 20 minutes would be too long here, and a time is never shorter than the machine's pace.
    place = ["--output-dir", str(at_work.place.root / "time"), "--dtype", "float32"]
    parsed = read_options(MakeFasterOptions, [*options, *place])
    folder, plan, parts = begin(parsed, time.monotonic())
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "--max-loss 1: even if no answer changed, 21 held-out texts could show only a loss below 12" in told
    assert re.search(r"; 26\d such texts could, and more where answers change", told)
    assert sum(plan.seconds.values()) <= 20 * 60
    assert plan.joint_texts > plan.policy_texts > 32
    assert json.loads((folder.path / "config.json").read_text())["facts"]["plan"]["joint_texts"] == plan.joint_texts
    # The three parts have no text in common.
    names = [set(records["id"]) for records in (parts.examples.train, parts.holdout, parts.examples.validation)]
    assert [len(each) for each in names] == [195, 21, 24]
    assert not names[0] & names[1]
    assert not names[2] & (names[0] | names[1])


def test_too_little_time_is_said_before_there_is_a_folder_and_enough_is_kept_to(
    at_work: Engineer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ["--output-dir", str(at_work.place.root / "hurry"), "--dtype", "float32"]
    with monkeypatch.context() as busy:
        busy.setattr(LoadWatch, "load", Load(1.5, 2))
        with pytest.raises(SystemExit):
            run(make_faster, MakeFasterOptions, [*at_work.file(), "--minutes", "0.01", *place])
    last = capsys.readouterr().err.splitlines()[-1]
    assert "1.50 of 2 processors busy" in last
    said = re.match(r"error: --minutes 0\.01 leaves too little .*: give at least ([\d.]+); [\d.]+ of them train", last)
    assert said is not None
    assert "--max-eval-texts" not in last  # these are so few texts that fewer would not help
    assert not (at_work.place.root / "hurry").exists()

    minutes, started = 1.5 * float(said[1]) + 0.1, time.monotonic()
    options = ["--minutes", f"{minutes:.2f}", "--max-loss", "0", "--target-speedup", "2"]
    run(make_faster, MakeFasterOptions, [*at_work.file(), *options, *place])
    found, shown = record(at_work.folder("hurry")), capsys.readouterr()
    told = " ".join((shown.out + shown.err).replace("│", " ").split())
    # How much fits into the minutes depends on the machine, and with it what the model loses: what is said follows it.
    words = {
        "shown": "promised: a loss of at most 0 with",
        "measured": "measured, not shown",
        "missed": "--max-loss 0 is not met at any measured speed",
    }
    outcome = found["outcome"]
    assert words[outcome] in told
    assert (outcome == "missed") == (found["promised_loss"] > 0)
    assert outcome != "shown" or found["promised_loss_bound"] <= 0
    # However busy the machine is, which may change: the planned work, and not the default.
    assert time.monotonic() - started < 60 * max(10 * minutes, 3)


def test_what_follows_fine_tuning_is_planned_again_and_resumed_with_the_same_numbers(
    at_work: Engineer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measured(*arguments: Any) -> Work:  # so slow that a minute matters, so few texts that the test does not wait
        return replace(measure_work(*arguments), policy=(400, 0.005), joint=(600, 0.05), most_joint=600, forward=5e-4)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pacing, "measure_work", measured)
    monkeypatch.chdir(at_work.place.root)
    inputs = {"--model": at_work.place.pretrained, "--train-file": at_work.reviews}
    options = [*(part for name, path in inputs.items() for part in (name, os.path.relpath(path))), "--minutes", "20"]
    options += ["--env", "TextClassification", "--dtype", "float32", "--output-dir", str(at_work.place.root / "again")]
    with monkeypatch.context() as context:
        context.setattr(Ledger, "total", property(lambda _: 20 * 60 - 32.0))  # fine-tuning took nearly all of it
        context.setattr(stages, "joint_finetune", interrupted)
        with pytest.raises(SystemExit):
            run(make_faster, MakeFasterOptions, options)
    folder = at_work.folder("again")
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("planned again: fine-tuning took ")]
    plan = json.loads((folder / "progress.json").read_text())["plan"]
    first = json.loads((folder / "config.json").read_text())["facts"]["plan"]
    assert (first["policy_texts"], first["joint_texts"]) == (400, 600)
    assert 320 <= plan["joint_texts"] < 600
    assert f"0.5 of 20 are left: {plan['joint_texts']:,} texts in stage 3, not 600" in line
    assert plan["stage1_texts"] == first["stage1_texts"] > 0

    monkeypatch.chdir(tmp_path)
    run(make_faster, MakeFasterOptions, ["--resume", str(folder)])
    assert "planned again" not in capsys.readouterr().out
    assert json.loads((folder / "progress.json").read_text())["plan"] == plan
    for stage, name in (("policy-*", "policy_texts"), ("joint-*", "joint_texts")):
        (config,) = (folder / "stages").glob(f"*/{stage}/*/config.json")
        assert json.loads(config.read_text())["options"]["total_texts"] == plan[name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --model: the folder or the hub name of your checkpoint"),
        (["--model", "CLASSIFIER"], "give your texts, by --train-file or --dataset, or name a data set by --env"),
        (
            ["--model", "PRETRAINED", "--train-file", "REVIEWS"],
            "has no task head that tells the kind of task: give --env",
        ),
        (["--model", "FASTER", "--train-file", "REVIEWS"], "is a faster model already: give the checkpoint"),
        (["--model", "CLASSIFIER", "--train-file", "REVIEWS", "--target-speedup", "40"], "40.0 is out of reach"),
        (
            ["--model", "CLASSIFIER", "--train-file", "REVIEWS", "--holdout-texts", "5"],
            "--holdout-texts is 5; at least 20 are needed",
        ),
        (["--model", "CLASSIFIER", "--train-file", "FEW"], "23 training texts are too few: at least 20 are held"),
        (["--model", "CLASSIFIER", "--train-file", "REVIEWS", "--minutes", "3"], "leave --total-texts out"),
    ],
)
def test_errors_before_the_work(
    options: list[str], said: str, at_work: Engineer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(at_work.reviews.read_text().splitlines(keepends=True)[:26]))
    filled = {
        "CLASSIFIER": str(at_work.classifier),
        "PRETRAINED": str(at_work.place.pretrained),
        "FASTER": str(at_work.faster()),
        "REVIEWS": str(at_work.reviews),
        "FEW": str(few),
    }
    arguments = [filled.get(option, option) for option in options]
    with pytest.raises(SystemExit) as caught:
        run(make_faster, MakeFasterOptions, [*arguments, *SHORT, "--output-dir", str(tmp_path / "runs")])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert not (tmp_path / "runs").exists()


def test_killed_and_resumed_is_uninterrupted(engineer: Engineer) -> None:
    options = ["--model", str(engineer.place.pretrained), "--train-file", str(engineer.reviews)]
    options += ["--env", "TextClassification", *SHORT]
    root = engineer.place.root
    whole = engineer.place.start("make_faster", *options, "--output-dir", str(root / "faster-whole"))
    broken = engineer.place.start("make_faster", *options, "--output-dir", str(root / "faster-broken"))
    _, err = stopped(broken, root / "faster-broken", "finetune-*", signal.SIGINT)
    assert err.splitlines()[-1].endswith(f"go on with --resume {engineer.folder('faster-broken')}")
    again = engineer.place.start("make_faster", "--resume", str(engineer.folder("faster-broken")))
    status, _ = stopped(again, root / "faster-broken", "policy-*", signal.SIGKILL)
    assert status == -signal.SIGKILL
    said = engineer.place.command("make_faster", "--resume", str(engineer.folder("faster-broken")))
    assert re.search(r"plan, about [\d.]+ minutes left;", said)
    assert re.search(r"fine-tuning .* ended", said)
    assert re.search(r"stage 1, fine-tuning .* [\d,]+ texts", said)
    assert "minutes since it went on" in said
    _, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err

    first, second = engineer.folder("faster-whole"), engineer.folder("faster-broken")
    assert (first / "model" / "model.safetensors").read_bytes() == (second / "model" / "model.safetensors").read_bytes()
    others = CLOCK_KEYS | {"backbone"}
    kept = [{k: v for k, v in record(folder).items() if k not in others} for folder in (first, second)]
    assert kept[0] == kept[1]
    assert len(list((second / "stages").glob("*/finetune-*/*/metrics.json"))) == 1
    assert "fine-tuned on 195 of the texts" in card(second)[1]


def stopped(process: Any, output: Path, stage: str, how: signal.Signals) -> tuple[int, str]:
    """Send a signal once a stage has begun; the exit status and stderr."""
    while not list(output.glob(f"*/faster-*/*/stages/*/{stage}/*/config.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    return process.returncode, err
