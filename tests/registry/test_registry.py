from __future__ import annotations

import pytest

from rustinfer.registry import Backend, DefinitionError, Registry, Requires

from .toys import backend, clear, registry, scale


def test_entries_know_their_owner() -> None:
    made = registry(backend())
    assert made.owner("op", "scale") == "toys"
    assert [kernel.backend for kernel in made.kernels(scale)] == ["toy"]
    assert made.kernels(clear) == []


def test_a_name_defined_twice_names_both_owners_and_adds_nothing() -> None:
    made = registry(backend())
    with pytest.raises(DefinitionError, match="back end toy is defined twice: by toys and by acme"):
        made.add([], [backend("other"), backend()], {}, "acme")
    assert list(made.backends) == ["toy"]
    with pytest.raises(DefinitionError, match="op scale is defined twice"):
        made.add_op(scale)
    made.add_model("Llama", dict, "toys")
    with pytest.raises(DefinitionError, match="model Llama is defined twice: by toys and by this call"):
        made.add_model("Llama", dict)


def test_the_reference_is_nobodys_back_end() -> None:
    with pytest.raises(DefinitionError, match="belongs to the ops"):
        Registry().add_backend(Backend("reference", requires=Requires("cpu")))


def test_fingerprints_differ_where_anything_does() -> None:
    plain, more = registry(), registry(backend())
    assert plain.fingerprint() == registry().fingerprint()
    assert plain.fingerprint() != more.fingerprint()
    plain.add([], [], {"Llama": dict}, "toys")
    assert plain.fingerprint() != registry().fingerprint()
