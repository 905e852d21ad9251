'''One readable file a job, each a script: ``python runners/<job>.py --help``.

``cli/``, ``runs/``, ``training/`` and ``evaluation/`` hold what the runners share, ``reproduction/`` and ``reporting/``
what ``reproduce.py`` and ``report.py`` are made of.

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

where ``run`` comes from :mod:`runners.cli.run`, and ``Options`` is a frozen dataclass composed of groups, as
:mod:`runners.cli.options` describes. Each group is handed whole to the object that uses it.
'''
