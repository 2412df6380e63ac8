"""acdc-doctor: what is there, what is missing, and the line that mends it."""

from __future__ import annotations

import argparse

from acdc_cli.commands.console import Parser, run_command
from acdc_cli.errors import EXIT_DONE, EXIT_FAILED
from acdc_cli.launch.installation import findings


def main() -> None:
    """The console script."""
    parser = Parser(prog="acdc-doctor", description="What is installed, what is missing, and the line that fixes it.")
    run_command("acdc-doctor", parser, _run)


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from acdc_cli.report.terminal import printed_at_once

    found = list(findings())
    table = Table("", "state", "", show_edge=False)
    color = {"ok": "green", "missing": "red", "without": "yellow"}
    for finding in found:
        table.add_row(finding.what, f"[{color[finding.state]}]{finding.state}", finding.detail)
    with printed_at_once(Console()) as console:
        console.print(table)
    for finding in found:
        if finding.fix:
            print(f"\n{finding.what}: {finding.fix}")
    return EXIT_FAILED if any(finding.state == "missing" for finding in found) else EXIT_DONE
