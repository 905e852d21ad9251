"""A page of one or several runs: quality and speed, curves, what is kept, and texts with each token's last layer."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import tyro

from runners.cli.display import announce
from runners.cli.flags import refuse_given
from runners.cli.options import Group, RunOptions, resolve_device
from runners.cli.run import UserError, run
from runners.reporting.exploring import Explorer
from runners.reporting.moved import MovedDataOptions, data_of
from runners.reporting.page import Explored, render_page
from runners.reporting.server import ReportServer
from runners.reporting.sources import Source, read_sources
from runners.runs.files import write_durably
from runners.runs.run_folder import RunFolder
from runners.training.precision import evaluation_dtype
from trbert_env.ranges import Range


@dataclass(frozen=True)
class ReportOptions:
    """Options of a report."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, sweeps, comparisons and reproductions."""

    num_texts: Annotated[int, Range(1)] = 60
    """Most texts to explore of each run that has a policy: a random sample by --seed."""

    split: Literal["train", "validation", "test"] | None = None
    """Split of these texts; the one that results are reported on when not given."""

    serve: bool = False
    """Serve the page on this machine, with a field for texts of one's own."""

    port: Annotated[int, Range(0, 65535)] = 8000
    """With --serve: port of the page; 0 takes any free one."""

    moved: Group[MovedDataOptions] = field(default_factory=MovedDataOptions)
    run: Group[RunOptions] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Refuse options that do not go together; see :class:`runners.cli.options.RunnerOptions`."""
        if not self.runs:
            raise UserError("give the folder of a run, or several: report.py RUN_DIR")
        if len({path.resolve() for path in self.runs}) < len(self.runs):
            raise UserError("a folder is named twice: name each once")
        if not self.serve:
            refuse_given(self, ("--port",), "without --serve nothing is served")


def explored_runs(options: ReportOptions, sources: Sequence[Source]) -> list[Explored]:
    """Run a sample of texts through the model of each run that has a policy.

    Args:
        options: Options of the report.
        sources: All folders of the report.
    """
    device, dtype = str(resolve_device(options.run.device)), getattr(torch, evaluation_dtype(options.run.dtype))
    found = []
    for source in sources:
        if not source.has_policy:
            announce(f"{source.path} has no policy: its page shows no tokens")
            continue
        explorer = Explorer.load(source.path, device, dtype)
        records = explorer.sample(
            data_of(source.path, options.moved), options.split, options.num_texts, options.run.seed
        )
        found.append(Explored(source, explorer, explorer.explore(records)))
    return found


def serve(server: ReportServer) -> None:
    """Serve until Ctrl-C.

    Args:
        server: The server.
    """
    print(f"serving {server.url} on this machine, until Ctrl-C", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nstopped")


def main(options: ReportOptions) -> None:
    """Write the page, and serve it where that is asked for."""
    sources = read_sources(options.runs)
    options.moved.check([source.path for source in sources if source.has_policy])
    server = ReportServer(options.port) if options.serve else None  # says what is wrong before the work
    explored = explored_runs(options, sources)
    command = shlex.join(["python", "runners/report.py", *sys.argv[1:]])
    page = render_page(sources, explored, command, served=False)
    envs = "-".join(dict.fromkeys(source.env for source in sources))
    folder = RunFolder.create(options.run.output_dir, envs, "report", "page", options.run.seed)
    folder.write_config(options)
    path = folder.path / "report.html"
    write_durably(path, page)
    print(f"report: {path}")
    if server is not None:
        server.show(render_page(sources, explored, command, served=True), explored)
        serve(server)


if __name__ == "__main__":
    run(main, ReportOptions)
