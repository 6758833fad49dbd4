"""What goes wrong while ops are declared, plugins are loaded, or kernels are chosen."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Refused, UserError


class NoKernelError(Refused):
    """No kernel may run an op here; `refusals` holds each candidate's own words."""

    def __init__(self, op: str, site: str, target: str, refusals: Sequence[tuple[str, str]]) -> None:
        self.op, self.site, self.refusals = op, site, tuple(refusals)
        where = f" at {site}" if site else ""
        why = "; ".join(f"{name}: {reason}" for name, reason in refusals) or "no back end was allowed"
        super().__init__(f"no kernel for {op}{where} on {target}: {why}")


class UnknownBackendError(UserError):
    """`--prefer` or `--pin` names a back end that is not installed."""


class UnknownOpError(UserError):
    """`--pin` names an op that does not exist."""


class MissingOpError(Refused, AttributeError):
    """A model asks a binder for an op that nobody has defined here."""


class DefinitionError(TypeError):
    """An op, a kernel or a plugin is declared wrongly: its author must mend it."""
