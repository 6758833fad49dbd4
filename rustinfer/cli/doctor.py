"""`rustinfer doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..flags import port
from .output import as_json, console
from .parser import examples

STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=port, default=8000, help="the port to check (default: 8000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.epilog = examples("rustinfer doctor", "rustinfer doctor --port 9000 --json")


def run(args: Namespace) -> int:
    """Print one line a check. Returns 1 where something that serving needs is missing."""
    from .checks import all_checks

    findings = all_checks(args.port)
    if args.json:
        as_json([asdict(finding) for finding in findings])
    else:
        out = console()
        for finding in findings:
            advice = f" - {finding.advice}" if finding.advice else ""
            out.print(f"[{STYLES[finding.state]}]{finding.state:<5}[/]", end="")
            out.print(f"{finding.what}: {finding.found}{advice}", markup=False, soft_wrap=True)
    return int(any(finding.state == "fail" for finding in findings))
