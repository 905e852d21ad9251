"""Errors that name parameters, which a command line calls by the names of its flags."""

from __future__ import annotations

from collections.abc import Callable

#: Turns the name of a parameter into what its user calls it.
Naming = Callable[[str], str]


class ParameterError(ValueError):
    """A value that is refused, in a message that names parameters.

    Args:
        message: Makes the message; it is given the :data:`Naming`, by which it names each parameter.

    Attributes:
        told: The same function, for callers whose users know the parameters by other names.

    Example:
        >>> error = ParameterError(lambda name: f"{name('data_dir')} is a file: give a folder")
        >>> str(error), error.told(lambda name: "--" + name.replace("_", "-"))
        ('data_dir is a file: give a folder', '--data-dir is a file: give a folder')
    """

    def __init__(self, message: Callable[[Naming], str]) -> None:
        super().__init__(message(str))
        self.told = message
