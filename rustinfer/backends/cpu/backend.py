"""The back end itself; the modules beside it add its kernels."""

from __future__ import annotations

import torch

from rustinfer.registry import Backend, Requires

from .amx import Untiled
from .library import missing

DTYPES = frozenset({torch.float32, torch.bfloat16})
PRODUCT = Untiled("cpu", DTYPES)
cpu = Backend("cpu", requires=Requires("cpu", DTYPES), available=missing)
