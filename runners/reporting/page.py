"""The page of a report: one HTML file with its styles, scripts, plots and texts, which loads nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from runners.cli.plots import metric_label
from runners.evaluation.certainty import plus_minus
from runners.reporting.charts import marker
from runners.reporting.exploring import ExploredText, Explorer, Token
from runners.reporting.kept import KeptGroup, kept_groups
from runners.reporting.plots import DataSet, data_sets, examples_of, held_out_chart, training_charts
from runners.reporting.sources import Source, main_metric, quality_of
from trbert_env.data.checkpoints import folder_name


@dataclass(frozen=True)
class Explored:
    """A run with the texts of its explorer.

    Attributes:
        source: Folder of the run.
        explorer: Its model.
        texts: The texts.
    """

    source: Source
    explorer: Explorer
    texts: Sequence[ExploredText]

    @property
    def name(self) -> str:
        """Name of the run for readers."""
        return f"{self.source.env}, {self.source.name}"

    @property
    def kept(self) -> list[KeptGroup]:
        """What is kept of each class of tokens."""
        return kept_groups(self.texts, len(self.explorer.layers) - 1)

    @property
    def stages(self) -> list[str]:
        """Layers of each stage, in words; from cut to cut where one lies within a layer."""
        cuts = self.explorer.cuts
        if any(isinstance(cut, float) for cut in cuts):
            between = [f"{one} to {other}" for one, other in itertools.pairwise(cuts)]
            return [f"to {cuts[0]}", *between, f"from {cuts[-1]}"]
        lasts = self.explorer.layers
        firsts = [1, *(last + 1 for last in lasts[:-1])]
        return [f"layer {first}" if first == last else f"layers {first}–{last}"
                for first, last in zip(firsts, lasts, strict=True)]  # fmt: skip

    @property
    def places(self) -> list[str]:
        """Where tokens of each stage stop, in words."""
        layers, cuts = self.explorer.layers, self.explorer.cuts
        stops = [f"{'within' if isinstance(cut, float) else 'after'} layer {layer}"
                 for layer, cut in zip(layers, cuts, strict=False)]  # fmt: skip
        return [*(f"stops {stop}" for stop in stops), "runs to the end"]

    def payload(self) -> dict[str, Any]:
        """Return what the page's script reads, as JSON values."""
        names = names_of(self.texts)
        return {
            "name": self.name,
            "layers": self.explorer.layers,
            "places": self.places,
            "fields": [asdict(field) for field in self.explorer.task.own_fields],
            "texts": [entry_of(text, names) for text in self.texts],
            "names": names,
        }


def names_of(texts: Sequence[ExploredText]) -> dict[str, list[str]]:
    """Return the names of parts and classes of tokens, which entries name by their number.

    Args:
        texts: The texts.
    """
    tokens = [token for text in texts for token in text.tokens]
    return {key: list(dict.fromkeys(getattr(token, key) for token in tokens)) for key in ("part", "kind")}


