"""llm-comply, which judges by the schemas of OpenAI and of Open Responses: python with_llm_comply.py URL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import checks

NOT_HERE = {"chat-image-input", "image-input", "compact-response", "compact-missing-model"}
"""The model reads text only, and there is no /v1/responses/compact."""


def suite(form: str) -> str:
    """All of its tests of one form; raises where one of what the server has does not pass."""
    # It sets no limit to an answer's length, and a small model may not come to an end.
    where = ["-u", f"{sys.argv[1]}/v1", "-k", "none", "-m", checks.MODEL, "-i", "got 'incomplete',got 'length'"]
    command = [str(Path(sys.executable).with_name("llm-comply")), "run", *where, "--format", form, "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    results = [each for each in told["results"] if each["id"] not in NOT_HERE and each["status"] != "skipped"]
    failed = [f"{each['id']}: {each['errors'][:2]}" for each in results if each["status"] != "passed"]
    assert not failed, failed
    return f"{len(results)} tests of {form} passed"


checks.run({"chat": lambda: suite("openai-chat"), "responses": lambda: suite("open-responses")})
