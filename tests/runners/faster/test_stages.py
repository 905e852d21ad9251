"""How far the stages of a run have come, by what lies in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from runners.faster.stages import ALMOST, shares_done
from runners.runs.checkpoint import save_state


def test_what_is_done_of_each_stage(tmp_path: Path) -> None:
    assert shares_done(tmp_path) == {}
    ended = tmp_path / "finetune-small" / "1-0"
    save_state(ended / "checkpoint", {"step": 3}, progress=1.0)
    (tmp_path / "policy-reinforce" / "1-0").mkdir(parents=True)  # begun, and nothing saved
    assert shares_done(tmp_path) == {"fine-tuning": ALMOST}  # it still has to be evaluated
    (ended / "metrics.json").write_text(json.dumps({"env": "IMDB", "num_texts": 2}))
    save_state(tmp_path / "policy-reinforce" / "1-0" / "checkpoint", {"update": 1}, progress=0.25)
    assert shares_done(tmp_path) == {"fine-tuning": 1.0, "stage 2": 0.25}