def entry_of(text: ExploredText, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a text as the page's script reads it, as JSON values: a column an attribute of tokens.

    Args:
        text: The text.
        names: Names of parts and classes, from :func:`names_of`.
    """

    def sequence(tokens: Sequence[Token]) -> dict[str, list[Any]]:
        return {
            "text": [token.text for token in tokens],
            "spaced": [int(token.spaced) for token in tokens],
            "stop": [token.stop for token in tokens],
            "part": [names["part"].index(token.part) for token in tokens],
            "kind": [names["kind"].index(token.kind) for token in tokens],
            "marks": [int(token.gold) + 2 * int(token.predicted) for token in tokens],
        }

    return {
        "id": text.record_id,
        "gold": text.gold,
        "predicted": text.predicted,
        "unreduced": text.unreduced,
        "score": text.score,
        "speedup": text.flops_speedup,
        "sequences": [sequence(tokens) for tokens in text.sequences],
    }


def own_entry(explored: Explored, values: Mapping[str, str]) -> dict[str, Any]:
    """Return a text of a reader's own as the page's script reads it, with the names of its parts and classes.

    Args:
        explored: The run.
        values: Values of the fields, by name.

    Raises:
        ValueError: A value is missing, or the text cannot be read.
    """
    text = explored.explorer.explore_own(values)
    names = names_of([text])
    return {**entry_of(text, names), "names": names}


def render_page(sources: Sequence[Source], explored: Sequence[Explored], command: str, *, served: bool) -> str:
    """Return the page.

    Args:
        sources: All folders of the report.
        explored: Those that have a model, with their texts.
        command: Command line that made it.
        served: True for the page of a server, which has a field for own text.
    """
    found = data_sets(sources)
    return _environment().get_template("page.html").render(
        title=" and ".join(dict.fromkeys(data_set.env for data_set in found)),
        data_sets=found,
        hero=_hero(sources),
        loads=[(source.name, load) for source in sources if source.is_run and (load := _load(source))],
        runs=[source for source in sources if source.is_run],
        details=[_details(source) for source in sources if source.is_run],
        held_out=[(source, held_out_chart(source.env, speeds)) for source in sources if (speeds := source.speeds)],
        training=training_charts(sources),
        trainings=sum(bool(training.curves) for source in sources for training in source.trainings),
        explored=explored,
        payload={"runs": [one.payload() for one in explored]},
        unexplored=[source for source in sources if not source.has_policy],
        command=command,
        served=served,
    )  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page.

    Attributes:
        label: Line above it.
        value: The number.
        note: Line below it.
    """

    label: str
    value: str
    note: str


def _hero(sources: Sequence[Source]) -> list[Tile]:
    """The numbers of a single run, for the top; of several, a table says it."""
    if len(sources) != 1 or not sources[0].is_run:
        return []
    record = sources[0].record
    metric, savings, clock = main_metric(record), record.reduced.savings, record.clock
    sure = record.certainty
    own, full = (quality_of(quality, metric) for quality in (record.reduced.quality, record.full))
    tiles = []
    if own is not None:
        change = (
            "" if full is None else f"unreduced {full:.2f}, change {own - full:+.2f}{plus_minus(sure.loss_half_width)}"
        )
        tiles.append(Tile(metric_label(metric), f"{own:.2f}", change))
    elif full is not None:
        tiles.append(Tile(metric_label(metric), f"{full:.2f}", "nothing is skipped"))
    if savings is not None:
        half = plus_minus(sure.flops_speedup_half_width).strip()
        note = ", ".join(filter(None, [half, "over all layers on all tokens"]))
        tiles.append(Tile("FLOPs speed-up", f"{savings.flops_speedup:.2f}×", note))
    if clock is not None:
        stock = "; ".join(filter(None, ["transformers on padded batches", sure.stock]))
        packed = "; ".join(filter(None, ["our encoder on all tokens, no padding", sure.packed]))
        tiles.append(Tile("Clock, against stock", f"{clock.wall_speedup_stock:.2f}×", stock))
        tiles.append(Tile("Clock, against packed", f"{clock.wall_speedup_packed:.2f}×", packed))
    return tiles


def _load(source: Source) -> str:
    """Work of other processes while the clock of a run was read."""
    return source.record.certainty.load


def _details(source: Source) -> dict[str, Any]:
    """All metrics of a run, and what it was made with."""
    record, on = source.record, source.record.conditions
    passes = {
        "unreduced": record.full,
        "own encoder, all tokens": record.keep_all,
        "reduced": record.reduced.quality,
        "reduced, held-out texts": None if record.holdout is None else record.holdout.quality,
    }
    there = {name: quality.to_flat() for name, quality in passes.items() if quality is not None and quality.metrics}
    names = list(dict.fromkeys(name for flat in there.values() for name in flat))
    options, sure = source.config["options"], record.certainty
    facts = {
        "folder": str(source.path),
        "data": f"{on.env}, {on.split or 'split not recorded'}, {on.data_source or 'source not recorded'}",
        "examples": f"{examples_of(record):,}",
        "backbone": "not recorded" if on.backbone is None else folder_name(on.backbone),
        "number format": on.dtype,
        "loss, 95 % interval": plus_minus(sure.loss_half_width).strip(),
        "FLOPs speed-up, 95 % interval": plus_minus(sure.flops_speedup_half_width).strip(),
        "clock, against stock": sure.stock,
        "clock, against packed": sure.packed,
        "machine, while the clock was read": sure.load,
        "cuts": ", ".join(map(str, source.config.get("facts", {}).get("reduction_layers") or [])),
        "target speed-up": options.get("target_speedup"),
        "seed": options.get("seed"),
        "training texts": options.get("total_texts"),
        "project commit": source.config.get("git_commit"),
        **{name.replace("_", " layers in "): value for name, value in source.config.get("versions", {}).items()},
    }
    return {
        "name": source.name,
        "env": source.env,
        "columns": list(there),
        "rows": [(metric_label(name), [flat.get(name) for flat in there.values()]) for name in names],
        "facts": {name: value for name, value in facts.items() if value not in (None, "")},
    }


@cache
def _environment() -> Environment:
    """Templates with their filters; everything is escaped that is no markup of ours."""
    environment = Environment(
        loader=PackageLoader("runners.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[[Any], str]] = {
        "shown": _shown,
        "signed": _signed,
        "factor": _factor,
        "percent": lambda share: f"{100 * share:.0f} %",
        "interval": lambda half: "" if math.isnan(half) else f"± {half:.2f}",
        "metric": metric_label,
        "line": data_set_line,
    }
    environment.filters |= filters
    environment.globals |= {
        name: Markup(_template(f"page.{kind}")) for name, kind in (("styles", "css"), ("script", "js"))
    }
    environment.globals["swatch"] = lambda style: Markup(
        '<svg class="swatch" viewBox="-8 -8 16 16" aria-hidden="true">{}</svg>'
    ).format(marker(0, 0, style))
    return environment


def _template(name: str) -> str:
    return (Path(__file__).with_name("templates") / name).read_text(encoding="utf-8")


def _shown(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{round(value, 2) + 0.0:+.2f}"  # no -0.00


def _factor(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}×"


def data_set_line(data_set: DataSet) -> str:
    """Return what a data set's numbers were measured on.

    Args:
        data_set: The data set.
    """
    on = data_set.record.conditions
    examples = f"{examples_of(data_set.record):,} {on.split or ''} examples"
    backbone = "" if on.backbone is None else f", {folder_name(on.backbone)}"
    return f"{examples} ({on.data_source or 'source not recorded'}){backbone}"
