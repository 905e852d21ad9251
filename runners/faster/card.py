"""Model card of a faster model, in the hub's format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.repocard import metadata_load

from runners.cli.tables import markdown_table
from runners.evaluation.comparison import Comparison, quality_rows, speed_rows
from runners.faster.candidates import Candidate
from runners.faster.report import (
    FRONTIER_COLUMNS,
    finding,
    frontier_rows,
    promise,
)
from runners.faster.usage import SPEED, pipeline_tag, reading, usage
from trbert_env.data.backbones import Backbone
from trbert_env.data.checkpoints import EMBEDDED_BACKBONE, folder_name
from trbert_env.data.readers import READERS
from trbert_env.data.workload import Workload
from trbert_env.presets import Preset

#: Metrics by the names that the hub knows; others are left out.
HUB_METRICS = ("accuracy", "f1", "exact_match", "pearson", "spearman", "ndcg_at_10", "mrr_at_10")
UNKNOWN_LICENCE = "unknown: see base model"


@dataclass(frozen=True)
class Origin:
    """Where a faster model comes from.

    Attributes:
        checkpoint: The user's checkpoint.
        fine_tuned_here: True if it was fine-tuned in this run.
        data: Description of the data, one line.
        dataset: Their name on the hub; empty where they have none there.
        train_texts: Records that were trained on.
        command: Command that made it.
        max_loss: ``--max-loss``.
    """

    checkpoint: Backbone
    fine_tuned_here: bool
    data: str
    dataset: str
    train_texts: int
    command: str
    max_loss: float | None

    @property
    def base_model(self) -> str:
        """Name of the checkpoint; of a folder the last part, for a path means nothing elsewhere."""
        name = self.checkpoint.name
        return folder_name(name) if Path(name).is_dir() else name

    @property
    def hub_model(self) -> str | list[str] | None:
        """Hub name of the checkpoint, or of what its card says it was made from; None where neither is known."""
        if self.checkpoint.name != EMBEDDED_BACKBONE and not Path(self.checkpoint.name).is_dir():
            return self.checkpoint.name
        named: str | list[str] | None = self._card().get("base_model")
        return named

    @property
    def licence(self) -> str:
        """Licence that the checkpoint's card or configuration names."""
        named = self._card().get("license") or getattr(self.checkpoint.model.config, "license", None)
        return str(named) if named else UNKNOWN_LICENCE

    def _card(self) -> dict[str, Any]:
        """The head of the checkpoint's own card; empty where it has none."""
        source = Path(self.checkpoint.source)
        return _card_in(source) if source.is_dir() else _card_on_the_hub(self.checkpoint.source)


def hub_dataset(preset: Preset, dataset: str | None) -> str:
    """Return the name of the data on the hub; empty where they have none there.

    Args:
        preset: The data set's record.
        dataset: ``--dataset``.
    """
    if dataset is not None:
        return "" if Path(dataset).expanduser().exists() else dataset
    return READERS[preset.dataset].hub.name if preset.dataset in READERS else ""


def _card_in(folder: Path) -> dict[str, Any]:
    path = folder / "README.md"
    try:
        return (metadata_load(path) or {}) if path.is_file() else {}
    except (ValueError, yaml.YAMLError):  # a file of another kind, which says nothing of a licence
        return {}


def _card_on_the_hub(name: str) -> dict[str, Any]:
    if HF_HUB_OFFLINE:
        return {}
    try:
        found: dict[str, Any] = ModelCard.load(name).data.to_dict()
    except (EntryNotFoundError, OSError, ValueError):  # no card, no network or a damaged card
        return {}
    return found


