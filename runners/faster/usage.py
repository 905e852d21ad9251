"""Lines of code by which a model card shows how its model is used."""

from __future__ import annotations

from trbert_env.data.records import columns
from trbert_env.data.workload import Workload
from trbert_env.tasks import Classification, MultipleChoice, SpanQA, Task
from trbert_env.tasks.multiple_choice import BLANK

#: The hub's names of the kinds of task.
PIPELINES = {
    "classification": "text-classification",
    "span_qa": "question-answering",
    "multi_hop_qa": "question-answering",
    "candidate_qa": "question-answering",
    "multiple_choice": "multiple-choice",
}

LOADING = """```python
from transformers import AutoTokenizer
from trbert_env import TokenReducedModel

folder = "."  # this folder
model = TokenReducedModel.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
{use}```"""
SPEED = """```python
model.speedup = {speed:.2f}  # another FLOPs speed-up, by the threshold that was measured for it
```"""

_TEXTS = """texts = ["A text.", "Another one."]
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
logits = model(**inputs).logits
"""
_PAIRS = """firsts, seconds = ["who sold drums?"] * 2, ["Ada sold drums.", "The sea is wide."]
inputs = tokenizer(firsts, seconds, padding=True, truncation=True, return_tensors="pt")
logits = model(**inputs).logits
"""
#: Of models that read more of a text than a tokenizer leaves.
_SCORES = """logits = model.score(["A text.", "Another one."])  # reads texts as above; a tokenizer would cut them
"""
_PAIR_SCORES = """logits = model.score(["who sold drums?"] * 2, ["Ada sold drums.", "The sea is wide."])
"""
_RELEVANCE = """query, passages = "who sold drums?", ["Ada sold drums.", "The sea is wide."]
inputs = tokenizer([query] * len(passages), passages, padding=True, truncation=True, return_tensors="pt")
scores = model(**inputs).logits[:, 0].sigmoid()  # the greater, the more relevant
ranking = scores.argsort(descending=True).tolist()
"""
_RELEVANCE_SCORES = """query, passages = "who sold drums?", ["Ada sold drums.", "The sea is wide."]
scores = model.score(query, passages)[:, 0].sigmoid()  # reads them as above; a tokenizer would cut them
ranking = scores.argsort(descending=True).tolist()
"""
_USES = {
    "span_qa": """answer = model.answer(question="Who sold drums?", context="Ada sold drums.")
""",
    "multiple_choice": """article, question, options = "Ada sold drums.", "Who sold drums?", ["Ada", "The sea"]
choices = [CHOICE for option in options]
inputs = tokenizer([article] * len(choices), choices, padding=True, truncation=True, return_tensors="pt")
logits = model(**{name: values[None] for name, values in inputs.items()}).logits
""",
}
#: What stands beside the article for an option, without and with options that fill the question's blank.
_CHOICE = 'f"{question} {option}"'
_CHOICE_IN_BLANK = f"re.sub(blank, lambda _: option, question, count=1) if re.search(blank, question) else {_CHOICE}"
_BLANK = f'import re\n\nblank = r"{BLANK.pattern}"\n'
_CROSS_ENCODER = """With sentence-transformers, by the same scores:

```python
import trbert_env  # tells transformers of these models
from sentence_transformers import CrossEncoder

ranked = CrossEncoder(".").rank("who sold drums?", ["Ada sold drums.", "The sea is wide."])
```"""


def ranks(workload: Workload) -> bool:
    """Tell whether a model scores pairs of a query and a passage, as a reranker does.

    Args:
        workload: Texts, with their task.
    """
    task = workload.task
    return isinstance(task, Classification) and task.head == "relevance" and task.names is None and _pairs(workload)


def pipeline_tag(workload: Workload) -> str:
    """Return the hub's name of the kind of task.

    Args:
        workload: Texts, with their task.
    """
    return "text-ranking" if ranks(workload) else PIPELINES[workload.preset.task]


def loading_line(workload: Workload, folder: str) -> str:
    """Return the line of Python that loads a model.

    Args:
        workload: Texts like those that it is for, with their task.
        folder: Folder of the model.
    """
    line = f'TokenReducedModel.from_pretrained("{folder}")'
    return f'{line}, or after import trbert_env CrossEncoder("{folder}")' if ranks(workload) else line


def reading(task: Task) -> str:
    """Return sentences on how much of a text a model reads, and on what its logits stand for.

    Args:
        task: Task of the model.

    Example:
        >>> reading(Classification(max_tokens=128))
        'It reads at most 128 tokens of a text, from its beginning.'
    """
    if isinstance(task, SpanQA):
        return f"It reads a context in windows of {task.max_tokens} tokens, each with the question."
    if not isinstance(task, Classification):
        return f"It reads at most {task.max_tokens} tokens of a sequence."
    part = "from its beginning" if task.truncation == "head" else "from its beginning and its end"
    sentences = [f"It reads at most {task.max_text_tokens} tokens of a text, {part}."]
    if task.label_note is not None:
        sentences.append(f"{task.label_note[0].upper()}{task.label_note[1:]}.")
    elif task.labels:
        sentences.append(
            f"Its classes, in the order of the logits: {', '.join(f'`{label}`' for label in task.labels)}."
        )
    return " ".join(sentences)


def usage(workload: Workload) -> list[str]:
    """Return blocks of Markdown that load a model and put it to use.

    Args:
        workload: Texts like those that it is for, with their task.
    """
    if isinstance(workload.task, Classification):
        cuts_as_tokenizers = workload.task.truncation == "head" and workload.task.max_slices == 1
        if ranks(workload):
            both = [LOADING.format(use=_RELEVANCE), _CROSS_ENCODER]
            return both if cuts_as_tokenizers else [LOADING.format(use=_RELEVANCE_SCORES)]
        alone, pairs = (_TEXTS, _PAIRS) if cuts_as_tokenizers else (_SCORES, _PAIR_SCORES)
        return [LOADING.format(use=pairs if _pairs(workload) else alone)]
    use = _USES.get(workload.preset.task, "")
    if isinstance(workload.task, MultipleChoice):
        fills = workload.task.fill_blanks
        use = (_BLANK if fills else "") + use.replace("CHOICE", _CHOICE_IN_BLANK if fills else _CHOICE)
    return [LOADING.format(use=use)]


def _pairs(workload: Workload) -> bool:
    """Whether texts come in pairs."""
    return any(text is not None for text in columns(workload.examples.select(range(1)), "text_pair")[0])
