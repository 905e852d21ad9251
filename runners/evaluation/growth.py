"""How clock and memory grow with the length of texts, beside what the FLOPs formula says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.autograd.profiler import profile

from runners.cli.display import Cell, print_table, progress
from runners.cli.plots import line_plot
from runners.evaluation.timing import model_systems, system_pass, time_systems
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.system import System

#: Tokens that are timed at each length, and that run together: as many texts as hold them.
TIMED_TOKENS, BATCH_TOKENS = 16_384, 8_192
#: Token ids of these texts; the clock does not see which they are.
_FIRST_ID = 1000


@dataclass(frozen=True)
class Growth:
    """One system at one length.

    Attributes:
        system: ``"stock"``, ``"packed"`` or ``"reduced"``.
        tokens: Tokens of every text.
        gflops: GFLOPs of a text, by the closed form.
        milliseconds: Time of a text: the median over the rounds.
        mebibytes: Largest memory of the tensors of a pass over one batch, beyond the weights.
    """

    system: str
    tokens: int
    gflops: float
    milliseconds: float
    mebibytes: float

    @property
    def gflops_per_second(self) -> float:
        """GFLOPs a second; the same at every length where the clock follows the formula."""
        return 1000.0 * self.gflops / self.milliseconds


def measure_growth(model: TokenReducedModel, lengths: Sequence[int], rounds: int, seed: int = 0) -> list[Growth]:
    """Measure stock transformers, the packed encoder with keep-all and the reduced model at several lengths.

    The systems take turns at each length. A text is one sequence of random tokens.

    Args:
        model: The model.
        lengths: Tokens of the texts.
        rounds: Rounds that count.
        seed: Fixes the tokens.
    """
    systems = model_systems(model)
    found = []
    with progress("lengths", len(lengths)) as bar:
        for length in lengths:
            batch_size = max(1, BATCH_TOKENS // length)
            texts = random_texts(
                length, max(batch_size, TIMED_TOKENS // length), model.backbone.config.vocab_size, seed
            )
            timings = time_systems(systems, texts, batch_size, rounds)
            for name, system in systems.items():
                with torch.inference_mode():
                    output = system.run(TextBatch.from_texts(texts[:batch_size], system.device))
                gflops = float(output.flops.mean()) / 1e9
                milliseconds = 1000.0 * timings[name].median / len(texts)
                memory = peak_memory(system, texts[:batch_size])
                found.append(Growth(name, length, gflops, milliseconds, memory))
            bar.update(1)
    return found


def random_texts(length: int, count: int, vocabulary: int, seed: int) -> list[EncodedText]:
    """Return texts of one sequence of random tokens each.

    Args:
        length: Tokens of each.
        count: Number of them.
        vocabulary: Token ids that the encoder embeds.
        seed: Fixes the tokens.
    """
    generator = np.random.default_rng([seed, length])
    first = min(_FIRST_ID, vocabulary - 1)
    segments = np.zeros(length, dtype=np.int32)
    return [
        EncodedText(
            text_id=f"{length}-{index}",
            input_ids=generator.integers(first, vocabulary, length).astype(np.int32),
            token_type_ids=segments,
            sequence_lengths=(length,),
            target=np.zeros((1, 2), dtype=np.int64),
        )
        for index in range(count)
    ]


def peak_memory(system: System, texts: Sequence[EncodedText]) -> float:
    """Return the largest memory of all tensors that a pass makes, MiB.

    Args:
        system: System that runs.
        texts: The texts of one batch.
    """
    one_pass = system_pass(system, texts, len(texts))
    if system.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        one_pass()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler prints a line at each start and end
    with profile(use_cpu=True, profile_memory=True) as profiler:
        one_pass()
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return float(np.cumsum([0, *changes]).max()) / 2**20


def spread(rows: Sequence[Growth], system: str) -> float:
    """Return by how much GFLOPs a second of a system differ over the lengths: largest over smallest, less 1.

    Args:
        rows: Measurements, one for each system and length.
        system: Name of the system.
    """
    speeds = [row.gflops_per_second for row in rows if row.system == system]
    return max(speeds) / min(speeds) - 1.0


def growth_record(rows: Sequence[Growth]) -> dict[str, float]:
    """Return what was measured by flat names, such as ``reduced_512_milliseconds``, and the spread of each system."""
    record: dict[str, float] = {}
    for row in rows:
        for name in ("gflops", "milliseconds", "mebibytes"):
            record[f"{row.system}_{row.tokens}_{name}"] = getattr(row, name)
    return record | {f"{name}_spread": spread(rows, name) for name in _names(rows)}


def print_growth(rows: Sequence[Growth]) -> None:
    """Print a line for each length, and how far the clock is from the formula."""
    table: list[list[Cell]] = []
    for tokens in dict.fromkeys(row.tokens for row in rows):
        of = {row.system: row for row in rows if row.tokens == tokens}
        packed, reduced = of["packed"], of["reduced"]
        table.append(
            [
                f"{tokens:,}",
                packed.milliseconds,
                reduced.milliseconds,
                packed.gflops / reduced.gflops,
                *(of[name].milliseconds / reduced.milliseconds for name in ("stock", "packed")),
                packed.gflops_per_second,
                reduced.gflops_per_second,
                packed.mebibytes,
                reduced.mebibytes,
            ]
        )
    names = _names(rows)
    speedups = ["FLOPs", "stock", "packed"]
    pairs = [f"{unit} {name}" for unit in ("GFLOP/s", "MiB") for name in ("packed", "reduced")]
    title = "how cost grows with length: ms a text, speed-ups by FLOPs and by the clock, GFLOP/s, MiB a batch"
    print_table(title, ["tokens", "ms packed", "ms reduced", *speedups, *pairs], table)
    spreads: list[list[Cell]] = [[name, f"{100 * spread(rows, name):.0f} %"] for name in names]
    print_table("largest GFLOP/s over smallest, less 1", ["", "value"], spreads)


def growth_plot(rows: Sequence[Growth], caption: str) -> Figure:
    """Draw time, memory and speed-up against length.

    Args:
        rows: Measurements, one for each system and length.
        caption: Encoder and machine.
    """
    names = _names(rows)
    by_name = {name: [row for row in rows if row.system == name] for name in names}
    # The formula with the packed encoder's speed at the length in the middle.
    packed = by_name["packed"]
    rate = packed[len(packed) // 2].gflops_per_second
    time = {name: [(row.tokens, row.milliseconds) for row in own] for name, own in by_name.items()}
    time |= {
        f"{name}, by the formula": [(row.tokens, 1000.0 * row.gflops / rate) for row in by_name[name]]
        for name in ("packed", "reduced")
    }
    memory = {name: [(row.tokens, row.mebibytes) for row in own] for name, own in by_name.items()}
    pairs = list(zip(packed, by_name["reduced"], strict=True))
    speedup = {
        "packed": [(one.tokens, one.milliseconds / other.milliseconds) for one, other in pairs],
        "packed, by the formula": [(one.tokens, one.gflops / other.gflops) for one, other in pairs],
    }
    panels = {"ms a text": time, "MiB a batch": memory, "speed-up of the reduced model": speedup}
    return line_plot("cost by length", "tokens", panels, caption)


def _names(rows: Sequence[Growth]) -> list[str]:
    return list(dict.fromkeys(row.system for row in rows))
