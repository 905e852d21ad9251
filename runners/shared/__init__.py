'''What every runner does in the same way: options, run folders, checkpoints, display, errors.

A runner is a script and a module. As a script it opens with these lines, before its other imports, so that
``runners/script.py`` can prepare the process::

    """What this runner does."""

    from __future__ import annotations

    import runpy
    from pathlib import Path

    if __name__ == "__main__":  # before all other imports: see there
        runpy.run_path(str(Path(__file__).with_name("script.py")))

and closes with::

    if __name__ == "__main__":
        run(main, Options)

where ``run`` comes from :mod:`runners.shared.cli` and ``Options`` is a dataclass derived from
:class:`runners.shared.options.CommonOptions`.
'''
