"""An agent of one's own, by its class's name: trained, evaluated, resumed."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runners.cli.run import run
from runners.runs.models import load_model
from runners.runs.run_folder import options_digest
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "linear_agent.py"
OPTIONS = [
    *("--agent", "my_agents:LinearAgent", "--agent-options", "rate=0.05", "--total-texts", "480"),
    *("--texts-per-step", "4", "--samples-per-text", "4", "--checkpoint-every", "1"),
]
#: Agents with a mistake each.
FAULTY = """

import random
from agents.reinforce import ReinforceOptions

def make_none(spec, options): return object()

class Probable(LinearAgent):
    def act(self, observation, infos, *, deterministic=False): return observation["token_mask"] * 0.25

class Collecting(LinearAgent):
    def state_dict(self): return {"seen": {1}}

class Drawing(LinearAgent):
    def state_dict(self): return {"random": random.getstate()}
    def load_state_dict(self, state): random.setstate(state["random"])

class Silent(LinearAgent):
    def learn(self, rollout): pass

@dataclass(frozen=True)
class Fast(ReinforceOptions):
    learning_rate: float = 0.5

class Undecided(LinearAgent):
    def act(self, observation, infos): return observation["token_mask"]

class FastAgent(LinearAgent):
    options_class = Fast
"""


@pytest.fixture
def here(place: Any) -> Any:
    """The place, with the example's module in the directory that commands are run from."""
    (place.root / "my_agents.py").write_text(f"{EXAMPLE.read_text()}{FAULTY}")
    (place.root / "absent_agent.py").write_text("import absent\n")
    return place


def state_of(folder: Path) -> dict[str, Any]:
    (latest,) = folder.glob("checkpoint/step-*")
    return load_file(latest / "state.safetensors")


def test_what_a_plug_in_gets_for_free(here: Any) -> None:
    options = ["--backbone", str(here.fine_tuned), *OPTIONS]
    here.command("train_policy", *options, *here.common("plug-whole"))
    whole = here.only_run("plug-whole")
    record = json.loads((whole / "metrics.json").read_text())
    assert record["agent"] == "my_agents:LinearAgent"
    assert record.keys() >= {"f1", "full_f1", "flops_speedup", "kept_fraction_1", "log_likelihood"}
    assert not (whole / "model").exists()  # its policy is not of the kind that is shipped
    with pytest.raises(FileNotFoundError, match="its agent my_agents:LinearAgent has no policy and decision"):
        load_model(whole, "cpu")
    events = EventAccumulator(str(whole))
    events.Reload()
    curves = events.Tags()["scalars"]
    assert {"charts/episodic_return", "charts/flops_speedup", "losses/policy_loss", "eval/f1"} <= set(curves)

    process = here.start("train_policy", *options, *here.common("plug-broken"))
    status, _ = here.stop(process, "plug-broken", 1)
    assert status == -signal.SIGKILL
    broken = here.only_run("plug-broken")
    assert not (broken / "metrics.json").exists()
    here.command("train_policy", "--resume", str(broken))
    one, other = state_of(whole), state_of(broken)
    assert one.keys() == other.keys()
    assert all(values.equal(other[name]) for name, values in one.items())


def test_a_price_holds_it_to_a_target(here: Any) -> None:
    options = ["--backbone", str(here.fine_tuned), *OPTIONS, "--target-speedup", "1.3"]
    here.command("train_policy", *options, *here.common("plug-target"))
    events = EventAccumulator(str(here.only_run("plug-target")))
    events.Reload()
    assert len(events.Scalars("charts/multiplier")) == 120


