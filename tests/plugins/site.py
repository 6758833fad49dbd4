"""Directories of installed packages: real ones made by pip, and broken ones written by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
INSTALL = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]


def install(site: Path, *names: str) -> Path:
    """Install packages of plugins/ by pip. They are built from copies, so that the tree stays as it is."""
    copies = site.with_name(site.name + "-source")
    for name in names:
        shutil.copytree(
            PLUGINS / name, copies / name, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
        )
    subprocess.run([sys.executable, *INSTALL, str(site), *(str(copies / name) for name in names)], check=True)
    return site


def write(site: Path, name: str, code: str, group: str = "rustinfer") -> None:
    """What pip leaves behind when it installs a plugin of one module: the module, and its metadata."""
    info = site / f"{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")


def python(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the site's packages are installed, with nothing else of this process's plugins.

    The cache stays: another has no kernels, and to compile them takes a busy machine minutes.
    """
    settings = {name for name in os.environ if name.startswith("RUSTINFER_")} - {"RUSTINFER_CACHE"}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        env=kept | {"PYTHONPATH": str(site)} | environment,
        cwd=site,
        capture_output=True,
        text=True,
        timeout=600,
    )
