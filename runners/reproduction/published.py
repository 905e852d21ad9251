"""Figures that the TR-BERT paper publishes, to stand beside ours.

Source: Ye et al., "TR-BERT: Dynamic Token Reduction for Accelerating BERT Inference", NAACL 2021, tables 2 and 3. The
encoders are BERT-base and DistilBERT. Speed-ups are in FLOPs over BERT-base, in table 3 over BERT-base on slices of 512
tokens. Metrics are those of the data sets' presets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Row of the unreduced encoder, of ours, and of ours on an encoder of half depth.
CONTROL, OURS, OURS_ON_HALF = "unreduced control", "ours", "ours on half depth"
#: System that the encoder of half depth is made by.
HALF = "distilled"
#: Encoder of the paper, in headings.
ENCODER = "BERT-base"
#: FLOPs speed-up to aim at where the paper has none.
USUAL_SPEEDUP = 2.0


@dataclass(frozen=True)
class Published:
    """A figure of the paper.

    Attributes:
        quality: The data set's main metric, 0 to 100.
        speedup: FLOPs speed-up, a factor.
    """

    quality: float
    speedup: float


#: Data sets of table 2 and of table 3.
SHORT_TEXTS = ("SQuAD2", "NewsQA", "NaturalQA", "RACE", "YELP.F", "20NewsGroups", "IMDB")
LONG_TEXTS = ("HotpotQA", "TriviaQA", "WikiHop", "Hyperpartisan")

Row = Mapping[str, Published]


def _row(envs: Sequence[str], qualities: Sequence[float], speedups: Sequence[float]) -> Row:
    columns = zip(envs, qualities, speedups, strict=True)
    return {env: Published(quality, speedup) for env, quality, speedup in columns}


#: Table 2, TR-BERT on DistilBERT included: row -> data set -> figure.
TABLE_2: Mapping[str, Row] = {
    CONTROL: _row(SHORT_TEXTS, (77.12, 66.82, 78.32, 66.30, 69.93, 86.66, 94.05), [1.0] * 7),
    OURS: _row(
        SHORT_TEXTS,
        (75.66, 67.18, 79.03, 65.00, 69.97, 87.44, 93.60),
        (2.08, 2.05, 2.51, 2.16, 2.19, 4.22, 2.26),
    ),
    OURS_ON_HALF: _row(
        SHORT_TEXTS,
        (71.75, 65.36, 78.11, 53.40, 70.04, 86.58, 92.64),
        (3.07, 2.96, 3.74, 4.10, 2.83, 5.90, 4.13),
    ),
    "distilled": _row(SHORT_TEXTS, (68.17, 63.56, 76.21, 52.63, 69.42, 85.85, 93.11), [2.0] * 7),
    "power-bert": _row(SHORT_TEXTS[4:], (67.37, 86.51, 92.02), (2.75, 2.91, 3.05)),
    "deformer": _row(SHORT_TEXTS[:4], (71.41, 60.68, 74.34, 64.27), (2.19, 2.01, 2.34, 2.19)),
    "dynabert": _row(SHORT_TEXTS, (74.83, 66.13, 78.14, 65.38, 69.96, 86.03, 94.00), [2.0] * 7),
}

#: Table 3, over slices of 512 tokens. Its rows of ours on WikiHop and Hyperpartisan are not in the text that is held.
TABLE_3: Mapping[str, Row] = {
    CONTROL: _row(LONG_TEXTS, (65.45, 69.69, 68.49, 76.83), (0.91, 0.92, 0.92, 0.92)),
    OURS: _row(LONG_TEXTS[:2], (65.57, 70.41), (1.56, 1.20)),
}


def published(row: str, env: str) -> Published | None:
    """Return the figure of table 2, None where the paper has none.

    Args:
        row: Name of the system.
        env: Name of the data set.

    Example:
        >>> published("ours", "IMDB"), published("pooled", "IMDB")
        (Published(quality=93.6, speedup=2.26), None)
    """
    return TABLE_2.get(row, {}).get(env)


def usual_speedup(row: str, env: str) -> float:
    """Return the FLOPs speed-up that the paper reports of a system over its own encoder, 2 where it reports none.

    Args:
        row: Name of the system.
        env: Name of the data set.

    Example:
        >>> usual_speedup("ours", "SQuAD2"), usual_speedup("ours", "HotpotQA"), usual_speedup("ours", "WikiHop")
        (2.08, 1.71, 2.0)
    """
    found = published(row, env)
    if found is not None:
        return found.speedup
    long = TABLE_3.get(row, {}).get(env)
    return USUAL_SPEEDUP if long is None else round(long.speedup / TABLE_3[CONTROL][env].speedup, 2)
