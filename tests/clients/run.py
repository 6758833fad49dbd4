"""Puts each client into an environment of its own, runs its script against a live server, and writes what came out.

    python -m tests.clients.run --out docs/clients.md        (or `make test-clients`)

The environments lie in build/clients and are kept. Ends with 1 where a check failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .locks import lock

# Some would tell their makers, or ask them for prices: nothing here leaves this machine.
SILENT = {
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}
# The clients see what is installed beside them, and nothing of ours.
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | SILENT
HERE = Path(__file__).parent
ROOT = HERE.parent.parent
READY = "Ready: "


@dataclass(frozen=True)
class Client:
    """`package` as pip or npm take it; `script` lies beside this file."""

    name: str
    package: str
    script: str

    @property
    def home(self) -> Path:
        return ROOT / "build" / "clients" / self.name.replace(",", "").replace(" ", "-")


CLIENTS = (
    Client("openai 1", "openai>=1,<2", "with_openai.py"),
    Client("openai 2", "openai>=2,<3", "with_openai.py"),
    Client("openai 3", "openai>=3,<4", "with_openai.py"),
    Client("openai node 6", "openai@6", "with_openai.mjs"),
    Client("langchain-openai", "langchain-openai", "with_langchain.py"),
    Client("litellm", "litellm", "with_litellm.py"),
    Client("instructor", "instructor", "with_instructor.py"),
    Client("llm", "llm", "with_llm.py"),
    Client("pydantic-ai", "pydantic-ai-slim[openai]", "with_pydantic_ai.py"),
    Client("llama-index", "llama-index-llms-openai-like", "with_llama_index.py"),
    Client("AI SDK", "ai @ai-sdk/openai-compatible", "with_ai_sdk.mjs"),
    Client("AI SDK, openai", "ai @ai-sdk/openai", "with_ai_sdk_openai.mjs"),
    Client("openai-agents", "openai-agents", "with_openai_agents.py"),
    Client("haystack", "haystack-ai", "with_haystack.py"),
    Client("lm-eval", "lm-eval[api]", "with_lm_eval.py"),
    Client("llm-comply", "llm-comply", "with_llm_comply.py"),
)
CHECKS = ("chat", "stream", "tools", "JSON schema", "parse", "responses", "embeddings", "scores", "errors", "cancel")


def install(client: Client) -> list[str]:
    """Make the client's environment if it is not there. Returns the command that runs a script in it."""
    if client.script.endswith(".mjs"):
        client.home.mkdir(parents=True, exist_ok=True)
        if not (client.home / "node_modules").exists():
            shutil.copytree(lock(client.home.name), client.home, dirs_exist_ok=True)
            command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=client.home, check=True)
        return ["node"]
    python = client.home / "bin" / "python"
    if not python.exists():
        venv.create(client.home, with_pip=True)
        # The lock has all that there is to install: pip would take a dependency's extras for something else.
        words = ["-qq", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
        subprocess.run(
            [str(python), "-m", "pip", "install", *words, "-r", str(lock(client.home.name))], env=CLEAN, check=True
        )
    return [str(python)]


def version(client: Client) -> str:
    """The version that is installed of the package itself."""
    if client.script.endswith(".mjs"):
        name = client.package.split()[0].partition("@")[0]
        return str(json.loads((client.home / "node_modules" / name / "package.json").read_text())["version"])
    name = re.split(r"[>\[]", client.package)[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    python = str(client.home / "bin" / "python")
    return subprocess.run([python, "-c", code], env=CLEAN, capture_output=True, text=True, check=True).stdout.strip()


def run(client: Client, url: str) -> list[dict[str, Any]]:
    """The lines that its script printed, or one that says why it printed none."""
    command = [*install(client), str(HERE / client.script), url]
    done = subprocess.run(command, cwd=client.home, env=CLEAN, capture_output=True, text=True, timeout=600, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        lines.append({"check": "start", "ok": False, "seen": done.stderr.strip().splitlines()[-1][:200], "seconds": 0})
    return lines


def table(results: dict[Client, list[dict[str, Any]]]) -> str:
    """The page of docs: what passed, then what each check saw."""
    head = f"| client | version | {' | '.join(CHECKS)} |\n|---|---|{'---|' * len(CHECKS)}"
    rows = []
    for client, lines in results.items():
        found = {line["check"]: "yes" if line["ok"] else "**no**" for line in lines}
        cells = " | ".join(found.get(check, "") for check in CHECKS)
        rows.append(f"| {client.name} | {version(client)} | {cells} |")
    details = []
    for client, lines in results.items():
        said = [f"| {line['check']} | {line['seconds']:.2f} | {line['seen'].replace('|', '/')} |" for line in lines]
        details.append(f"### {client.name}\n\n| check | seconds | what it saw |\n|---|---|---|\n" + "\n".join(said))
    return PAGE.format(summary="\n".join([head, *rows]), details="\n\n".join(details))


PAGE = """# Clients

Other people's clients against `rustinfer serve smollm2`, each in an environment of its own, which holds what its lock
in [tests/clients/locks](../tests/clients/locks) says, by hash; `python -m tests.clients.locks` takes newer ones. Where
a cell is empty, its script in [tests/clients](../tests/clients) does not ask for that. Written by `make test-clients`.

{summary}

Tools are asked for with `tool_choice` set to `required` and to a name, whole and streamed, and a result is fed back.
Responses are conversations too: kept by the server, sent whole, or by reference. Scores are log-probabilities of
prompts. llm-comply judges each answer and event by the published schemas of OpenAI and of Open Responses. Errors are an
unknown model, a value out of range, and a stream that would not fit the context. Cancel closes a stream and waits until
the server holds no request.

## What each check saw

{details}
"""


def serve() -> tuple[subprocess.Popen[str], str]:
    """A server on a free port, and its address once it is ready."""
    command = [sys.executable, "-m", "rustinfer.cli", "serve", "smollm2", "--port", "0", "--max-model-len", "2048"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(READY):
            return process, line.removeprefix(READY).strip()
    raise SystemExit(f"the server did not start: exit code {process.wait()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the result table")
    parser.add_argument("--only", action="append", metavar="NAME", help="this client alone; may be given again")
    args = parser.parse_args()
    chosen = [client for client in CLIENTS if not args.only or client.name in args.only]
    for client in chosen:
        print(f"{client.name}: {' '.join(install(client)[:1])} {client.package}", flush=True)
    process, url = serve()
    try:
        results = {client: run(client, url) for client in chosen}
    finally:
        process.terminate()
        process.wait(60)
    for client, lines in results.items():
        for line in lines:
            print(f"{client.name:18}{line['check']:14}{'ok' if line['ok'] else 'FAILED':8}{line['seen']}")
    if args.out:
        args.out.write_text(table(results))
    return 0 if all(line["ok"] for lines in results.values() for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
