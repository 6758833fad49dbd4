"""How one server is set up."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from rustinfer import flags
from rustinfer.errors import UserError
from rustinfer.flags import SERVER
from rustinfer.protocol.curve import WireKey
from rustinfer.protocol.messages import ModelCard

from .origins import require_origin


@dataclass(frozen=True)
class Options:
    """`max_body` in bytes, `shutdown_timeout` in seconds. With `any_model` every name is taken for the served model."""

    engine: str
    wire_key: WireKey | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    api_key_file: Path | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    share_prefixes: bool = False
    served_names: tuple[str, ...] = ()
    also_named: str | None = None
    any_model: bool = False
    metrics_compat: str | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    middleware: tuple[str, ...] = ()
    log_requests: bool = False
    certificate: Path | None = None
    private_key: Path | None = None
    max_body: int = 32 << 20
    shutdown_timeout: float = 10.0

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "max_body"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name.replace('_', ' ')} must be at least 1, not {value}")
        if self.private_key and not self.certificate:
            raise UserError("--ssl-keyfile goes with --ssl-certfile: name the certificate too")
        for origin in self.allow_origins:
            require_origin(origin)

    def names(self, card: ModelCard) -> tuple[str, ...]:
        return self.served_names or (card.id,)

    def answers_to(self, card: ModelCard) -> tuple[str, ...]:
        """The names that are told of, and the one that it was asked for by."""
        return self.names(card) + (() if self.also_named is None else (self.also_named,))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that starts a server."""
    flags.add_arguments(parser, "server", SERVER)
