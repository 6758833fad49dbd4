from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rustinfer.ops.mutants import wrong
from rustinfer.registry import DefinitionError, op


def test_wrong_runs_the_reference_on_changed_arguments() -> None:
    @op()
    def scale(x: Tensor, *, by: float = 2.0) -> Tensor:
        return x * by

    wrong(scale, "triples")(lambda a: {"by": a["by"] + 1})
    assert scale.mutants["triples"](torch.tensor([1.0])).tolist() == [3.0]
    assert scale.mutants["triples"](torch.tensor([1.0]), by=4.0).tolist() == [5.0]
    with pytest.raises(DefinitionError, match="already"):
        wrong(scale, "triples")(lambda a: a)
