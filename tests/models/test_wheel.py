"""The size of a download, read while another process moves the files about."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path
from threading import Event, Thread

from rustinfer.models import wheel


def churn(root: Path, stop: Event) -> None:
    for number in count():
        if stop.is_set():
            return
        deep = root / f"pip-unpack-{number % 3}" / "inner"
        deep.mkdir(parents=True)
        (deep / "a.whl.part").write_bytes(b"12345")
        shutil.rmtree(deep.parent)


def test_directories_that_vanish_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "done.whl").write_bytes(b"123")
    stop = Event()
    other = Thread(target=churn, args=(tmp_path, stop))
    other.start()
    try:
        sizes = {wheel._growth(tmp_path) for _ in range(3000)}
    finally:
        stop.set()
        other.join()
    assert sizes <= {3, 5}
    assert wheel._growth(tmp_path) == 3
