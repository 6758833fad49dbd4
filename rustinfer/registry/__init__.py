"""What exists, and choosing among it: ops, back ends, targets, policies, binders and plugins."""

from __future__ import annotations

from .backend import Backend, Kernel, Refusal, Requires
from .binder import Binder, Binding
from .errors import DefinitionError, NoKernelError, UnknownBackendError, UnknownOpError
from .fault import Faults, KernelFault
from .guard import Failure, Guard
from .hookspecs import API_VERSION, hookimpl
from .op import Case, Op, Tolerance, op
from .plugins import PluginRecord, Plugins, load_plugins
from .policy import REFERENCE, Policy
from .registry import ModelBuilder, Registry
from .shared import shared
from .target import Target
from .weight import FP8, INT4, INT8, Format, PackedWeight, Weight, dense, join
from .workspace import Workspace

__all__ = [
    "API_VERSION", "FP8", "INT4", "INT8", "REFERENCE", "Backend", "Binder", "Binding", "Case", "DefinitionError",
    "Failure", "Faults", "Format", "Guard", "Kernel", "KernelFault", "ModelBuilder", "NoKernelError", "Op",
    "PackedWeight", "PluginRecord", "Plugins", "Policy", "Refusal", "Registry", "Requires", "Target", "Tolerance",
    "UnknownBackendError", "UnknownOpError", "Weight", "Workspace", "dense", "hookimpl", "join", "load_plugins",
    "op", "shared",
]  # fmt: skip
