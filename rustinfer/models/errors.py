"""What is wrong with a checkpoint, or with the name of one."""

from __future__ import annotations

from ..errors import UserError


class CheckpointError(UserError):
    """A file or a configuration that cannot be used, with the file's name and what is wrong in one line."""


class MissingTensorError(CheckpointError, KeyError):
    """A tensor that the checkpoint lacks. Also a KeyError, so that `Mapping.get` works."""

    __str__ = Exception.__str__  # KeyError would print the quoted form


class UnknownModelError(UserError):
    """A reference that names no model."""
