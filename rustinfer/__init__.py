"""rustinfer: language models assembled from registered operators.

Names are imported on first use, so that `import rustinfer` and the command line stay fast and free of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .llm import LLM
    from .protocol.sampling import SamplingParams
    from .protocol.structured import StructuredOutputsParams
    from .registry import API_VERSION, Backend, Binder, Case, Requires, Target, hookimpl, op

__all__ = [
    "API_VERSION", "LLM", "Backend", "Binder", "Case", "Requires", "SamplingParams", "StructuredOutputsParams",
    "Target", "__version__", "hookimpl", "op",
]  # fmt: skip

_HOME = {"LLM": ".llm", "SamplingParams": ".protocol.sampling", "StructuredOutputsParams": ".protocol.structured"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, ".registry"), __name__), name)
