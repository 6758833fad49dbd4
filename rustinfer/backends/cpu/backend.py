"""The back end itself; the modules beside it add its kernels."""

from __future__ import annotations

import torch

from rustinfer.registry import Backend, Requires

from .library import missing

cpu = Backend("cpu", requires=Requires("cpu", frozenset({torch.float32, torch.bfloat16})), available=missing)
