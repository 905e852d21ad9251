"""In which order an environment draws its texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from trbert_env.validation import are_indices, check_entries, choose

Order = Literal["shuffle", "once"]


class TextOrder:
    """Draws texts: endless shuffled passes, or one in the order of the split.

    A text is drawn as a number: its index, and the number of the pass times the number of texts, so that texts which
    are put together anew in each pass can be; see :func:`~trbert_env.tasks.varied.drawn_text`.

    Args:
        num_texts: Texts in the split.
        order: ``"shuffle"`` or ``"once"``.

    Raises:
        ValueError: The order is unknown or the split empty.
    """

    def __init__(self, num_texts: int, order: Order) -> None:
        choose("order", order, get_args(Order))
        if num_texts < 1:
            raise ValueError("the split holds no text: check the data folder or raise max_examples")
        self.num_texts = num_texts
        self.order = order
        self._queue: npt.NDArray[np.int64] = np.arange(0)
        self._started = False
        self._passes = 0

    def restart(self) -> None:
        """Forget what is left of the running pass, and count passes anew."""
        self._queue = np.arange(0)
        self._started = False
        self._passes = 0

    def draw(self, count: int, generator: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The next ``count`` texts.

        Returns:
            Their numbers, and which of them are valid: with ``"once"``, what goes beyond the end of
            the split repeats its first text and is marked False.
        """
        if self.order == "shuffle":
            while len(self._queue) < count:
                of_pass = generator.permutation(self.num_texts) + self._passes * self.num_texts
                self._queue = np.concatenate([self._queue, of_pass])
                self._passes += 1
        elif not self._started:
            self._queue = np.arange(self.num_texts)
        self._started = True
        drawn, self._queue = self._queue[:count], self._queue[count:]
        missing = count - len(drawn)
        numbers = np.concatenate([drawn, np.zeros(missing, dtype=np.int64)])
        return numbers, np.arange(count) < len(drawn)

    def state_dict(self) -> dict[str, Any]:
        """What is still to come."""
        return {"queue": self._queue.copy(), "started": self._started, "passes": self._passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            ValueError: It is no such state, or of another split; the order then stays as it is.
        """
        check_entries("order of texts", state, ("queue", "started", "passes"))
        queue, started, passes = np.asarray(state["queue"]), state["started"], state["passes"]
        if not _is_count(passes):
            raise ValueError(f"the saved order of texts has passes {passes!r}: give a number from 0")
        if queue.ndim != 1 or not self._are_drawn(queue, passes):
            raise ValueError(f"the saved order of texts has a queue of other texts: there are {self.num_texts}")
        if not isinstance(started, (bool, np.bool_)):
            raise ValueError(f"the saved order of texts has started {started!r}: give True or False")
        self._queue, self._started, self._passes = queue.astype(np.int64), bool(started), int(passes)

    def check_drawn(self, numbers: npt.NDArray[Any], state: Any) -> None:
        """Refuse numbers of texts that were not drawn by the order of a saved state.

        Args:
            numbers: Numbers of the texts in work, ``(count,)``.
            state: The saved state of the order; :meth:`load_state_dict` checks it.

        Raises:
            ValueError: One is no number of a text in the passes so far.
        """
        passes = state.get("passes", 0) if isinstance(state, Mapping) else 0
        if not self._are_drawn(numbers, passes if _is_count(passes) else 0):
            raise ValueError(
                f"the saved environment has indices {numbers}: there are {self.num_texts} texts, from 0 on"
            )

    def _are_drawn(self, numbers: npt.NDArray[Any], passes: int) -> bool:
        return are_indices(numbers, self.num_texts * max(int(passes), 1))


def _is_count(passes: Any) -> bool:
    return isinstance(passes, (int, np.integer)) and not isinstance(passes, bool) and bool(passes >= 0)
