"""Invariant 7 where texts are put together anew in each pass: killed and resumed == uninterrupted, bit for bit."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trbert_env.tasks import MultiHopQA

#: 16 questions: a pass takes four updates, and the runs go over them 10 times.
RUN = [
    *("--env", "HotpotQA"),
    *("--total-texts", "160", "--texts-per-step", "4", "--checkpoint-every", "1", "--dtype", "float32"),
]


@pytest.fixture(scope="module")
def fine_tuned(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder with a head, and a real tokenizer: the marks of titles must be in its vocabulary."""
    return save_encoder(MultiHopQA(), intermediate_size=24)


PEOPLE = ["Anna", "Boris", "Clara", "David"]
TOWNS = ["Aden", "Bern", "Cork", "Dover"]


def question(number: int) -> dict[str, object]:
    """Whose teacher lives where: a fact of each of two paragraphs, beside two others."""
    person, teacher, town = PEOPLE[number % 4], PEOPLE[(number + 1 + number // 8) % 4], TOWNS[number // 4 % 4]
    context = [
        [f"{person} {number}", [f"{person} {number} was taught by {teacher} Smith.", " Little else is known."]],
        [f"{teacher} Smith", [f"{teacher} Smith likes the sea.", f" {teacher} Smith lives in {town}."]],
        *([f"River {n}", [f"River {n} is long.", f" It ends near {TOWNS[n]}."]] for n in (number % 3, 3)),
    ]
    return {
        "_id": f"q{number}",
        "question": f"Where does the teacher of {person} {number} live?",
        "answer": town,
        "type": "bridge",
        "level": "easy",
        "supporting_facts": [[f"{person} {number}", 0], [f"{teacher} Smith", 1]],
        "context": context,
    }


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a folder in HotpotQA's own form."""
    folder = tmp_path_factory.mktemp("questions")
    for name, numbers in (("hotpot_train_v1.1", range(16)), ("hotpot_dev_distractor_v1", range(16, 20))):
        (folder / f"{name}.json").write_text(json.dumps([question(number) for number in numbers]))
    return ["--data-dir", str(folder)]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def the_run(place: Any, output: str) -> Path:
    (found,) = (place.root / output).glob("HotpotQA/*/*")
    return Path(found)


def test_runs_go_on_in_the_pass_that_they_were_in(place: Any, fine_tuned: Path, questions: list[str]) -> None:
    stages = {
        "policy": ["train_policy", "--backbone", str(fine_tuned), "--samples-per-text", "2"],
        "joint": ["joint_finetune", "--policy", "", "--holdout-texts", "0", "--watch", "0", "--accumulate", "1"],
    }
    policy: Path | None = None
    for stage, arguments in stages.items():
        given = [*arguments[1:], *RUN, *questions]
        if policy is not None:
            given[given.index("--policy") + 1] = str(policy)
        place.command(arguments[0], *given, "--output-dir", str(place.root / f"whole-{stage}"))
        whole, output = the_run(place, f"whole-{stage}"), f"broken-{stage}"
        process = place.start(arguments[0], *given, "--output-dir", str(place.root / output))
        status, _ = place.stop(process, output, 13)  # in the fourth pass
        assert status == -signal.SIGKILL
        broken = the_run(place, output)
        assert not (broken / "model").exists()
        place.command(arguments[0], "--resume", str(broken))
        assert weights(broken) == weights(whole)
        policy = policy or whole


def test_nothing_is_remembered_of_texts_that_vary(place: Any, fine_tuned: Path, questions: list[str]) -> None:
    given = ["--backbone", str(fine_tuned), "--samples-per-text", "2", *RUN, *questions]
    given += ["--output-dir", str(place.root / "start")]
    given[given.index("160")] = "8"
    place.command("train_policy", *given)
    policy = ["--policy", str(the_run(place, "start")), "--remember-teacher", *RUN, *questions]
    process = place.start("joint_finetune", *policy, "--output-dir", str(place.root / "none"))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "come in another order in each pass: leave out --remember-teacher" in err
    assert not list((place.root / "none").glob("HotpotQA/*/*"))
