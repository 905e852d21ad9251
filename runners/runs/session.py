"""A training run from its beginning, or its ``--resume``, to its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Generic

from runners.cli.options import ResumableT
from runners.runs.checkpoint import has_state, load_state
from runners.runs.lock import locked
from runners.runs.run_folder import RunFolder, reopen


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Hold the folder of nested runs for this process while the block runs.

    What stops the block is told how to go on: with the whole, not with the nested run that was in work.

    Args:
        folder: The folder; it can be gone on with by ``--resume``.

    Raises:
        UserError: Another process holds it.
    """
    with locked(folder.path):
        try:
            yield
        except (KeyboardInterrupt, OSError) as error:
            error.__notes__ = [f"go on with --resume {shlex.quote(str(folder.path))}"]
            raise


class RunSession(Generic[ResumableT]):
    """Hold a training run for this process alone, and what a resumed one has to go on from.

    Args:
        options: The options of this call; those of the run that ``--resume`` names take their place.

    Attributes:
        options: The run's options.
        state: Saved state of an interrupted run; None for a new one.

    Example:
        >>> with RunSession(options) as session:  # doctest: +SKIP
        ...     folder = session.begin("SQuAD2", "policy", "reinforce", {"dtype": "float32"})
    """

    def __init__(self, options: ResumableT) -> None:
        self.options = options
        self.state: Any = None
        self._folder: RunFolder | None = None
        self._stack = ExitStack()

    def __enter__(self) -> RunSession[ResumableT]:
        """Reopen the run that ``--resume`` names, if one is named.

        Raises:
            ValueError: See :func:`runners.runs.run_folder.reopen`, or the state is damaged.
            FileNotFoundError: There is no such run, or it wrote no checkpoint.
            UserError: Another process holds the run.
        """
        if self.options.resume is not None:
            self.options, self._folder = reopen(self.options, self.options.resume)
            with ExitStack() as stack:  # let go if the state cannot be read
                stack.enter_context(locked(self._folder.path))
                if not self._folder.ended:
                    self.state = load_state(self._folder.checkpoint_dir, self._folder.run_id)
                self._stack = stack.pop_all()
        return self

    def find_ended(self) -> RunFolder | None:
        """Return the folder of a resumed run that had ended already, so that nothing is left to do; say so."""
        if self._folder is None or not self._folder.ended:
            return None
        print(f"{self._folder.path} has ended: its record is {self._folder.metrics_path}")
        return self._folder

    def begin(self, env: str, stage: str, agent: str, facts: Mapping[str, Any]) -> RunFolder:
        """Make a new run's folder and write its options, or check that a resumed run finds what it began with.

        Args:
            env: Name of the data.
            stage: The job, such as ``policy``.
            agent: The algorithm's name.
            facts: See :meth:`RunFolder.write_config`.

        Raises:
            ValueError: A resumed run would go on with something else.
        """
        options = self.options
        if self._folder is None:
            self._folder = RunFolder.create(options.run.output_dir, env, stage, agent, options.run.seed)
            self._stack.enter_context(locked(self._folder.path))
            self._folder.write_config(options, facts)
        else:
            self._folder.check_facts(facts)
        print(f"run folder: {self._folder.path}")
        return self._folder

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the run; what was interrupted is told how to go on from the last checkpoint, if there is one."""
        # Anything else, a run that diverges for example, would end in the same way again.
        resumable = isinstance(error, (KeyboardInterrupt, OSError))
        if error is not None and resumable and self._folder is not None and has_state(self._folder.checkpoint_dir):
            error.add_note(f"go on from the last checkpoint with --resume {shlex.quote(str(self._folder.path))}")
        self._stack.close()
