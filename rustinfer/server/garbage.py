"""When Python looks for reference cycles: a look takes as long as there are objects, and everybody waits for it.

By default it looks at everything again and again while an answer of many objects grows, which was half of that answer's
cost. Here young objects are looked at as they come, and everything only when nobody is being served, or seldom.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

from rustinfer.heap import trim

YOUNG, MIDDLE = 5000, 2
"""New objects between two looks at the young ones, a millisecond each, and how many of these go with a longer one."""
NEVER = 1 << 30
QUIET_SECONDS = 10.0
"""Between two looks at everything while nobody is served."""
LONGEST_SECONDS = 60.0
"""Between two looks at everything in any case."""


def settle() -> None:
    """Once the program is loaded: what is there now stays, and need not be looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


async def tidy(busy: Callable[[], bool]) -> None:
    """Look at everything now and then, until cancelled; and give the system what is free, beside whatever goes on."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(QUIET_SECONDS)
        if not busy() or time.monotonic() - last >= LONGEST_SECONDS:
            gc.collect()
            last = time.monotonic()
        await asyncio.to_thread(trim)
