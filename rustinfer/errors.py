"""What a user did wrong, said in one line that tells what to do next."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the user's: shown as `error: MESSAGE`, never as a traceback.

    `exit_code` is 2 for wrong input and 3 where the command is well formed, but a file that it names, this machine or
    what is installed cannot serve it.
    """

    exit_code = 2


class Refused(UserError):
    """The request is well formed, but what is installed here cannot honour it."""

    exit_code = 3
