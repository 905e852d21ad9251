"""Table 4: evaluation texts with their tokens marked by the layer at which they stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.trained import TrainedPolicy
from runners.cli.options import resolve_device
from runners.evaluation.text_rendering import layers_of, stops_of, tokens_of
from runners.reproduction.field import Field, load_field
from runners.reproduction.nested import Result, Runs
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun
from runners.reproduction.published import OURS
from runners.reproduction.telling import close_with
from runners.runs.files import write_csv, write_durably
from runners.runs.models import load_model
from runners.runs.run_folder import RunFolder
from runners.training.loading import TrainedOn, load_split
from trbert_env.envs.rendering import render_layers

#: Text above the tokens.
LEGEND = (
    "A token that stops carries the layer that made its last state, in small digits; those that run through all "
    "layers are bold."
)


def load(options: ReproduceOptions, env: str) -> Field:
    """Load a data set; see :func:`~runners.reproduction.field.load_field`."""
    return load_field(options, env, (OURS,))


def plan(estimator: Estimator) -> list[PlannedRun]:
    """Return the runs of one data set; see :func:`~runners.reproduction.plan.print_plan`."""
    return [estimator.ours(estimator.options.target(estimator.field.env), 1)]


def reproduce(options: ReproduceOptions, data_sets: Sequence[Runs], folder: RunFolder) -> None:
    """Train ours where it is missing, and write the marked texts.

    Args:
        options: Options of the reproduction.
        data_sets: Runs of each data set.
        folder: Folder of the reproduction.
    """
    results, parts, rows = list[Result](), [f"table 4\n\n{LEGEND}\n"], list[dict[str, Any]]()
    for runs in data_sets:
        runs.prepare()
        result = runs.ours(options.target(runs.env), options.run.seed)
        results.append(result)
        parts.append(f"\n## {runs.env}, {result.flops_speedup:.2f}x\n")
        for text_id, tokens, layers, depth in marked_texts(options, result):
            parts.append(f"\n`{text_id}`: {render_layers(tokens, layers, depth)}\n")
            rows += [
                {"env": runs.env, "text_id": text_id, "position": place, "token": token, "layer": layer}
                for place, (token, layer) in enumerate(zip(tokens, layers, strict=True))
            ]
    page = "".join(parts)
    write_csv(folder.path / "table4.csv", rows)
    write_durably(folder.path / "table4.md", page)
    print(page)
    close_with({"table4": page}, {}, results, folder)
    print(f"texts: {folder.path / 'table4.md'}, tokens: {folder.path / 'table4.csv'}")


def marked_texts(options: ReproduceOptions, result: Result) -> list[tuple[str, list[str], list[int], int]]:
    """Return the first evaluation texts: id, tokens, layer that made the last state of each, and the depth.

    Args:
        options: Options of the reproduction.
        result: A run of ours.
    """
    assert result.run is not None, "ours is trained"
    device = str(resolve_device(options.run.device))
    model, backbone = load_model(result.run, device)
    workload = load_split(options.data.of(result.env), backbone, trained=TrainedOn.of(model, result.run))
    policy, staged = TrainedPolicy(model.policy, model.decision), model.staged
    found = []
    for index in range(min(options.num_texts, len(workload.texts))):
        text = workload.texts[index]
        stops = stops_of(policy, staged, text, workload.task.max_text_tokens)
        layers = layers_of(staged.encoder, stops)
        found.append((text.text_id, tokens_of(text, backbone.tokenizer), layers, staged.encoder.num_layers))
    return found
