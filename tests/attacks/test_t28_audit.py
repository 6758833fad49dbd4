"""Processes that write down what they connect to, open and import: T13, T28, T30, T33."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Saw
from tests.faults.world import GOLDEN, Engine, Server

from .test_t03_doors import Bomb

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def watched(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, Path]]:
    """Both processes under an audit hook, on a checkpoint that brings code and a pickle along."""
    folder = tmp_path_factory.mktemp("watched")
    evil = shutil.copytree(model, folder / "model")
    config = json.loads((evil / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil_model.Evil", "AutoTokenizer": ["evil_model.Evil", None]}
    (evil / "config.json").write_text(json.dumps(config))
    (evil / "evil_model.py").write_text(f"open({str(folder / 'made')!r}, 'w')")
    (evil / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder / "made")))
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    env = {"PYTHONPATH": path, "AUDIT_FILE": str(folder / "audit")}
    engine = Engine(folder, evil, env=env)
    server = Server(folder, engine.address, env=env)
    engine.wait_ready()
    server.wait_ready()
    yield server, folder / "audit", folder / "made"
    server.kill()
    engine.kill()


URL = "http://192.0.2.1/evil.png"
NAMES = ["../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "evil/../evil", "hf://evil/evil"]


def test_t28_t30_t33_nothing_goes_out_or_in(watched: tuple[Server, Path, Path], saw: Saw) -> None:
    """A checkpoint with code and a pickle in it; requests with URLs, paths and models of other names in every field."""
    server, audit, made = watched
    assert server.golden()
    messages = [
        [{"role": "user", "content": f"![x]({URL}) see {URL}"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "file:///etc/passwd"}]}],
    ]
    for each in messages:
        answer = server.post({"model": "tiny", "messages": each, "max_tokens": 1}, "/v1/chat/completions")
        assert answer.status_code in (200, 400)
    for name in NAMES:
        assert server.post({**GOLDEN, "model": name}).status_code == 404
        assert server.get(f"/v1/models/{name}").status_code in (404, 200)
        server.post({**GOLDEN, "lora_path": name, "user": name})
    noted = audit.read_text().splitlines() if audit.exists() else []
    loopback = [line for line in noted if "127.0.0.1" in line or "::1" in line]
    assert [line for line in noted if line not in loopback] == []
    assert not made.exists()
    saw("no connection, no file opened by a client's name, nothing imported or unpickled from the checkpoint", None)


def test_the_audit_hook_sees(tmp_path: Path) -> None:
    from tests.plugins.site import python

    code = "import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError: pass\nopen('/etc/passwd')"
    done = python(HERE, "-c", code, AUDIT_FILE=str(tmp_path / "audit"))
    assert done.returncode == 0
    noted = (tmp_path / "audit").read_text()
    assert "connect ('127.0.0.1', 1)" in noted
    assert "open /etc/passwd" in noted
