"""Other people's clients, which are tried against us, cannot reach us by their releases: T39."""

from __future__ import annotations

import json
import re
import tomllib

from tests.clients.locks import LOCKS, lock
from tests.clients.run import CLIENTS
from tests.conftest import ROOT, Saw

LINE = re.compile(r"[A-Za-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}")


def test_t39_clients_are_locked(saw: Saw) -> None:
    """The environments of the clients that are tried against the server."""
    count = 0
    for client in CLIENTS:
        if client.script.endswith(".mjs"):
            packages = json.loads((lock(client.home.name) / "package-lock.json").read_text())["packages"]
            assert all(each["integrity"].startswith("sha512-") for name, each in packages.items() if name)
            count += len(packages) - 1
        else:
            lines = lock(client.home.name).read_text().splitlines()
            assert all(LINE.fullmatch(line) for line in lines)
            assert lines
            count += len(lines)
    assert {path.stem for path in LOCKS.iterdir()} == {client.home.name for client in CLIENTS}
    product = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not [name for name in product if re.match(r"litellm|langchain|openai|instructor|llm\b|llama", name)]
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line for line in pinned)
    saw(f"{count} packages, each of one version with its hash, in environments apart from the product's", None)
