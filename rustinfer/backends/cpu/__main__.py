"""`python -m rustinfer.backends.cpu` compiles the kernels ahead of the first start."""

from .compiler import main

raise SystemExit(main())