def test_the_example_is_short_and_in_the_readme() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 60
    assert text in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--agent", "nowhere.to_be:Found"], "there is no module 'nowhere.to_be'"),
        (["--agent", "json:Nothing"], "module 'json' has no 'Nothing'"),
        (
            ["--agent", "my_agents:LinearAgent", "--agent-options", "pace=1"],
            "has no option 'pace' of its own: it has rate",
        ),
        (["--agent", "my_agents:LinearOptions"], "lacks act, learn, state_dict, load_state_dict"),
        (["--agent", "my_agents:make_none"], "lacks act, learn, state_dict, load_state_dict"),
        (["--agent", "my_agents:LinearAgent", "--cloning-texts", "8"], "--cloning-texts"),
        (["--agent", "types:SimpleNamespace"], "types:SimpleNamespace"),
        (["--agent", "my_agents:Probable"], "action 0.25 in row 0, token 0: give 1 to keep and 0 to skip"),
        (["--agent", "my_agents:Collecting"], "'my_agents:Collecting' cannot be saved and loaded again (TypeError"),
        (["--agent", "my_agents:Drawing"], "(a tuple comes back as one)"),
        (["--agent", "my_agents:Silent"], "learn() of agent 'my_agents:Silent' gave NoneType: give a dict of metrics"),
        (["--agent", "my_agents:Undecided"], "(got an unexpected keyword argument 'deterministic'): define act(self"),
        (
            ["--agent", "my_agents:FastAgent"],
            "has learning_rate 0.5 by default, and the command line settles it, 0.003",
        ),
    ],
)
def test_errors(options: list[str], named: str, here: Any, in_process: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(train_policy, TrainPolicyOptions, ["--backbone", str(here.fine_tuned), *here.common("bad"), *options])
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert named in line


TRAP = "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\nclass Agent: pass\n"


@pytest.fixture
def somebodys_run(here: Any, tmp_path: Path) -> Path:
    """A run folder that brings a module, which its configuration names as the agent."""
    options = ["--backbone", str(here.fine_tuned), *OPTIONS]
    options[options.index("480")] = "8"
    output = f"given-{tmp_path.name}"
    here.command("train_policy", *options, *here.common(output))
    run_dir = shutil.copytree(here.only_run(output), tmp_path / "given")
    (run_dir / "metrics.json").unlink()
    (run_dir / "trap.py").write_text(TRAP)
    (run_dir / "package").mkdir()
    (run_dir / "package" / "__init__.py").write_text(TRAP)
    (run_dir / "package" / "trap.py").write_text(TRAP)
    return Path(run_dir)


@pytest.mark.parametrize(
    ("where", "agent", "resume"),
    [
        (".", "trap:Agent", "."),
        (".", "package:Agent", "."),
        (".", "package.trap:Agent", "."),
        ("package", "trap:Agent", ".."),
        ("..", "given.trap:Agent", "given"),
        ("..", "given.package.trap:Agent", "given"),
    ],
)
def test_nothing_is_imported_from_a_run_folder(
    where: str,
    agent: str,
    resume: str,
    somebodys_run: Path,
    in_process: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = json.loads((somebodys_run / "config.json").read_text())
    config["options"] |= {"agent": agent, "agent_options": []}
    config["options_digest"] = options_digest(config["options"])  # as whoever prepares a trap would
    (somebodys_run / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(somebodys_run / where)
    for path in ("", str(somebodys_run), str(somebodys_run / "package")):
        monkeypatch.syspath_prepend(path)  # as PYTHONPATH or `python -m` may have it
        with pytest.raises(SystemExit) as caught:
            run(train_policy, TrainPolicyOptions, ["--resume", resume])
        assert caught.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "would be imported from the run folder" in line
        assert "outside of the run" in line
    assert not list(somebodys_run.rglob("imported"))


def test_a_run_folder_is_no_place_to_import_from_without_resume_either(
    somebodys_run: Path, in_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(somebodys_run)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    with pytest.raises(SystemExit):
        run(train_policy, TrainPolicyOptions, ["--agent", "trap:Agent", *in_process.common("trap")])
    assert "there is no module 'trap'" in capsys.readouterr().err
    assert str(somebodys_run) not in sys.path
    assert not (somebodys_run / "imported").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--agent", "my_agents:LinearOptions"],
        ["--agent", "types:SimpleNamespace"],
        ["--agent", "my_agents:make_none"],
        ["--agent", "my_agents:LinearAgent", "--agent-options", "pace=1"],
        ["--target-speedup", "40"],
        ["--keep-fractions", "0.5"],
    ],
)
def test_what_turns_out_late_leaves_nothing_behind(
    options: list[str], here: Any, in_process: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data-dir", str(here.data), "--backbone", str(here.fine_tuned), "--output-dir", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as caught:
        run(train_policy, TrainPolicyOptions, [*common, *options])
    assert caught.value.code == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("scores", ["attention", "residual"])
def test_a_plug_in_that_reads_scores(scores: str, here: Any) -> None:
    """It reads them wherever it acts: in training, where a text is watched, and in evaluation."""
    module = f"scores_{scores}"
    (here.root / f"{module}.py").write_text(
        "from my_agents import *\n\n\n"
        "class Scored(LinearAgent):\n"
        f"    info_scores = {scores!r}\n\n"
        "    def act(self, observation, infos, *, deterministic=False):\n"
        "        assert infos['importance'].shape == observation['token_mask'].shape\n"
        "        return super().act(observation, infos, deterministic=deterministic)\n"
    )
    small = ["--total-texts", "8", "--texts-per-step", "4", "--samples-per-text", "2"]
    options = ["--backbone", str(here.fine_tuned), "--agent", f"{module}:Scored", "--agent-options", "rate=0.05"]
    here.command("train_policy", *options, *small, *here.common(module))
    assert json.loads((here.only_run(module) / "metrics.json").read_text())["flops_speedup"] > 0


def test_what_a_module_lacks_is_named(here: Any, in_process: Any) -> None:
    """The module is there, though its name begins with that of the one that it imports."""
    options = ["--backbone", str(here.fine_tuned), *here.common("absent"), "--agent", "absent_agent:Agent"]
    with pytest.raises(ModuleNotFoundError, match="No module named 'absent'"):
        run(train_policy, TrainPolicyOptions, options)
