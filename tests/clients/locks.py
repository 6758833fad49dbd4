"""The exact packages of each client's environment, with their hashes: a client that is taken over must not get in here.

python -m tests.clients.locks        resolves all anew, and writes locks/ (Python 3.11 on Linux, x86-64)
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LOCKS = Path(__file__).with_name("locks")


def lock(name: str) -> Path:
    """The file for pip, or the folder for npm, of the environment of this name."""
    file = LOCKS / f"{name}.txt"
    return file if file.exists() else LOCKS / name


def pip_lock(package: str) -> str:
    """What pip would install for a package now, as a file of requirements."""
    words = ["install", "-qq", "--dry-run", "--ignore-installed", "--disable-pip-version-check", "--report", "-"]
    done = subprocess.run([sys.executable, "-m", "pip", *words, package], capture_output=True, text=True, check=True)
    found = []
    for each in json.loads(done.stdout)["install"]:
        name, version = each["metadata"]["name"], each["metadata"]["version"]
        found.append(f"{name}=={version} --hash=sha256:{each['download_info']['archive_info']['hashes']['sha256']}")
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def npm_lock(packages: str, folder: Path) -> None:
    """The two files from which `npm ci` installs."""
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "install", "--package-lock-only", "--silent", "--no-audit", "--no-fund", *packages.split()]
        subprocess.run(command, cwd=place, check=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(Path(place) / name, folder / name)


def main() -> None:
    """Write the lock of every client."""
    from .run import CLIENTS

    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    LOCKS.mkdir(exist_ok=True)
    for client in CLIENTS:
        if client.script.endswith(".mjs"):
            npm_lock(client.package, LOCKS / client.home.name)
        else:
            (LOCKS / f"{client.home.name}.txt").write_text(pip_lock(client.package))


if __name__ == "__main__":
    main()
