"""Bytes to frames to `decode`, led by coverage of our own code: `python -m tests.protocol.fuzz [flags of libFuzzer]`.

Only `ProtocolError` may come out, and what is a message must come back the same once it is written again. Starts from
`corpus.txt`, and works in build/fuzz; `--keep` writes what it holds back to `corpus.txt` instead. Needs atheris.
"""

from __future__ import annotations

import sys
from pathlib import Path

WORK = Path("build/fuzz")


def main() -> None:
    """Hand over to libFuzzer, which ends the process: with 0, or after an exception with its input in a file."""
    import atheris

    with atheris.instrument_imports(include=["rustinfer.protocol"]):
        from . import fuzzed

    if sys.argv[1:] == ["--keep"]:
        lines = sorted({path.read_bytes().hex() for path in WORK.iterdir()}, key=lambda line: (len(line), line))
        fuzzed.CORPUS.write_text("\n".join(lines) + "\n")
        return
    WORK.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(fuzzed.CORPUS.read_text().split()):
        (WORK / f"{number}").write_bytes(bytes.fromhex(line))
    atheris.Setup([*sys.argv, str(WORK)], lambda data: fuzzed.one(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
