"""Conformance of a back end's kernels on the real device, shared out over processes because each case compiles anew."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import traceback

from .world import registry


def child(share: int, shares: int, deadline: float, backends: list[str], ops: list[str]) -> None:
    """Judge every `shares`-th point; one line for each failure, a count at the end."""
    from rustinfer.testing.points import points

    found = registry("triton", "cublas")
    passed = failed = refused = late = 0
    for backend in (found.backends[name] for name in backends):
        every = [point for point in points(backend) if not ops or point.kernel.op.name in ops]
        # Should time run out, each kernel has been judged on some of its cases rather than some kernels on all.
        random.Random(0).shuffle(every)
        for number, point in enumerate(every):
            if number % shares != share:
                continue
            if time.time() > deadline:
                late += 1
                continue
            try:
                if point.refusal():
                    refused += 1
                    continue
                point.test()
                passed += 1
            except Exception as error:  # a kernel may fail in any way, and the others are to be judged too
                failed += 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                words = " ".join(str(error).split())[:260]
                print(f"FAIL {point}: {type(error).__name__}: {words} [{place.name}:{place.lineno}]", flush=True)
                if "illegal" in words or "device-side" in words:
                    print(f"CONTEXT LOST after {point}", flush=True)
                    break
    print(f"COUNT {passed} {failed} {refused} {late}", flush=True)


def judge(
    shares: int = 14, seconds: float = 170, backends: tuple[str, ...] = ("triton", "cublas"), ops: tuple[str, ...] = ()
) -> dict[str, object]:
    """Start the processes, gather their lines. Without `ops` every op is judged."""
    deadline = str(time.time() + seconds)
    command = [sys.executable, "-m", "benchmarks.gpu.judged"]
    running = [
        subprocess.Popen(
            [*command, str(i), str(shares), deadline, ",".join(backends), ",".join(ops)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(shares)
    ]
    counts, failures = [0, 0, 0, 0], []
    for process in running:
        out, err = process.communicate(timeout=seconds + 120)
        lines = out.splitlines()
        failures += [line for line in lines if not line.startswith("COUNT")]
        if process.returncode:
            failures.append(f"PROCESS ended with {process.returncode}: {err[-600:]}")
        for line in lines:
            if line.startswith("COUNT"):
                counts = [a + int(b) for a, b in zip(counts, line.split()[1:], strict=True)]
    return dict(zip(("passed", "failed", "refused", "late"), counts, strict=True)) | {"failures": failures}


if __name__ == "__main__":
    names = [list(filter(None, text.split(","))) for text in sys.argv[4:6]]
    child(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *names)
