"""Text that grows with the tokens: whole code points only, and never a part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import TextError
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class TextDelta:
    """What came of some tokens: the text that is now certain, the stop string that was met (or None), the tokens used.

    The last of those may have no part in the text.
    """

    text: str
    stopped: str | None
    tokens: int
    told: int
    """Tokens whose text it is, if they have any."""


class TextStream:
    """Turns a sequence's tokens into text as they come.

    The text continues a prompt: a leading space that `Tokenizer.decode` drops in SentencePiece vocabularies is kept.
    Bytes of an unfinished code point are held back, and so is text that may become a stop string. However the tokens
    are cut into pushes, the text is the same. Where several stop strings are complete at once, the one that begins
    first wins, and of those the longest. One that is complete within the first `min_tokens` tokens is text like any.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        skip_special_tokens: bool = True,
        include_stop: bool = False,
        min_tokens: int = 0,
    ) -> None:
        self._piece = tokenizer.token_bytes
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._stop = tuple(stop)
        if not all(self._stop):
            raise TextError("a stop string must not be empty")
        self._include_stop, self._early = include_stop, min_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._before = 0  # characters of what is held that came while no stop string counted
        self._ready = ""
        self.stopped: str | None = None

    def take(self, token_ids: Sequence[int], reason: str | None) -> TextDelta:
        """Take an output's tokens, and, where it says the `reason`, the end: what was held back comes, too.

        A token that ended it is used, but is no text unless stop strings are.
        """
        shown = token_ids[:-1] if reason == "stop" and not self._include_stop else token_ids
        delta = self.push(shown)
        if delta.stopped is not None:
            return delta
        text = delta.text + (self.finish() if reason is not None else "")
        return TextDelta(text, self.stopped, len(token_ids), delta.told)

    def push(self, token_ids: Sequence[int]) -> TextDelta:
        """Take the next tokens. After a stop string, further tokens are not used and add nothing."""
        if self.stopped is not None:
            return TextDelta("", self.stopped, 0, 0)
        used = 0
        for token_id in token_ids:
            used += 1
            self._early -= 1
            if token_id not in self._skipped and self._take(self._decoder.decode(self._piece(token_id))):
                break
        text, self._ready = self._ready, ""
        return TextDelta(text, self.stopped, used, used)

    def finish(self) -> str:
        """The text that was held back, at the end of the sequence. Half a code point becomes U+FFFD."""
        if self.stopped is not None:
            return ""
        self._take(self._decoder.decode(b"", final=True))
        text, self._ready, self._held = self._ready + ("" if self.stopped else self._held), "", ""
        return text

    def _take(self, text: str) -> bool:
        """Sort text into what is ready and what must wait. Whether a stop string is complete."""
        if not self._stop:
            self._ready += text
            return False
        text = self._held + text
        if found := self._found(text):
            at, _, self.stopped = min(found)
            self._ready += text[: at + len(self.stopped) if self._include_stop else at]
            self._held = ""
            return True
        cut = len(text) - self._unsure(text)
        self._ready += text[:cut]
        self._held = text[cut:]
        self._before = len(self._held) if self._early >= 0 else max(self._before - cut, 0)
        return False

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Complete stop strings that count: where they begin, their negative lengths, and they themselves."""
        if self._early >= 0:
            return []
        places = [(text.find(stop, max(self._before + 1 - len(stop), 0)), stop) for stop in self._stop]
        return [(at, -len(stop), stop) for at, stop in places if at >= 0]

    def _unsure(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a stop string."""
        longest = min(len(text), max(map(len, self._stop)) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self._stop)), 0)
