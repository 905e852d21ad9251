"""Clock times and ratios: stock transformers, packed keep-all, reduced, and training against the naive way."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # take runners/ off the import path: a library's `evaluate` is not ours
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
    try:
        import trbert_env  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "trbert_env":
            raise
        mend = "run `make venv`, then `source .venv/bin/activate`"
        print(f"error: the project is not installed in {sys.executable}; {mend}", file=sys.stderr)
        sys.exit(2)

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from transformers import BertConfig

from agents.distillation import Teacher
from agents.heuristics import RandomTokens
from agents.joint import JointLearner, JointOptions
from agents.reinforce import Reinforce, ReinforceOptions
from agents.rollouts import RolloutCollector
from runners.shared.cli import UserError, run
from runners.shared.display import print_table
from runners.shared.models import load_model
from runners.shared.options import CommonOptions, at_least, resolve_device
from runners.shared.precision import evaluation_dtype
from runners.shared.run_folder import RunFolder
from runners.shared.timing import keep_all_pass, measure, model_flops_speedup, reduced_pass, stock_pass
from trbert_env.backbones import Backbone, move
from trbert_env.calibration import Calibration
from trbert_env.cost import CostModel
from trbert_env.encoder import StagedEncoder
from trbert_env.model import TokenReducedModel
from trbert_env.policy import DecisionRule, TokenPolicy, check_keep_fractions
from trbert_env.reward import LengthPrice
from trbert_env.texts import EncodedText
from trbert_env.vector_env import TokenReductionVectorEnv
from trbert_env.workload import Workload


@dataclass(frozen=True)
class BenchmarkOptions(CommonOptions):
    """Options of a benchmark."""

    model: Path | None = None
    """A run's folder or a model's; random masks when not given."""

    keep_fractions: tuple[float, ...] = (0.64, 0.22)
    """With random masks: what is kept at each reduction, of the full length."""

    architecture: Literal["backbone", "bert-base"] = "backbone"
    """bert-base: random weights of that size in place of the backbone's; the clock does not see the difference."""

    batch_size: int = 32
    """Texts of one batch."""

    num_texts: int = 128
    """Texts that are timed; a random sample."""

    rounds: int = 5
    """Rounds that count; the sides take turns, and the median of each is taken."""

    training: bool = True
    """Whether to time training steps too."""

    def check(self) -> None:
        """Refuse values that could only fail later."""
        super().check()
        at_least(1, batch_size=self.batch_size, num_texts=self.num_texts, rounds=self.rounds)


def load_workload(options: BenchmarkOptions, device: str) -> tuple[Workload, TokenReducedModel | None]:
    """A sample of validation texts, with the model or its stand-in."""
    model: TokenReducedModel | None = None
    backbone: Backbone | str | None = options.backbone
    if options.model is not None:
        model, backbone = load_model(options.model, device)
    workload = Workload.load(
        options.env if model is None else model.config.env,
        "validation",
        backbone=backbone,
        data_source=options.data_source,
        data_dir=options.data_dir,
    )
    workload = replace(workload, texts=random_texts(workload, options))
    if options.architecture == "bert-base":
        if model is not None:
            raise UserError("--architecture bert-base has random weights: leave --model out")
        config = BertConfig(vocab_size=len(workload.backbone.tokenizer))
        large = workload.task.auto_model.from_config(config).eval()
        workload = replace(workload, backbone=replace(workload.backbone, model=large, name="bert-base (random)"))
    return workload, model


def random_texts(workload: Workload, options: BenchmarkOptions) -> list[EncodedText]:
    """The texts that are timed."""
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.randperm(len(workload.texts), generator=generator)[: options.num_texts]
    return [workload.texts[index] for index in order.tolist()]


