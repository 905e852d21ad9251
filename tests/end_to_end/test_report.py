"""report.py on every kind of task: what the page says, that it loads nothing, and that it works in a browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from runners.cli.run import run
from runners.report import ReportOptions, explored_runs
from runners.report import main as report
from runners.reporting.page import render_page
from runners.reporting.server import ReportServer
from runners.reporting.sources import read_sources
from runners.runs.files import write_csv
from runners.train_policy import TrainPolicyOptions
from runners.train_policy import main as train_policy

#: One data set of each kind of task -> the parts of its texts, and a text of one's own.
KINDS: dict[str, tuple[set[str], dict[str, str]]] = {
    "SQuAD2": ({"question", "passage"}, {"question": "Who sold drums?", "context": "Ada sold drums."}),
    "IMDB": ({"text"}, {"text": "A fine film."}),
    "RACE": ({"article", "question", "option"}, {"article": "Ben.", "question": "Who?", "options": "Ben\nAda"}),
    "HotpotQA": ({"question", "title", "paragraph"}, {"question": "Who?", "paragraphs": "Ada\nA singer."}),
    "WikiHop": (
        {"query", "candidate", "support"},
        {"query": "country Bern", "candidates": "Spain\nFrance", "supports": "Bern is a town."},
    ),
}
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> &amp; \u2028"
TEXTS = 5


@pytest.fixture(scope="module")
def encoder(save_encoder: Callable[..., Path]) -> Path:
    """A tiny encoder without a head, with a real tokenizer."""
    return save_encoder()


def command(main: Any, options: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{main.__module__.rpartition('.')[2]}.py", *arguments])
    run(main, options)


def trained(
    place: Any, encoder: Path, env: str, monkeypatch: pytest.MonkeyPatch, *arguments: str, root: str = "report"
) -> Path:
    """A run of stage 2, made once."""
    folder: Path = place.root / root
    if not list((folder / env).glob("policy-*/*")):
        command(
            train_policy, TrainPolicyOptions, monkeypatch, "--env", env, "--backbone", str(encoder),
            "--dtype", "float32", "--output-dir", str(folder), "--max-train-texts", "16", "--max-eval-texts", "8",
            "--total-texts", "16", "--texts-per-step", "4", "--samples-per-text", "2", *arguments,
        )  # fmt: skip
    (found,) = (folder / env).glob("policy-*/*")
    return found


class Page(HTMLParser):
    """What a page holds: its tags, what it would load, and the data of its explorer."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self._inside = ""
        self.data = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [
            str(values[name]) for name in ("src", "href", "action", "data", "poster", "srcset") if name in values
        ]
        self._inside = str(values.get("id", "")) if tag == "script" else self._inside

    def handle_data(self, data: str) -> None:
        self.data += data if self._inside == "data" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == "script" else self._inside

    @property
    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.data)["runs"]
        return found


def written(root: Path) -> str:
    """The page that was written last."""
    return max(root.glob("*/report-page/*/report.html")).read_text()


