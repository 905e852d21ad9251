"""Readers of a user's own data: labelled or scored texts, questions with spans as answers, multiple choice."""

from trbert_env.data.own.choices import MultipleChoice
from trbert_env.data.own.files import OwnFiles
from trbert_env.data.own.reader import OwnReader, OwnSplit
from trbert_env.data.own.spans import SpanQA
from trbert_env.data.own.texts import TextClassification

__all__ = ["MultipleChoice", "OwnFiles", "OwnReader", "OwnSplit", "SpanQA", "TextClassification"]