def random_model(workload: Workload, options: BenchmarkOptions) -> TokenReducedModel:
    """An untrained policy that keeps the wanted fractions: the clock does not see which tokens they are."""
    encoder = StagedEncoder(workload.backbone.model, options.reduction_layers)
    fractions = check_keep_fractions(options.keep_fractions, encoder.num_reductions)
    return TokenReducedModel.from_parts(
        workload.backbone.model,
        TokenPolicy(encoder.hidden_size, encoder.num_reductions),
        env=workload.preset.name,
        reduction_layers=encoder.reduction_layers,
        decision=DecisionRule(keep_fractions=fractions),
    )


def inference_dtype(options: BenchmarkOptions) -> torch.dtype:
    """float32 unless bfloat16 is asked for, on every side."""
    return torch.bfloat16 if evaluation_dtype(options.dtype) == "bfloat16" else torch.float32


def time_inference(
    workload: Workload, model: TokenReducedModel, options: BenchmarkOptions, device: str
) -> dict[str, float]:
    """Stock, packed and reduced passes over the same texts."""
    model = move(model, device, inference_dtype(options))
    texts, size = list(workload.texts), options.batch_size
    sides = {
        "stock": stock_pass(model.backbone, texts, size, device),
        "packed": keep_all_pass(model.backbone, model.task, texts, size, device),
        "reduced": reduced_pass(model, texts, size, device),
    }
    seconds = {name: timing.median for name, timing in measure(sides, options.rounds, device).items()}
    flops = model_flops_speedup(model, texts, device)
    stock, packed = (seconds[name] / seconds["reduced"] for name in ("stock", "packed"))
    return {
        "flops_speedup": flops,
        "stock_seconds": seconds["stock"],
        "packed_seconds": seconds["packed"],
        "reduced_seconds": seconds["reduced"],
        "wall_speedup_stock": stock,
        "wall_speedup_packed": packed,
        "stock_over_flops": stock / flops,
        "packed_over_flops": packed / flops,
    }


