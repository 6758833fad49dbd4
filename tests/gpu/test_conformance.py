"""Every kernel of the GPU back ends against its op's reference, on the GPU that is here."""

from __future__ import annotations

import pytest
import torch

from rustinfer.registry import load_plugins
from rustinfer.testing.points import Point, points

pytestmark = pytest.mark.gpu
BACKENDS = ("cuda", "triton", "cublas")


def every() -> list[Point]:
    """The points of the back ends that are installed."""
    found = load_plugins().registry.backends
    return [point for name in BACKENDS if name in found for point in points(found[name])]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("point", every(), ids=str)
def test_kernel(point: Point) -> None:
    if reason := point.refusal():
        pytest.skip(reason)
    point.test()
