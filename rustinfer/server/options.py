"""How one server is set up."""

from __future__ import annotations

from dataclasses import dataclass, field

from rustinfer.protocol.messages import ModelCard


@dataclass(frozen=True)
class Options:
    """`max_body` in bytes. With `any_model` every model name is taken for the served one."""

    engine: str
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    served_names: tuple[str, ...] = ()
    any_model: bool = False
    allow_origins: tuple[str, ...] = ()
    max_body: int = 32 << 20
    drain_seconds: float = 10.0

    def names(self, card: ModelCard) -> tuple[str, ...]:
        return self.served_names or (card.id,)
