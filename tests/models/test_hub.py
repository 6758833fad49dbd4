from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rustinfer.models.sources import locate, open_checkpoint

from . import directories

CODE = """
import sys
from rustinfer.errors import UserError
from rustinfer.models.sources import open_checkpoint
try:
    print(open_checkpoint("acme/tiny").name)
except UserError as error:
    print("refused:", error)
"""


def run(home: Path) -> str:
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_offline_the_cache_is_enough(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--acme--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    directories.write(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert run(tmp_path) == "acme/tiny\n"


def test_offline_and_not_in_the_cache(tmp_path: Path) -> None:
    answer = run(tmp_path)
    assert answer.startswith("refused: acme/tiny: not in the hub's cache, and the hub cannot be reached")
    assert answer.count("\n") == 1


@pytest.mark.parametrize("failure", ["RepositoryNotFoundError", "GatedRepoError", "HfHubHTTPError"])
def test_refusals_of_the_hub_are_one_line(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    import huggingface_hub
    from huggingface_hub import errors

    from rustinfer.models.errors import UnknownModelError

    def refuse(*args: object, **kwargs: object) -> str:
        request = httpx.Request("GET", "https://hub.invalid")
        raise getattr(errors, failure)("no\nway", response=httpx.Response(404, request=request))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UnknownModelError, match=r"^acme/tiny: ") as error:
        locate("acme/tiny")
    assert "\n" not in str(error.value)
    with pytest.raises(UnknownModelError):
        open_checkpoint("acme/tiny")
