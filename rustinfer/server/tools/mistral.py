"""Mistral: [TOOL_CALLS] and an array of calls, or [TOOL_CALLS]name[ARGS]{...} in newer models."""

from __future__ import annotations

import re
import secrets
import string
from functools import partial

from .format import ToolFormat
from .tagged import TaggedParser

_NAMED = re.compile(r"([\w.-]+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")
PARSER = partial(TaggedParser, opening="[TOOL_CALLS]", between=",]", named=_NAMED)


def new_id() -> str:
    """Nine letters and digits: these models' templates refuse anything else."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


MISTRAL = ToolFormat("mistral", "[TOOL_CALLS]", PARSER, special_tokens=True, new_id=new_id)
