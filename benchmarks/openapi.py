"""Hold the server against an OpenAPI document: schemathesis makes the requests, a fake engine the answers.

    python -m benchmarks.openapi --schemathesis PATH --out benchmarks/results/openapi/schemathesis.json
    python -m benchmarks.openapi --schemathesis PATH --document openai_chat.json --out .../openai.json

schemathesis is no dependency: install it in an environment of its own and give the path of its command. The document
is the server's own, or `--document`: OpenAI's published one, which is not kept here (the package llm-comply has it, as
specs/openai_chat.json), cut down to the operations that the server has. A failure of the kind "Schema-valid request
rejected" is a rule between fields or one about the model (its context, its vocabulary, its template) that no schema can
say, and in OpenAI's document what only OpenAI's models do (images, audio, hosted tools); anything else is a defect, but
for null, which stands for a field left out here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from rustinfer.cli.facts import save
from rustinfer.protocol.address import private_address
from tests.server.conftest import live
from tests.server.fake_engine import FakeEngine, card

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "negative_data_rejection,positive_data_acceptance,unsupported_method"
)
PHASES = "examples,coverage,fuzzing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", required=True, help="path of the command")
    parser.add_argument("--cases", type=int, default=110, help="random cases of each operation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--document", type=Path, metavar="FILE", help="OpenAI's document; left out, the server's own")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with (
        FakeEngine(private_address(), ends=True, card=card()) as engine,
        live(engine.address, any_model=True) as server,
    ):
        server.wait_ready()
        epoch, known, started = server.link.served.epoch, golden(server.url), time.monotonic()
        text = run(args, server.url)
        after = {
            "seconds": round(time.monotonic() - started),
            "engine_as_before": server.link.up and server.link.served.epoch == epoch and not engine.running,
            "known_answer_as_before": golden(server.url) == known,
        }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(args.out, summary(args, text) | after)
    sys.stdout.write(args.out.read_text())
    return 0


def golden(url: str) -> str:
    """What the engine says to a known request."""
    body = {"model": "any", "prompt": "a", "temperature": 0, "max_tokens": 50}
    return str(httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]["text"])


def run(args: argparse.Namespace, url: str) -> str:
    """What schemathesis printed; it leaves files where it runs."""
    with tempfile.TemporaryDirectory() as folder:
        where, checks = [f"{url}/openapi.json"], CHECKS
        if args.document is not None:
            shared = Path(folder) / "shared.json"
            shared.write_text(json.dumps(cut(json.loads(args.document.read_text()), url)))
            where, checks = [str(shared), "--url", f"{url}/v1"], CHECKS.replace("status_code_conformance,", "")
        command = [
            *(args.schemathesis, "run", *where, "--mode", "all", "-n", str(args.cases)),
            *("--seed", str(args.seed), "--phases", PHASES, "--checks", checks, "--continue-on-failure"),
            *("--request-timeout", "10"),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).stdout


def cut(document: dict[str, Any], url: str) -> dict[str, Any]:
    """OpenAI's document with the operations that the server has, too, and what it says of their success.

    It has next to nothing on errors, and a request without a key is no defect of a server that has none.
    """
    ours = httpx.get(f"{url}/openapi.json").json()["paths"]
    forms = {re.sub(r"{[^}]*}", "{}", path).removeprefix("/v1"): set(methods) for path, methods in ours.items()}
    paths = {
        path: {
            method: each for method, each in methods.items() if method in forms.get(re.sub(r"{[^}]*}", "{}", path), ())
        }
        for path, methods in document["paths"].items()
    }
    for each in (each for methods in paths.values() for each in methods.values()):
        each["responses"] = {"200": each["responses"]["200"]}
        # Nor can schemathesis judge a stream's events by it: tests/server/test_golden.py does, by OpenAI's own types.
        each["responses"]["200"].get("content", {})["text/event-stream"] = {}
    return {**document, "security": [], "paths": {path: methods for path, methods in paths.items() if methods}}


def summary(args: argparse.Namespace, text: str) -> dict[str, Any]:
    """What was done and what was found, by kind; the failures' messages are those that the server gave."""
    cases = re.search(r"([\d,]+) generated", text)
    failed = re.search(r"Failures:\n((?:  .*\n)+)", text)
    errors = re.search(r"Errors:\n((?:  .*\n)+)", text)
    answers = re.findall(r'"error":\{"message":"([^"]{0,160})', text)
    version = subprocess.run(
        [args.schemathesis, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "tool": version,
        "cases": int(cases[1].replace(",", "")) if cases else None,
        "failures": [line.strip(" ❌") for line in failed[1].splitlines()] if failed else [],
        "errors": [line.strip(" 🚫") for line in errors[1].splitlines()] if errors else [],
        "rejected": sorted(set(answers)),
    }


if __name__ == "__main__":
    sys.exit(main())
