"""Losses are those of the stock heads, and train a shipped model further."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

MakeShipped = Callable[..., Any]
MakeInputs = Callable[..., dict[str, Tensor]]

LABELS: dict[str, dict[str, Tensor]] = {
    "questions": {"start_positions": torch.tensor([0, 2, 3, 1]), "end_positions": torch.tensor([0, 4, 3, 2])},
    "classes": {"labels": torch.tensor([0, 2, 1, 1])},
    "relevance": {"labels": torch.tensor([0.0, 1.0, 1.0, 0.25])},
    "regression": {"labels": torch.tensor([0.5, -3.0, 2.0, 0.0])},
    "choice": {"labels": torch.tensor([0, 1, 2, 1])},
}


def stock_loss(model: Any, inputs: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """The mean of the stock model's losses of single rows without padding, whose softmax counts padding too."""
    if "relevance" in str(model.task.settings):
        model.backbone.config.problem_type = "multi_label_classification"
        labels = {name: values[:, None] for name, values in labels.items()}
    losses = []
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        places = mask.flatten(end_dim=-2).any(0) if mask.dim() > 1 else mask
        alone = {name: values[row : row + 1][..., places] for name, values in inputs.items()}
        if mask.dim() > 1:  # options that the text has not
            alone = {name: values[:, mask.any(-1)] for name, values in alone.items()}
        losses.append(model.backbone(**alone, **{name: values[row : row + 1] for name, values in labels.items()}).loss)
    return torch.stack(losses).mean()


@torch.no_grad()
@pytest.mark.parametrize("kind", list(LABELS))
def test_with_nothing_skipped_the_loss_is_the_stock_heads(
    kind: str, family: str, shipped: MakeShipped, padded: MakeInputs
) -> None:
    model, inputs, labels = shipped(kind, family, threshold=0.0), padded(kind, family), LABELS[kind]
    output = model(**inputs, **labels)
    torch.testing.assert_close(output.loss, stock_loss(model, inputs, labels), rtol=0, atol=1e-5)
    assert model(**inputs, **labels, return_dict=False)[0].equal(output.loss)
    assert "loss" not in model(**inputs)


@torch.no_grad()
def test_labels_of_padded_rows_count_their_places_in_the_row(shipped: MakeShipped, padded: MakeInputs) -> None:
    model, left, right = shipped("questions"), padded("questions", side="left"), padded("questions")
    labels = LABELS["questions"]
    shift = (left["attention_mask"] == 0).sum(1)
    moved = {name: values + shift for name, values in labels.items()}
    torch.testing.assert_close(model(**left, **moved).loss, model(**right, **labels).loss, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="start_positions names a place on padding"):
        model(**left, **labels)