def front_matter(workload: Workload, origin: Origin, metrics: list[str]) -> str:
    """Return the card's head for the hub, between lines of dashes.

    Args:
        workload: Texts that were reported on, with their task.
        origin: Checkpoint, data and command that the model comes from.
        metrics: Names of its metrics.
    """
    licence = origin.licence
    values: dict[str, Any] = {
        "library_name": "transformers",
        "license": "unknown" if licence == UNKNOWN_LICENCE else licence,  # a list that the hub checks
        **({} if origin.hub_model is None else {"base_model": origin.hub_model}),
        **({"datasets": [origin.dataset]} if origin.dataset else {}),
        "metrics": [name for name in metrics if name in HUB_METRICS],
        "pipeline_tag": pipeline_tag(workload),
        "tags": ["trbert", "token-reduction"],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n"


def settable_range(speedups: Sequence[float]) -> tuple[float, float]:
    """Return the least and the greatest speed-up that a model can be set to, in the two digits that a card shows.

    Args:
        speedups: Those of its speed table, rising; at least one.

    Example:
        >>> settable_range([0.81, 1.5, 2.2974])
        (1.0, 2.29)
        >>> settable_range([1.1, 2.3])
        (1.1, 2.3)
    """
    low, high = round(100 * max(speedups[0], 1.0), 6), round(100 * speedups[-1], 6)  # 100 * 1.1 is above 110
    return math.ceil(low) / 100, math.floor(high) / 100


def place_of(cut: float) -> str:
    """Return where a cut lies, in words.

    Args:
        cut: The cut.

    Example:
        >>> place_of(2), place_of(4.5)
        ('before layer 2', 'within layer 4')
    """
    whole = int(cut)
    return f"before layer {whole}" if whole == cut else f"within layer {whole}"


def model_card(best: Candidate, origin: Origin, found: Comparison, held_out: int) -> str:
    """Return the card.

    Args:
        best: The faster model, with its speeds on held-out texts and the one that was chosen.
        origin: Where it comes from.
        found: Measurements on the evaluation texts.
        held_out: Held-out records that it was chosen by.
    """
    workload, metric = found.reduced.workload, found.metric
    model, points, choice = best.model, best.points, best.choice
    places = " and ".join(map(place_of, model.encoder.reduction_layers))
    licence = origin.licence
    tuned = f", fine-tuned on {origin.train_texts:,} of the texts" if origin.fine_tuned_here else ""
    low, high = settable_range(model.speed_table.speedups or (1.0,))
    # The next faster one is what a reader tries first; beyond the last there are slower ones alone.
    own = choice.point.flops_speedup
    speeds = [point.flops_speedup for point in points if low <= point.flops_speedup <= high]
    speed = min((speed for speed in speeds if speed > own), default=min(speeds, default=low))
    speed = min(max(round(speed, 2), low), high)
    blocks = [
        front_matter(workload, origin, list(found.full.metrics)) + f"# {origin.base_model}, faster",
        f"`{origin.base_model}`{tuned}, made {found.flops_speedup[0]:.2f} times as fast in FLOPs by token reduction: "
        f"{places}, tokens that the answer does not need stop and keep the state that they have. "
        f"Licence of the base model: {licence}.",
        f"- {promise(choice, origin.max_loss, held_out, metric)}\n- {finding(found)}",
        "## Data",
        f"{origin.data}. {origin.train_texts:,} records to train on, {held_out:,} held-out ones to choose the speed "
        f"by, and {len(workload.examples):,} of the {workload.split} split to report on, by which nothing was chosen.",
        "## Quality and speed",
        f"On the {workload.split} texts, with 95 % intervals:",
        markdown_table(["", "before", "after", "change"], quality_rows(found)).rstrip(),
        f"The encoder is {'the fine-tuned one' if origin.fine_tuned_here else 'that of the base model'}, unchanged."
        if best.frozen
        else "The faster model was trained for longer than the one before, and may have gained or lost by that too.",
        markdown_table(["speed-up", ""], speed_rows(found)).rstrip(),
        *([f"{found.load_note[0].upper()}{found.load_note[1:]}."] if found.load_note else []),
        f"The same model at other speeds, on the held-out texts; `{metric}`, and points of it that are lost against "
        "the base model, at most so many with 95 % confidence; `*` is what this folder is set to:",
        markdown_table(FRONTIER_COLUMNS, frontier_rows(points, choice.point, metric)).rstrip(),
        "## Use",
        reading(workload.task),
    ]
    blocks += usage(workload)
    if low < high:
        blocks += [
            f"Another speed, from {low:.2f}x to {high:.2f}x, by its threshold:",
            SPEED.format(speed=speed),
        ]
    blocks += [
        "## Limits",
        "Speed-ups are means over texts like these; the clock was read on one machine, in batches of 32. Single "
        "requests gain less, and short texts less than long ones. Losses are means too: a single text may change. On "
        "texts of another kind, measure again.",
        "## Made by",
        f"```\n{origin.command}\n```",
    ]
    return "\n\n".join(blocks) + "\n"
