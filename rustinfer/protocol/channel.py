"""The two ends of the wire: `EngineChannel` for a plain loop, `ServerChannel` for asyncio."""

from __future__ import annotations

from .address import private_address
from .dealer import Listener, ServerChannel
from .router import EngineChannel, Gone, Peer, Received

__all__ = ["EngineChannel", "Gone", "Listener", "Peer", "Received", "ServerChannel", "private_address"]
