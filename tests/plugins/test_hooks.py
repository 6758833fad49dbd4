"""docs/plugins.md against the code: every hook with its exact signature, and every example run as a plugin."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rustinfer.registry import API_VERSION, Binder, Plugins, Policy, Target, hookspecs, load_plugins
from rustinfer.testing import check, problems

from .site import ROOT, python, write

DOCS = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("rustinfer_")}
CPU = Target(torch.device("cpu"), torch.float32)


def section(hook: str) -> str:
    return DOCS.split(f"\n### {hook}\n")[1].split("\n### ")[0].split("\n## ")[0]


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Everything loaded, and beside it the example of the hook that the test is named for."""
    hook = request.node.name.removeprefix("test_hook_")
    name = f"docs_{hook}"
    write(tmp_path, name, re.findall(r"```python\n(.*?)```", section(hook), re.DOTALL)[0])
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_plugins(strict=True)
    assert [record.hooks for record in loaded.records if record.name == name] == [(hook,)]
    return loaded


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_by_its_signature_and_words(hook: str) -> None:
    signature = str(inspect.signature(HOOKS[hook])).replace("'", "")
    assert f"```text\ndef {hook}{signature}\n```\n\n{inspect.getdoc(HOOKS[hook])}\n" in section(hook)


def test_no_other_hook_is_documented_and_each_has_a_test() -> None:
    assert set(re.findall(r"^### (\w+)$", DOCS, re.MULTILINE)) == HOOKS.keys()
    assert set(re.findall(r"^def (rustinfer_\w+)\(.*\) -> ", DOCS, re.MULTILINE)) == HOOKS.keys()
    assert {name.removeprefix("test_hook_") for name in globals() if name.startswith("test_hook_")} == HOOKS.keys()


def test_the_version_is_the_documented_one() -> None:
    assert f"`rustinfer.API_VERSION` is {API_VERSION}." in DOCS
    assert f"\nAPI_VERSION = {API_VERSION}\n" in DOCS


def test_the_environment_variables_are_those_of_the_code() -> None:
    code = (ROOT / "rustinfer" / "registry" / "plugins.py").read_text()
    assert set(re.findall(r"RUSTINFER_\w+PLUGINS", DOCS)) == set(re.findall(r"RUSTINFER_\w+PLUGINS", code))


def test_hook_rustinfer_ops(example: Plugins) -> None:
    op = example.registry.ops["soft_cap"]
    bound = Binder(example.registry, CPU).soft_cap(limit=30.0)
    torch.testing.assert_close(bound(torch.tensor([0.0, 1e4])), torch.tensor([0.0, 30.0]))
    assert problems(op) == []


def test_hook_rustinfer_backends(example: Plugins) -> None:
    kernels = example.registry.backends["acme"].kernels
    assert kernels.keys() == {"rms_norm", "linear"}
    refusals = set()
    for kernel in kernels.values():
        for case in kernel.op.make_cases(torch.float32, CPU.device):
            if refusal := kernel.refusal(CPU, kernel.op.complete(case.bound)):
                refusals.add(refusal)
            else:
                check(kernel, case, CPU)
    assert refusals == {"width is not a multiple of 8", "the weight is packed"}


def test_hook_rustinfer_models(example: Plugins) -> None:
    assert example.registry.models["AcmeForCausalLM"].__doc__ == "Llama under another name."


def test_hook_rustinfer_cli(example: Plugins, tmp_path: Path) -> None:
    said = python(tmp_path, "-m", "rustinfer.cli", "greet", "world")
    assert (said.stdout, said.returncode) == ("hello, world\n", 0), said.stderr


def test_hook_rustinfer_wrap(example: Plugins) -> None:
    import docs_rustinfer_wrap

    binder = Binder(example.registry, CPU, Policy(pins={"rms_norm": "reference"}), example.wrap)
    binder.site = "here"
    norm: Any = binder.rms_norm(weight=torch.ones(8), eps=1e-5)
    norm(torch.ones(2, 8))
    assert docs_rustinfer_wrap.calls == {"here": 1}
