"""simonw's `llm`: python with_llm.py URL. The model is made known as its users do, by a file in its own folder."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

folder = tempfile.mkdtemp()
os.environ["LLM_USER_PATH"] = folder

import checks  # noqa: E402

Path(folder, "extra-openai-models.yaml").write_text(
    f"- model_id: local\n  model_name: {checks.MODEL}\n  api_base: {sys.argv[1]}/v1\n"
    "  api_key_name: local\n  supports_schema: true\n"
)
Path(folder, "keys.json").write_text('{"local": "none"}')

import llm  # noqa: E402 - it reads its folder's name when imported

model = llm.get_model("local")


def stream() -> str:
    parts = list(model.prompt(checks.QUESTION, temperature=0, max_tokens=16, stream=True))
    return f"{len(parts)} parts: {checks.names_paris(''.join(parts))}"


def structured() -> str:
    return checks.person(model.prompt(checks.ABOUT, schema=checks.PERSON, temperature=0, max_tokens=64).text())


checks.run({"stream": stream, "JSON schema": structured})