@torch.no_grad()
def test_places_behind_the_row_and_ignored_classes_do_not_count(shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped("questions"), padded("questions")
    labels = {name: values.clone() for name, values in LABELS["questions"].items()}
    kept = {name: values[:3] for name, values in labels.items()}
    for values in labels.values():
        values[3] = 999
    found = model(**inputs, **labels).loss
    assert found.equal(model(**{name: values[:3] for name, values in inputs.items()}, **kept).loss)
    classifier, texts = shipped("classes"), padded("classes")
    ignoring = classifier(**texts, labels=torch.tensor([0, 2, 1, -100])).loss
    without = classifier(**{name: values[:3] for name, values in texts.items()}, labels=torch.tensor([0, 2, 1])).loss
    torch.testing.assert_close(ignoring, without)


@torch.no_grad()
def test_other_token_classifiers_learn_from_the_targets_of_their_task(shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped("multi-hop"), padded("multi-hop")
    targets = torch.tensor([[[0, 2, 3, -1, -1]], [[1, -1, -1, -1, -1]], [[2, -1, -1, -1, -1]], [[0, 1, 1, -1, -1]]])
    output = model(**inputs, labels=targets)
    mask = inputs["attention_mask"].bool()
    expected = []
    for row in range(4):
        rows = output.logits[row][mask[row].any(-1)]
        kinds = rows[:, 0, 2:5].amax(0).log_softmax(0)
        kind, start, end = targets[row, 0, :3].tolist()
        tokens = output.logits[row][mask[row]].log_softmax(0)
        expected.append(kinds[kind] + (0.5 * (tokens[start, 0] + tokens[end, 1]) if kind == 0 else 0.0))
    torch.testing.assert_close(output.loss, -torch.stack(expected).mean(), rtol=0, atol=1e-5)


BAD = [
    ("classes", torch.tensor([0, 1, 2]), r"labels have the shape \(3,\): give \(4,\), one a text"),
    ("classes", torch.tensor([0, 1, 2, 3]), "labels hold 3, and there are 3 classes: count from 0"),
    ("classes", torch.tensor([0.0, 1.0, 2.0, 1.0]), "labels are torch.float32, and classes are counted: give integers"),
    ("choice", torch.tensor([0, 2, 1, 1]), "labels name an option that a text does not have"),
    ("choice", torch.tensor([0, 5, 1, 1]), "labels hold 5"),
]


@pytest.mark.parametrize(("kind", "labels", "message"), BAD)
def test_labels_that_do_not_fit(
    kind: str, labels: Tensor, message: str, shipped: MakeShipped, padded: MakeInputs
) -> None:
    with pytest.raises(ValueError, match=message):
        shipped(kind)(**padded(kind), labels=labels)


@pytest.mark.parametrize("kind", list(LABELS))
def test_gradients_reach_encoder_and_head(kind: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model = shipped(kind)
    model(**padded(kind), **LABELS[kind]).loss.backward()
    gradients = [values.grad for values in model.backbone.parameters() if values.grad is not None]
    assert len(gradients) > 60
    assert all(bool(torch.isfinite(values).all()) for values in gradients)
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["classes", "questions"])
def test_trainer_trains_it_further(kind: str, shipped: MakeShipped, padded: MakeInputs, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the package accelerate is not installed, which Trainer needs")
    from transformers import Trainer, TrainingArguments

    model, inputs = shipped(kind), padded(kind, rows=8)
    labels = {name: values.repeat(2) for name, values in LABELS[kind].items()}
    data: Any = [{name: values[row] for name, values in {**inputs, **labels}.items()} for row in range(8)]
    arguments = TrainingArguments(
        str(tmp_path),
        num_train_epochs=12,
        learning_rate=3e-3,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    assert trainer.label_names == list(labels)
    before = trainer.evaluate()["eval_loss"]
    policy = {name: values.clone() for name, values in model.policy.state_dict().items()}
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.5 * before
    assert all(values.equal(policy[name]) for name, values in model.policy.state_dict().items())
    trainer.save_model(str(tmp_path / "model"))
    loaded = type(model).from_pretrained(tmp_path / "model")
    with torch.no_grad():
        assert loaded(**inputs)[0].equal(model.eval()(**inputs)[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["questions", "classes", "choice"])
def test_labels_of_other_integer_types(kind: str, shipped: MakeShipped, padded: MakeInputs) -> None:
    model, inputs = shipped(kind), padded(kind)
    expected = model(**inputs, **LABELS[kind]).loss
    for dtype in (torch.int32, torch.uint8):
        found = model(**inputs, **{name: values[:, None].to(dtype) for name, values in LABELS[kind].items()})
        assert found.loss.equal(expected)


@torch.no_grad()
def test_options_that_are_taken_each_for_itself(shipped: MakeShipped, padded: MakeInputs) -> None:
    """Right or wrong, the mean over the options of a text: no stock head has this loss."""
    model, inputs = shipped("choice"), padded("choice")
    model.task.form = "independent"
    output = model(**inputs, labels=torch.tensor([0, 1, 2, 1]))
    expected = []
    for row, gold in zip(output.logits, (0, 1, 2, 1), strict=True):
        options = row[torch.isfinite(row)].sigmoid()
        right = torch.tensor([float(yes if place == gold else 1 - yes) for place, yes in enumerate(options)])
        expected.append(-right.log().mean())
    torch.testing.assert_close(output.loss, torch.stack(expected).mean(), rtol=0, atol=1e-5)
    two = model(**inputs, labels=torch.tensor([0, -100, 2, -100])).loss
    torch.testing.assert_close(two, torch.stack([expected[0], expected[2]]).mean(), rtol=0, atol=1e-5)
    lacking = int((~torch.isfinite(output.logits)).any(1).nonzero()[0])  # a text with fewer options
    labels = torch.zeros(4, dtype=torch.int64)
    labels[lacking] = output.logits.shape[1] - 1
    with pytest.raises(ValueError, match="labels name an option that a text does not have"):
        model(**inputs, labels=labels)
