"""Systems: what is measured is the same as through the environment, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from agents.heuristics import KeepAll
from agents.trained import TrainedPolicy
from runners.evaluation.passes import evaluation_env, run_pass
from runners.evaluation.quality import measure_pass, measure_quality
from runners.evaluation.timing import model_systems, placed_reduced, system_flops_speedup, time_systems
from trbert_env.data.workload import Workload
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.encoder.packing import Layout
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.exit_offsets import ExitOffsets
from trbert_env.reduction.policy import TokenPolicy
from trbert_env.staged_model import StagedModel
from trbert_env.system import OWN_BACKBONE, ReducedSystem, StockSystem, System, SystemOutput, UnreducedSystem
from trbert_env.tasks import SpanQA, Task

MakeTexts = Callable[..., list[EncodedText]]
#: More than one pass, of which the last is not full.
LENGTHS = np.random.default_rng(0).integers(2, 30, 70).tolist()


class RawLogits(SpanQA):
    """Span QA whose metrics are its logits, so that the least difference shows."""

    def predict(self, texts: Sequence[EncodedText], logits: Sequence[Any], records: Dataset) -> dict[str, Any]:
        return {text.text_id: values for text, values in zip(texts, logits, strict=True)}

    def metrics(self, predictions: Mapping[str, Any], records: Dataset) -> dict[str, float]:
        return {key: float(values.astype(np.float64).sum()) for key, values in predictions.items()}


@pytest.fixture
def workload(model: PreTrainedModel, make_texts: MakeTexts, workload_of: Callable[..., Workload]) -> Workload:
    texts = make_texts(*((length,) for length in LENGTHS))
    return replace(workload_of(model, texts), task=RawLogits(max_tokens=40))


def reduced(workload: Workload, decision: DecisionRule) -> TokenReducedModel:
    torch.manual_seed(0)
    model = workload.backbone.model
    policy, offsets = (
        TokenPolicy(model.config.hidden_size, 2, 8, overlap=True),
        ExitOffsets(2, 2, model.config.hidden_size),
    )
    for parameter in (*policy.parameters(), *offsets.parameters()):
        torch.nn.init.normal_(parameter, std=0.5)
    parts = {"env": "SQuAD2", "task": SpanQA(), "reduction_layers": (2, 3)}
    return TokenReducedModel.from_parts(model, policy, **parts, decision=decision, exit_offsets=offsets)


@pytest.mark.parametrize("rule", [DecisionRule(0.4), DecisionRule(keep_fractions=(0.6, 0.3))])
def test_a_reduced_model_is_what_its_policy_is_in_the_environment(workload: Workload, rule: DecisionRule) -> None:
    model = reduced(workload, rule)
    actor, offsets = TrainedPolicy(model.policy, rule), model.calibration
    env = evaluation_env(workload, reduction_layers=(2, 3), policy_size=8, exit_offsets=offsets)
    passed = run_pass(env, actor)
    expected = passed.measured
    found = measure_quality(ReducedSystem(model), workload)
    record_by_record = measure_pass(ReducedSystem(model), workload)
    assert np.array_equal(record_by_record.flops, passed.flops)
    assert np.array_equal(record_by_record.full_flops, passed.full_flops)
    assert record_by_record.predictions.keys() == passed.predictions.keys()
    assert found == expected
    assert found.savings is not None
    assert 0.0 < found.savings.kept_fractions[1] < found.savings.kept_fractions[0] < 1.0
    # Another rule for one measurement leaves the model as it is.
    assert measure_quality(ReducedSystem(model, DecisionRule(0.0)), workload) != expected
    assert measure_quality(ReducedSystem(model), workload) == expected


def test_the_mean_likelihood_is_of_texts_that_hold_an_answer(workload: Workload) -> None:
    texts = list(workload.texts)
    held = [replace(text, target=np.full((1, 2), -1)) if place % 3 else text for place, text in enumerate(texts)]
    expected = replace(workload, texts=texts[::3])
    system = UnreducedSystem(StagedModel(workload.backbone.model, workload.task))
    likelihood = measure_quality(system, expected).quality.log_likelihood
    for found in (
        measure_quality(system, replace(workload, texts=held)),
        run_pass(evaluation_env(replace(workload, texts=held)), KeepAll()).measured,
    ):
        assert found.quality.log_likelihood == pytest.approx(likelihood, abs=1e-6)
    assert likelihood < -0.1


def test_the_unreduced_encoder_is_keep_all_in_the_environment(workload: Workload) -> None:
    expected = run_pass(evaluation_env(workload), KeepAll()).measured
    found = measure_quality(UnreducedSystem(StagedModel(workload.backbone.model, workload.task)), workload)
    assert found.quality == expected.quality
    assert found.savings is not None
    assert (found.savings.flops_speedup, found.savings.kept_fractions) == (1.0, ())


def test_the_unreduced_encoder_is_the_stock_model(workload: Workload) -> None:
    found = measure_quality(UnreducedSystem(StagedModel(workload.backbone.model, workload.task)), workload)
    stock = measure_quality(StockSystem(workload.backbone.model, workload.task), workload)
    assert stock.savings == found.savings
    assert stock.quality.log_likelihood == pytest.approx(found.quality.log_likelihood, abs=1e-5)
    texts = list(workload.texts)[:9]
    batch = TextBatch.from_texts(texts)
    outputs = [
        system.run(batch).logits
        for system in (
            UnreducedSystem(StagedModel(workload.backbone.model, workload.task)),
            StockSystem(workload.backbone.model, workload.task),
            StockSystem(workload.backbone.model, workload.task, width=64),
        )
    ]
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0], rtol=0, atol=1e-5)


def test_flops_are_against_the_own_backbone(workload: Workload) -> None:
    model = reduced(workload, DecisionRule(keep_fractions=(0.6, 0.3)))
    batch = TextBatch.from_texts(list(workload.texts)[:9])
    systems = model_systems(model)
    outputs = {name: system.run(batch) for name, system in systems.items()}
    for name, output in outputs.items():
        assert systems[name].reference == OWN_BACKBONE
        assert (output.flops.shape, output.flops.dtype) == ((9,), torch.float64)
        assert output.full_flops.equal(model.cost.full(batch.layout))
    assert outputs["stock"].flops.equal(outputs["packed"].flops)
    assert outputs["stock"].flops.equal(outputs["stock"].full_flops)
    assert outputs["reduced"].flops.equal(model.cost.reduced(outputs["reduced"].layouts))
    assert outputs["reduced"].kept_tokens.tolist() == [
        [max(1, round(0.6 * length)), max(1, round(0.3 * length))] for length in LENGTHS[:9]
    ]
    assert system_flops_speedup(systems["packed"], workload.texts) == 1.0
    expected = measure_quality(systems["reduced"], workload).savings
    assert expected is not None
    assert system_flops_speedup(systems["reduced"], workload.texts) == pytest.approx(expected.flops_speedup)


def test_another_number_format_leaves_the_model_as_it_is(workload: Workload) -> None:
    model = reduced(workload, DecisionRule())
    assert placed_reduced(model, "cpu", torch.float32) is model
    other = placed_reduced(model, "cpu", torch.bfloat16)
    assert other.backbone.dtype == torch.bfloat16
    assert other.staged.model is other.backbone
    assert next(other.policy.parameters()).dtype == torch.float32
    assert model.backbone.dtype == torch.float32


@dataclass
class Compared:
    """A compared system: half as deep as its reference, and all it has is what :class:`System` asks for."""

    task: Task
    batches: list[int]
    name: ClassVar[str] = "half"
    reference: ClassVar[str] = "a constant encoder"
    pads: ClassVar[bool] = True
    device: ClassVar[torch.device] = torch.device("cpu")

    def run(self, batch: TextBatch) -> SystemOutput:
        self.batches.append(batch.layout.num_texts)
        logits = torch.stack([batch.input_ids.float(), -batch.input_ids.float()], 1)

        def cost(layout: Layout) -> torch.Tensor:
            return layout.token_counts.double()

        return SystemOutput(logits, [batch.layout], lambda layouts: cost(layouts[0]) / 2, cost)


def test_a_compared_system_is_measured_and_timed_like_any_other(workload: Workload) -> None:
    system: System = Compared(workload.task, [])
    measured = measure_quality(system, workload)
    assert measured.savings is not None
    assert (measured.savings.flops_speedup, measured.savings.kept_fractions) == (2.0, ())
    assert measured.quality.metrics == {text.text_id: 0.0 for text in workload.texts}
    seen = Compared(workload.task, [])
    timings = time_systems({"half": seen}, workload.texts, batch_size=32, rounds=2)
    assert len(timings["half"].seconds) == 2
    assert seen.batches == [32, 32, 6] * 3  # one round to warm up
