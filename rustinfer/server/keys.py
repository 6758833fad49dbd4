"""The API keys: from flags, the environment and a file, compared in constant time, read again when told."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterable
from pathlib import Path

from rustinfer.errors import UserError

log = logging.getLogger(__name__)


class Keys:
    """Holds digests only. Empty where no keys were asked for: then everybody may enter. Raises UserError."""

    def __init__(self, given: Iterable[str] = (), file: str | Path | None = None) -> None:
        self._given, self._file = [_digest(key) for key in given], file
        self._digests = self._read()

    def __bool__(self) -> bool:
        return bool(self._digests)

    def reload(self) -> None:
        """Read the file again. Where that fails the keys stay as they were: never open, and never shut."""
        try:
            self._digests = self._read()
            log.info("%d API keys are known", len(self._digests))
        except UserError as e:
            log.error("the API keys stay as they were: %s", e)

    def find(self, offered: bytes) -> str | None:
        """A name for the key that tells nothing of it; None where it is not known."""
        digest = hashlib.sha256(offered).digest()
        # Every key is compared, and digests have one length: the time tells nothing.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:16] if any(matches) and offered else None

    def _read(self) -> list[bytes]:
        if not self._file:
            return self._given
        try:
            lines = [line.strip() for line in Path(self._file).read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as e:
            why = getattr(e, "strerror", None) or "it is not UTF-8"
            raise UserError(f"the file of API keys {self._file} cannot be read: {why}") from None
        keys = [_digest(line) for line in lines if line and not line.startswith("#")]
        if not keys:
            raise UserError(f"the file of API keys {self._file} holds none: write one a line")
        return self._given + keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
