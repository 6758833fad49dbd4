"""What our source may not contain, judged by its syntax tree: T1, T4, T8, T10, T15, T23."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Saw

FILES = [*(ROOT / "rustinfer").rglob("*.py"), *(ROOT / "plugins").rglob("src/**/*.py")]
MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "starlette.staticfiles"}
NAMES = {"eval", "exec", "__import__"}
ATTRIBUTES = {"recv_pyobj", "send_pyobj", "recv_serialized", "form", "unsafe_load", "full_load", "system", "popen"}
IMPORTED = {"FileResponse", "StaticFiles", "BaseHTTPMiddleware", "recv_pyobj", "Unpickler"}
JINJA = {"Environment", "NativeEnvironment", "SandboxedEnvironment"}
SANDBOX = "rustinfer/text/sandbox.py"


def problems(tree: ast.AST, path: str) -> Iterator[str]:
    for node in ast.walk(tree):
        at = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (f"{at} imports {a.name}" for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if node.module in MODULES:
                yield f"{at} imports from {node.module}"
            yield from (f"{at} imports {a.name}" for a in node.names if a.name in IMPORTED)
            if node.module and node.module.split(".")[0] == "jinja2" and path != SANDBOX:
                yield from (f"{at} imports jinja2's {a.name}" for a in node.names if a.name in JINJA)
        elif isinstance(node, ast.Call):
            yield from (f"{at} {what}" for what in calls(node))
        elif isinstance(node, ast.Attribute) and node.attr == "url" and _named(node.value) == "request":
            yield f"{at} uses request.url, which the Host header writes"


def calls(node: ast.Call) -> Iterator[str]:
    words = {k.arg: k.value for k in node.keywords}
    name = _named(node.func)
    if name in NAMES:
        yield f"calls {name}"
    if isinstance(node.func, ast.Attribute):
        owner = _named(node.func.value)
        if node.func.attr in ATTRIBUTES and owner != "self":
            yield f"calls .{node.func.attr}"
        if (owner, node.func.attr) == ("yaml", "load"):
            yield "calls yaml.load"
        if (owner, node.func.attr) == ("torch", "load") and not _true(words.get("weights_only")):
            yield "calls torch.load without weights_only"
        if owner == "jinja2":
            yield f"calls jinja2.{node.func.attr}"
    if _true(words.get("shell")):
        yield "runs a shell"
    if _true(words.get("trust_remote_code")):
        yield "trusts remote code"


def _named(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _true(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def test_t1_t4_t10_t15_t23_nothing_dangerous_is_written(saw: Saw) -> None:
    """The syntax tree of every source file, searched for pickle, eval, shells, plain templates and such."""
    found = [p for path in FILES for p in problems(ast.parse(path.read_text()), path.relative_to(ROOT).as_posix())]
    assert found == []
    saw(f"none in {len(FILES)} files", None)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "socket.recv_pyobj()",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "jinja2.Template(text)",
        "from jinja2 import Environment",
        "subprocess.run(line, shell=True)",
        "request.url.path",
        "await request.form()",
        "from starlette.responses import FileResponse",
        "load(path, trust_remote_code=True)",
    ],
)
def test_the_search_finds(code: str) -> None:
    assert list(problems(ast.parse(f"async def f():\n    {code}"), "x.py"))


def test_t8_keys_are_compared_in_constant_time(saw: Saw) -> None:
    """The syntax tree of the comparison of keys."""
    tree = ast.parse((ROOT / "rustinfer" / "server" / "keys.py").read_text())
    (find,) = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "find"]
    assert "compare_digest" in ast.unparse(find)
    assert not [n for n in ast.walk(find) if isinstance(n, ast.Compare)]
    saw("hmac.compare_digest on SHA-256 digests of all keys, and no other comparison", None)


def test_t15_the_sandbox_is_the_immutable_one(saw: Saw) -> None:
    """The class that chat templates run in."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from rustinfer.text.sandbox import Sandbox

    assert issubclass(Sandbox, ImmutableSandboxedEnvironment)
    saw("jinja2's ImmutableSandboxedEnvironment, with bounds on time and size", None)


def test_relative_paths() -> None:
    assert all(Path(path).is_relative_to(ROOT) for path in FILES)
    assert len(FILES) > 150
