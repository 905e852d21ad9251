'''What every runner does in the same way: options, run folders, checkpoints, display, errors.

A runner is a script and a module. As a script, Python puts its folder first on the import path, where
``import evaluate`` or ``import benchmark`` in any library would find ours; and the project may not be
installed in the Python that runs it. So every runner opens with these lines, before its other imports::

    """What this runner does."""

    from __future__ import annotations

    import sys
    from pathlib import Path

    if __name__ == "__main__":  # take runners/ off the import path: a library's `evaluate` is not ours
        here = Path(__file__).resolve().parent
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
        try:
            import trbert_env
        except ModuleNotFoundError as error:
            if error.name != "trbert_env":
                raise
            mend = "run `make venv`, then `source .venv/bin/activate`"
            print(f"error: the project is not installed in {sys.executable}; {mend}", file=sys.stderr)
            sys.exit(2)

and closes with::

    if __name__ == "__main__":
        run(main, Options)

where ``run`` comes from :mod:`runners.shared.cli` and ``Options`` is a dataclass derived from
:class:`runners.shared.options.CommonOptions`.
'''
