"""`python -m rustinfer.cli`, the same as `rustinfer`."""

from __future__ import annotations

from .main import main

raise SystemExit(main())
