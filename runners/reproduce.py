"""The paper's tables and figures: train what is missing for one of them, evaluate, and write it beside the paper's."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":  # before all other imports: see there
    runpy.run_path(str(Path(__file__).with_name("script.py")))

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runners.cli.run import run
from runners.reproduction import figure2, figure3, table2, table3, table4
from runners.reproduction.field import Field
from runners.reproduction.nested import Runs
from runners.reproduction.options import ReproduceOptions
from runners.reproduction.plan import Estimator, PlannedRun, print_plan
from runners.runs.run_folder import RunFolder, reopen
from runners.runs.session import held


@dataclass(frozen=True)
class Product:
    """A table or figure.

    Attributes:
        load: Function that loads a data set, and refuses what cannot be done on it.
        plan: Runs of one data set, with estimates.
        reproduce: The work itself.
    """

    load: Callable[[ReproduceOptions, str], Field]
    plan: Callable[[Estimator], list[PlannedRun]]
    reproduce: Callable[[ReproduceOptions, Sequence[Runs], RunFolder], None]


#: Tables and figures by :attr:`~runners.reproduction.options.ReproduceOptions.product`.
PRODUCTS = {
    "table 2": Product(table2.load, table2.plan, table2.reproduce),
    "table 3": Product(table3.load, table3.plan, table3.reproduce),
    "table 4": Product(table4.load, table4.plan, table4.reproduce),
    "figure 2": Product(figure2.load, figure2.plan, figure2.reproduce),
    "figure 3": Product(figure3.load, figure3.plan, figure3.reproduce),
}


def facts_of(fields: Sequence[Field]) -> dict[str, str]:
    """Return what a reproduction works on, beyond names and paths; encoders that it is to fine-tune are left out.

    Args:
        fields: The data sets.
    """
    facts = {}
    for field in fields:
        found = field.some.fingerprints
        facts[f"{field.env} data_source"] = field.some.data_source
        facts[f"{field.env} texts_fingerprint"] = found["texts_fingerprint"]
        if not field.needs_stage1:
            facts[f"{field.env} encoder_fingerprint"] = found["encoder_fingerprint"]
    return facts


def main(options: ReproduceOptions) -> None:
    """The paper's tables and figures: train what is missing for one of them, evaluate, and write it."""
    folder: RunFolder | None = None
    if options.resume is not None:
        options, folder = reopen(options, options.resume)
    product = PRODUCTS[options.product]
    fields = [product.load(options, env) for env in options.data.env]
    if options.plan:
        print_plan(options, fields, product.plan)
        return
    if folder is None:
        name, place = options.product.replace(" ", ""), options.run.output_dir
        folder = RunFolder.create(place, "-".join(options.data.env), "reproduce", name, options.run.seed)
        folder.write_config(options, facts_of(fields))
        options = folder.read_options(ReproduceOptions)  # files of items, read now: the runs begin hours later
    else:
        folder.check_recorded(facts_of(fields))
    print(f"run folder: {folder.path}")
    with held(folder):
        product.reproduce(options, [Runs(options, field, folder.path) for field in fields], folder)


if __name__ == "__main__":
    run(main, ReproduceOptions)
