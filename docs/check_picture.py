"""Draws docs/check.svg: what `bptt-oracle check` prints here, as a picture for the README.

python docs/check_picture.py        (in the environment where the project is installed)
"""

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 132


def picture(*options: str) -> str:
    """What `bptt-oracle check` with these options prints on a terminal, as SVG. Exits if it does
    not agree."""
    command = [sys.executable, "-m", "bptt_oracle", "check", *options]
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    ran = subprocess.run(command, env=os.environ | terminal, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"nothing was drawn: `bptt-oracle check` ended with status {ran.returncode}")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(ran.stdout))
    return console.export_svg(title="bptt-oracle check")


def main() -> None:
    """Run the default check, which takes a minute, and save its picture."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    Path(__file__).with_name("check.svg").write_text(picture())


if __name__ == "__main__":
    main()
