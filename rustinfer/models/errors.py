"""What is wrong with a checkpoint, or with the name of one."""

from __future__ import annotations

import re

from ..errors import UserError

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class CheckpointError(UserError):
    """A file or a configuration that cannot be used, with the file's name and what is wrong in one line.

    Names from files may hold anything: control characters are dropped, and very long messages are cut.
    """

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__(_CONTROLS.sub(" ", message)[:1000])


class MissingTensorError(CheckpointError, KeyError):
    """A tensor that the checkpoint lacks. Also a KeyError, so that `Mapping.get` works."""

    __str__ = Exception.__str__  # KeyError would print the quoted form


class UnknownModelError(UserError):
    """A reference that names no model."""
