"""What a request's parts have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a body: nothing is coerced, and fields that nobody knows change nothing."""

    model_config = ConfigDict(strict=True, extra="ignore")
