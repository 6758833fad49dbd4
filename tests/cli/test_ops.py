"""`rustinfer ops`: the list, the reasons, the check."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest
import torch

from rustinfer.cli import main as cli
from rustinfer.cli import ops_check, ops_list, ops_why
from rustinfer.errors import UserError
from rustinfer.registry import Backend, Binder, Binding, Policy, Registry, Requires, Target, op

TARGET = Target(torch.device("cpu"), torch.float32)


@op()
def double(x: torch.Tensor, *, times: int = 2) -> torch.Tensor:
    """Twice x."""
    return x * times


def toy() -> tuple[Registry, Backend]:
    acme = Backend("acme", requires=Requires("cpu"))
    acme.kernel(double, when=lambda b: None if b["times"] == 2 else "only doubles")(lambda x, *, times=2: x + x)
    registry = Registry()
    registry.add_op(double, "toys")
    registry.add_backend(acme, "toys")
    return registry, acme


@pytest.fixture
def bindings() -> list[Binding]:
    registry, policy = toy()[0], Policy(prefer=("acme",))
    mixed, decode = Binder(registry, TARGET, policy), Binder(registry, TARGET.decoding(8), policy)
    for layer, times in enumerate((2, 2, 3, 2)):
        mixed.site = f"model.layers.{layer}.mlp"
        mixed.double(times=times)
    decode.site = "model.norm"
    decode.double()
    return mixed.bindings + decode.bindings


def test_the_list_says_what_flows_and_who_has_a_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert ops_list.describe(toy()[0], double) == {
        "op": "double",
        "flows": ["x"],
        "frozen at bind": ["times=2"],
        "kernels": ["acme", "reference"],
        "from": "toys",
    }
    assert cli.main(["ops", "list", "--json"]) == 0
    listed = {row["op"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["write_kv"]["flows"] == ["k", "v", "k_cache*", "v_cache*", "slots"]
    assert listed["rms_norm"]["frozen at bind"] == ["weight", "eps"]
    assert cli.main(["ops", "list"]) == 0
    assert "rms_norm" in capsys.readouterr().out


def test_layers_with_the_same_answer_share_a_row(bindings: list[Binding]) -> None:
    assert ops_why.cells(bindings) == [
        ("model.layers.0-1,3.mlp", "double", "any", "acme", ""),
        (
            "model.layers.2.mlp",
            "double",
            "any",
            "reference",
            "acme: only doubles; vnni: is not installed; cpu: is not installed; torch: is not installed",
        ),
        ("model.norm", "double", "decode, up to 8", "acme", ""),
    ]


def test_every_site_on_request(bindings: list[Binding]) -> None:
    sites = [row[0] for row in ops_why.cells(bindings, every=True)]
    assert sites == [*(f"model.layers.{i}.mlp" for i in range(4)), "model.norm"]
    assert ops_why.summary(bindings) == "5 bindings: 4 acme, 1 reference"


def test_selecting(bindings: list[Binding]) -> None:
    assert len(ops_why.select(bindings, None, None)) == 5
    assert [b.site for b in ops_why.select(bindings, "double", "layers.2")] == ["model.layers.2.mlp"]
    with pytest.raises(UserError, match="binds no op named nope: it binds double"):
        ops_why.select(bindings, "nope", None)
    with pytest.raises(UserError, match="no site of this model has 'nope' in its name"):
        ops_why.select(bindings, None, "nope")


def test_why_prints_a_table_or_json(
    bindings: list[Binding], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fake:
        def __enter__(self) -> Namespace:
            return Namespace(bindings=bindings)

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(ops_why, "open_llm", lambda model, options: Fake())
    assert cli.main(["ops", "why", "some"]) == 0
    shown = capsys.readouterr().out
    assert "model.layers.0-1,3.mlp" in shown
    assert "5 bindings: 4 acme, 1 reference" in shown
    assert cli.main(["ops", "explain", "some", "--json", "--site", "layers.2"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "site": "model.layers.2.mlp",
            "op": "double",
            "steps": "any",
            "kernel": "reference",
            "refusals": {
                "acme": "only doubles",
                "vnni": "is not installed",
                "cpu": "is not installed",
                "torch": "is not installed",
            },
        }
    ]


def test_why_of_a_real_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ops", "why", "nope"]) == 2
    assert cli.main(["ops", "why", "smollm2", "--pin", "rms_norm"]) == 2
    assert "write OP=BACKEND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "ops", "message"),
    [("nope", [], "no back end named nope"), ("acme", ["nope"], "acme has no kernel for nope; it has double")],
)
def test_check_refuses_what_is_not_there(
    backend: str, ops: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops_check, "load_plugins", lambda: Namespace(registry=toy()[0]))
    with pytest.raises(UserError, match=message):
        ops_check.run(Namespace(backend=backend, op=ops))


def test_check_runs_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(ops_check, "load_plugins", lambda: Namespace(registry=toy()[0]))
    monkeypatch.setattr(pytest, "main", lambda arguments: called.append(arguments) or 1)
    assert ops_check.run(Namespace(backend="acme", op=["double"])) == 1
    (arguments,) = called
    assert arguments[:4] == ["--pyargs", "rustinfer.testing.suite", "--backend", "acme"]
    assert arguments[-2:] == ["-k", "acme-double-"]