@contextmanager
def layers_clock() -> Iterator[list[float]]:
    """Adds up the seconds that encoder layers run, over all encoders."""
    spent = [0.0]
    original = StagedEncoder.run_layers

    def timed(self: StagedEncoder, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(self, *args, **kwargs)
        finally:
            spent[0] += time.perf_counter() - started

    StagedEncoder.run_layers = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        StagedEncoder.run_layers = original  # type: ignore[method-assign]


def training_env(workload: Workload, options: BenchmarkOptions, device: str) -> TokenReductionVectorEnv:
    """16 texts, 8 samples of each: what train_policy runs."""
    return TokenReductionVectorEnv(
        num_envs=128,
        samples_per_text=8,
        workload=workload,
        reduction_layers=options.reduction_layers,
        dtype=evaluation_dtype(options.dtype),
        device=device,
        array_type="torch",
    )


def time_environment(workload: Workload, options: BenchmarkOptions, device: str) -> dict[str, float]:
    """The share of the environment's steps that is spent outside of the encoder's layers."""
    env = training_env(workload, options, device)
    agent = RandomTokens(options.keep_fractions, env.num_reductions)
    observation, infos = env.reset(seed=options.seed)
    shares = []
    for episode in range(options.rounds + 1):
        step_seconds = 0.0
        with layers_clock() as spent:
            for _ in range(env.num_reductions):
                action = agent.act(observation, infos)
                started = time.perf_counter()
                observation, _, _, _, infos = env.step(action)
                step_seconds += time.perf_counter() - started
        if episode:
            shares.append(1.0 - spent[0] / step_seconds)
    return {"outside_layers_share": float(torch.tensor(shares).median())}


def time_training(workload: Workload, options: BenchmarkOptions, device: str) -> dict[str, float]:
    """Texts per second of REINFORCE updates, against the naive way.

    The naive way runs every text 8 times by itself through the stock encoder, padded to 384, with
    skipped tokens masked: nothing is shared and nothing dropped. Its policy and its learning are
    not even counted.
    """
    env = training_env(workload, options, device)
    reinforce = ReinforceOptions(keep_fractions=options.keep_fractions, imitation_fraction=0.0)
    agent = Reinforce(env.hidden_size, env.num_reductions, 8, reinforce, options.seed, device)
    collector = RolloutCollector(env, agent)
    collector.reset(seed=options.seed)
    texts = list(workload.texts)[:16]
    naive = move(copy.deepcopy(workload.backbone.model), device, inference_dtype(options))
    one_sample = stock_pass(naive, texts, len(texts), device, width=env.max_tokens)

    def update() -> None:
        agent.learn(collector.collect(0.5))

    def eight_samples() -> None:
        for _ in range(8):
            one_sample()

    sides: dict[str, Callable[[], None]] = {
        "ours": update,
        "naive": eight_samples,
    }
    timings = measure(sides, options.rounds, device)
    ours, naive_rate = (16 / timings[name].median for name in ("ours", "naive"))
    return {
        "training_texts_per_second": ours,
        "naive_texts_per_second": naive_rate,
        "training_speedup": ours / naive_rate,
    }


def time_joint(workload: Workload, options: BenchmarkOptions, device: str) -> dict[str, float]:
    """A step of joint training (8 samples, teacher, policy), against unreduced fine-tuning on the same texts.

    Forward and backward of 16 texts each; the optimiser is left out on both sides.
    """
    texts = list(workload.texts)[:16]
    autocast = evaluation_dtype(options.dtype)

    def learner(samples: int, **settings: Any) -> JointLearner:
        model = move(copy.deepcopy(workload.backbone.model), device, torch.float32)
        encoder = StagedEncoder(model, options.reduction_layers)
        reinforce = ReinforceOptions(keep_fractions=options.keep_fractions, imitation_fraction=0.0)
        agent = Reinforce(encoder.hidden_size, encoder.num_reductions, samples, reinforce, options.seed, device)
        return JointLearner(
            model,
            encoder,
            workload.task,
            agent if samples > 1 else None,
            Calibration(encoder.num_reductions, workload.task.token_logits).to(device),
            samples,
            JointOptions(**settings),
            Teacher(move(workload.backbone.model, device, torch.float32), workload.task, autocast),
            LengthPrice(0.0, "tokens", CostModel.of(encoder)),
            autocast=autocast,
        )

    def step(of: JointLearner) -> Callable[[], None]:
        def run_it() -> None:
            of.model.zero_grad(set_to_none=True)
            of.loss(texts, 0.5)[1].backward()

        return run_it

    sides = {"joint": step(learner(8)), "fine-tuning": step(learner(1, distillation=0.0))}
    timings = measure(sides, options.rounds, device)
    joint, unreduced = (timings[name].median for name in ("joint", "fine-tuning"))
    return {"joint_seconds": joint, "finetuning_seconds": unreduced, "joint_over_finetuning": joint / unreduced}


def main(options: BenchmarkOptions) -> None:
    """Clock times and ratios: stock transformers, packed keep-all, reduced, and training against the naive way."""
    device = str(resolve_device(options.device))
    workload, model = load_workload(options, device)
    source = "random masks" if model is None else str(options.model)
    record: dict[str, Any] = {
        "env": workload.preset.name,
        "backbone": workload.backbone.name,
        "data_source": workload.data_source,
        "masks": source,
        "dtype": evaluation_dtype(options.dtype),
        "batch_size": options.batch_size,
        "num_texts": len(workload.texts),
        "mean_tokens": sum(map(len, workload.texts)) / len(workload.texts),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
    if options.training:
        record |= time_environment(workload, options, device)
        record |= time_training(workload, options, device)
        record |= time_joint(workload, options, device)
    record |= time_inference(workload, model or random_model(workload, options), options, device)
    folder = RunFolder.create(options.output_dir, options.env, "benchmark", options.architecture, options.seed)
    folder.write_config(options)
    folder.write_metrics(record)
    rows = [
        [name.replace("_", " "), value if isinstance(value, str) else f"{value:.4g}"] for name, value in record.items()
    ]
    print_table("benchmark: medians; ratios are of this run", ["", "value"], rows)
    print(f"record: {folder.metrics_path}")


if __name__ == "__main__":
    run(main, BenchmarkOptions)
