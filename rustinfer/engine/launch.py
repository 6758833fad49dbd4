"""Launching a step; and where that fails, finding the request that is to blame, or saying what killed the device."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ..device import first_line, lost, short_of_memory
from .errors import EngineDead
from .plan import Plan
from .sampled import Flight
from .sequence import State

log = logging.getLogger(__name__)
Launched = list[tuple[Plan, Flight]]
OURS = ("torch", "triton", "rustinfer.engine", "rustinfer.registry", "rustinfer.models")
SHOWN = 8


class Launches(Protocol):
    """What of a runner is needed here."""

    def launch(self, plan: Plan) -> Flight: ...

    def relieve(self) -> None: ...


class Launcher:
    """Launches plans. One that fails is launched again in halves, until the request to blame is alone: that one fails.

    What went wrong for want of memory is tried once more after the runner has given back what it can: a prompt that is
    alone, with half of its chunk.
    `fail` hears of each plan of one sequence that cannot be run, or (no error) need not be. `land` takes in what is in
    flight: to try again, the host has to know every token. Raises EngineDead where the device is lost.
    """

    def __init__(
        self, runner: Launches, fail: Callable[[Plan, Exception | None], None], land: Callable[[], None] = lambda: None
    ) -> None:
        self._runner, self._fail, self._land = runner, fail, land

    def __call__(self, plan: Plan) -> Launched:
        """The flights of the plan's parts, mostly one: as a whole it may fail, and some of its requests with it."""
        try:
            return [(plan, self._runner.launch(plan))]
        except Exception as error:
            check_alive(error, plan)
            self._runner.relieve()
            log.exception("a step of %d sequences failed, trying it in parts", len(plan))
            self._land()
            return self._smaller(plan, error)

    def _smaller(self, plan: Plan, error: Exception) -> Launched:
        if len(plan) > 1:
            return [pair for half in plan.halves() for pair in self._part(half)]
        if plan.sequences()[0].state is State.DONE:
            self._fail(plan, None)
            return []
        if short_of_memory(error):
            plan = plan.shortened() or plan
            try:
                return [(plan, self._runner.launch(plan))]
            except Exception as again:
                check_alive(again, plan)
                error = again
        self._fail(plan, error)
        return []

    def _part(self, plan: Plan) -> Launched:
        """A part of a plan, without those whose siblings have failed a moment ago, and the whole request with them."""
        for alone in plan.alone():
            if alone.sequences()[0].state is State.DONE:
                self._fail(alone, None)
        plan = plan.living()
        return self(plan) if plan else []


def check_alive(error: Exception, plan: Plan) -> None:
    """Raise EngineDead, in one line that tells all that is known, for an error after which the device is of no use."""
    told = type(error).__name__ == "KernelFault"  # the kernel itself says which it is; importing that imports torch
    if not told and not lost(error):
        return
    ids = [sequence.request.id for sequence in plan.sequences()]
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    raise EngineDead(
        f"{'a kernel gave up' if told else 'the device failed'}: {first_line(error)} "
        f"({'' if told else blame(error.__traceback__) + '; '}a step of {plan.tokens} tokens of {len(plan)} sequences; "
        f"requests {', '.join(ids[:SHOWN])}{more})"
    ) from error


def blame(trace: TracebackType | None) -> str:
    """The kernel that was running when it was noticed, by all that is known of it; or that it was noticed later."""
    from ..registry.owners import told_by  # not above: that imports torch

    if found := [told for frame, _ in traceback.walk_tb(trace) if (told := told_by(frame))]:
        return found[-1]
    names = [(frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame, _ in traceback.walk_tb(trace)]
    kernels = [(module, name) for module, name in names if not f"{module}.".startswith(tuple(f"{o}." for o in OURS))]
    if not kernels:
        return "noticed while waiting: the kernel that did it is not known, CUDA_LAUNCH_BLOCKING=1 names it"
    return "in {}.{}".format(*kernels[-1])