@pytest.mark.parametrize("env", KINDS)
def test_every_kind_of_task(env: str, in_process: Any, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trained(in_process, encoder, env, monkeypatch, "--data-source", "embedded")
    out = in_process.root / f"pages-{env}"
    arguments = [str(path), "--num-texts", str(TEXTS), "--output-dir", str(out)]
    command(report, ReportOptions, monkeypatch, *arguments)
    text = written(out)
    page = Page(text)
    assert all(load.startswith("#") or load == "data:," for load in page.loads), page.loads
    assert not re.search(r"url\(|@import|https?://", text)
    assert len(text) < 2_000_000
    record = json.loads((path / "metrics.json").read_text())
    assert f"{record['flops_speedup']:.2f}×" in text
    assert page.tags.count("svg") == 2  # the return and the speed

    (one,) = page.runs
    assert one["places"][0].startswith("stops after layer ")
    assert one["places"][-1] == "runs to the end"
    parts, own = KINDS[env]
    assert set(one["names"]["part"]) == parts | {"special tokens"}
    assert 1 <= len(one["texts"]) <= TEXTS  # of RACE, questions on one article stay together
    tokens = stopped = 0
    for entry in one["texts"]:
        assert entry["speedup"] > 0
        assert entry["score"] is None or 0 <= entry["score"] <= 100
        for sequence in entry["sequences"]:
            assert len({len(column) for column in sequence.values()}) == 1
            assert sequence["stop"][0] == len(one["layers"]) - 1  # [CLS] never stops
            tokens += len(sequence["stop"])
            stopped += sum(stop == 0 for stop in sequence["stop"])
    # The bar of all tokens in the page says what the texts below say.
    assert f"{100 * (1 - stopped / tokens):.0f} %" in text

    (explored,) = explored_runs(ReportOptions(runs=(path,), num_texts=TEXTS), read_sources([path]))
    again = json.loads(json.dumps(explored.payload()))
    assert again == one  # the same seed, the same page
    found = explored.explorer.explore_own(own)
    assert found.gold is None
    assert not any(token.gold for token in found.tokens)
    assert {token.part for token in found.tokens} == parts | {"special tokens"}
    with pytest.raises(ValueError, match="is empty: fill it in"):
        explored.explorer.explore_own({})


@dataclass(frozen=True)
class Hostile:
    """A run on texts that try to be markup, and the pages of its report."""

    run: Path
    page: Path
    server: ReportServer


@pytest.fixture
def hostile(
    in_process: Any, data: Any, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hostile]:
    def rows(split: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = data.rows(split, 12)
        return [
            {**row, "id": f"{row['id']} {HOSTILE}", "context": row["context"] + HOSTILE, "question": HOSTILE}
            for row in found
        ]

    folder = in_process.root / "hostile"
    if not folder.exists():
        data.write(folder, rows("train"), rows("validation"))
    path = trained(in_process, encoder, "SQuAD2", monkeypatch, "--data-dir", str(folder), root="hostile-runs")
    command(
        report, ReportOptions, monkeypatch, str(path), "--num-texts", "12", "--output-dir", str(tmp_path / HOSTILE[2:9])
    )
    (page,) = (tmp_path / HOSTILE[2:9]).glob("*/*/*/report.html")
    sources = read_sources([path])
    explored = explored_runs(ReportOptions(runs=(path,), num_texts=12), sources)
    server = ReportServer(0)
    server.show(render_page(sources, explored, f"report.py {HOSTILE}", served=True), explored)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Hostile(path, page, server)
    server.shutdown()
    thread.join()
    server.server_close()


def asked(server: ReportServer, body: Any, path: str = "texts", **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else {}


def test_texts_are_no_markup_and_the_server_answers_this_machine_alone(hostile: Hostile) -> None:
    page = Page(hostile.page.read_text())
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    (one,) = page.runs
    tokenizer = AutoTokenizer.from_pretrained(hostile.run / "model")
    first = one["texts"][0]
    assert HOSTILE in first["id"]
    assert "onerror" in "".join(first["sequences"][0]["text"])
    assert len(first["sequences"][0]["text"]) > len(tokenizer(HOSTILE)["input_ids"])

    server = hostile.server
    with urllib.request.urlopen(server.url) as answer:
        served = Page(answer.read().decode())
    assert "form" in served.tags
    assert "form" not in page.tags
    assert served.runs == page.runs
    values = {"question": "Who moved ?", "context": f"Anna moved {HOSTILE}"}
    status, found = asked(server, {"run": 0, "values": values})
    assert (status, found["gold"], found["score"]) == (200, None, None)
    assert "anna" in found["sequences"][0]["text"]
    assert asked(server, {"run": 0, "values": {**values, "question": ""}}) == (
        400, {"error": "the field 'Question' is empty: fill it in"},
    )  # fmt: skip
    for body in ({"run": 1, "values": values}, {"run": True, "values": values}, {"run": 0, "values": 3}, [], None):
        status, found = asked(server, body)
        assert status == 400
        assert "give" in found["error"]
    assert asked(server, {}, path="other")[0] == 404
    assert asked(server, {}, **{"Content-Type": "text/plain"})[0] == 404
    assert asked(server, {}, Host="elsewhere.example")[0] == 403
    assert asked(server, {"run": 0, "values": {"question": "x" * 1_100_000}})[0] == 413


@pytest.fixture
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


def test_the_page_in_a_browser(hostile: Hostile, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
    said: list[str] = []
    asked_for: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked_for.append(request.url))
    page.goto(hostile.page.as_uri())

    assert page.locator("#position").inner_text() == "1 of 12"
    tokens = page.locator("#tokens .token")
    (one,) = Page(hostile.page.read_text()).runs
    assert tokens.count() == len(one["texts"][0]["sequences"][0]["text"])
    assert "stops after layer 1" in page.locator("#stages").inner_text()

    page.locator("#next").click()
    assert page.locator("#position").inner_text() == "2 of 12"
    page.keyboard.press("ArrowRight")
    assert page.locator("#position").inner_text() == "3 of 12"
    page.keyboard.press("ArrowLeft")
    page.locator("#previous").click()
    assert page.locator("#position").inner_text() == "1 of 12"
    page.keyboard.press("/")
    page.keyboard.type("anna")
    shown = page.locator("#list button").count()
    assert 0 < shown < 12
    page.keyboard.type(" nobody wrote this")
    assert page.locator("#nothing").is_visible()
    assert page.locator("#text").is_hidden()
    page.locator("#search").fill("")
    outcomes = [page.locator("#filter").select_option(name) and page.locator("#list button").count()
                for name in ("right", "partly", "wrong")]  # fmt: skip
    assert sum(outcomes) == 12
    page.locator("#filter").select_option("all")
    page.locator("#list button").nth(3).click()
    assert page.locator("#position").inner_text() == "4 of 12"
    page.locator("#digits").check()
    stopped = sum(stop < len(one["layers"]) - 1 for stop in one["texts"][3]["sequences"][0]["stop"])
    assert page.locator("#tokens sub").count() == stopped
    last = page.locator("#stages button").last
    last.click()
    assert page.locator("#stages button").last.get_attribute("aria-pressed") == "true"
    assert page.locator("#tokens .chosen").count() == tokens.count() - stopped

    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").click()
    dark = page.evaluate(paper)
    assert light != dark
    page.locator("#theme").click()
    assert page.evaluate(paper) == light
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert page.evaluate(paper) == dark

    for width in (1200, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert said == []
    assert set(asked_for) == {hostile.page.as_uri()}


@pytest.fixture
def several(in_process: Any, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of two runs on two data sets, and of a table of runs whose names try to be markup."""
    runs = [trained(in_process, encoder, env, monkeypatch, "--data-source", "embedded") for env in ("SQuAD2", "IMDB")]
    table = tmp_path / "SQuAD2" / "reproduce-table2" / "1"
    table.mkdir(parents=True)
    (table / "config.json").write_text('{"options": {}}')
    record = json.loads((runs[0] / "metrics.json").read_text())
    opponents = [
        {
            **record,
            "system": f"opponent {HOSTILE}",
            "seed": seed,
            "target": 2.0,
            "f1": 50.0 + seed,
            "flops_speedup": 2.0,
        }
        for seed in (0, 1)
    ]
    write_csv(table / "runs.csv", opponents)
    named = [*map(str, runs), str(table)]
    command(report, ReportOptions, monkeypatch, *named, "--num-texts", "3", "--output-dir", str(tmp_path / "pages"))
    (found,) = (tmp_path / "pages").glob("*/*/*/report.html")
    assert found.parents[2].name == "SQuAD2-IMDB"
    return found


def test_several_runs(several: Path) -> None:
    text = several.read_text()
    page = Page(text)
    assert [one["name"].partition(",")[0] for one in page.runs] == ["SQuAD2", "IMDB"]
    assert "SQuAD2: quality against speed" in text
    assert "IMDB: quality against speed" not in text  # one point is no frontier
    assert '50.50 <span class="muted">± 6.35</span>' in text  # t(0.975, 1) = 12.71, times 0.5
    assert "img" not in page.tags
    assert page.tags.count("script") == 2


def test_several_runs_in_a_browser(several: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(several.as_uri())
    first = page.locator("#text-id").inner_text()
    page.locator("#run").select_option("1")
    assert page.locator("#position").inner_text() == "1 of 3"
    assert page.locator("#text-id").inner_text() != first
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("window.hacked") is None
    assert said == []


def test_own_text_in_a_browser(hostile: Hostile, browser: Any) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(hostile.server.url)
    page.locator("[name=question]").fill(HOSTILE)
    page.locator("[name=context]").fill("Anna moved to Bern.")
    page.get_by_role("button", name="Run the model").click()
    page.locator("#own-state", has_text="predicted").wait_for()
    assert page.locator("#text-id").inner_text() == "your own text"
    assert "anna moved to bern." in " ".join(page.locator("#tokens").inner_text().split())
    assert page.evaluate("window.hacked") is None
    assert said == []
    page.locator("[name=context]").fill(" ")
    page.get_by_role("button", name="Run the model").click()
    page.locator("#own-state.error", has_text="'Context' is empty").wait_for()
    assert all("400" in line for line in said)  # what the browser itself says of a refused text


def test_serving_from_the_command_line(hostile: Hostile, in_process: Any) -> None:
    taken = hostile.server.server_port
    process = in_process.start("report", str(hostile.run), "--num-texts", "1", "--serve", "--port", str(taken))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert f"--port {taken} cannot be had" in err
    process = in_process.start_anew("report", str(hostile.run), "--num-texts", "1", "--serve", "--port", "0")
    (url,) = next(
        found for line in process.stdout if (found := re.findall(r"^serving (http://127\.0\.0\.1:\d+/)", line))
    )
    with urllib.request.urlopen(url) as answer:
        assert b"Run the model" in answer.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, "Traceback" in err) == (0, "\nstopped\n", False)


def test_options_that_do_not_go_together(in_process: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for arguments, message in (
        ([], "give the folder of a run"),
        (["a", "./a"], "named twice"),
        (["a", "--port", "9000"], "without --serve nothing is served: leave --port out"),
        (["a"], "there is no run folder a"),
    ):
        with pytest.raises(SystemExit):
            command(report, ReportOptions, monkeypatch, *arguments)
        assert message in capsys.readouterr().err
