"""Token reduction in a frozen encoder as a vectorised Gymnasium environment.

Importing this package registers the ids ``TRBERT/<Name>-v0``:

    >>> import gymnasium, trbert_env
    >>> "TRBERT/SQuAD2-v0" in gymnasium.registry
    True

It also makes the auto classes of transformers load token-reduced models.
"""

from trbert_env.data.workload import Workload
from trbert_env.deploy.accelerate import accelerate
from trbert_env.deploy.answering import Answer, answer_questions
from trbert_env.deploy.config import TokenReducedConfig
from trbert_env.deploy.heads import (
    TokenReducedForMultipleChoice,
    TokenReducedForQuestionAnswering,
    TokenReducedForSequenceClassification,
    TokenReducedForTokenClassification,
)
from trbert_env.deploy.model import TokenReducedModel
from trbert_env.deploy.predictions import write_predictions
from trbert_env.encoder.packing import Layout, PackedTokens
from trbert_env.encoder.texts import EncodedText, TextBatch
from trbert_env.envs.registration import env_id, register_envs
from trbert_env.envs.settings import EnvSettings
from trbert_env.envs.single_env import TokenReductionEnv
from trbert_env.envs.vector_env import TokenReductionVectorEnv
from trbert_env.presets import PRESETS, Preset, get_preset
from trbert_env.reduction.decision import DecisionRule
from trbert_env.reduction.policy import TokenPolicy

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Answer",
    "DecisionRule",
    "EncodedText",
    "EnvSettings",
    "Layout",
    "PackedTokens",
    "Preset",
    "TextBatch",
    "TokenPolicy",
    "TokenReducedConfig",
    "TokenReducedForMultipleChoice",
    "TokenReducedForQuestionAnswering",
    "TokenReducedForSequenceClassification",
    "TokenReducedForTokenClassification",
    "TokenReducedModel",
    "TokenReductionEnv",
    "TokenReductionVectorEnv",
    "Workload",
    "accelerate",
    "answer_questions",
    "env_id",
    "get_preset",
    "register_envs",
    "write_predictions",
]

register_envs()
