"""What an engine counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Totals:
    """Counts since the start. Prompt tokens are counted when they arrive, and as computed when they are.

    Each of `drafts` guessed some tokens ahead, of which those that the model would have drawn itself were accepted.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    steps: int = 0
    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
