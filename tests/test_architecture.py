"""The floors of the house: a room imports from lower floors only."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "unface"

FLOORS = {
    "errors": 0,
    "boxes": 0,
    "processes": 0,
    "images": 1,
    "faces": 2,
    "datasets": 2,
    "weights": 2,
    "predictions": 2,
    "engine": 3,
    "detect": 4,
    "obfuscate": 4,
    "verify": 5,
    "review": 5,
    "study": 5,
    "analysis": 6,
    "report": 6,
    "cli": 7,
    "__main__": 8,
}


def room_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """Rooms of unface that a source file imports, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("unface.")}
    return rooms - {"__version__"}


def may_import(room: str, other: str) -> bool:
    if (room, other) == ("report", "analysis"):
        return True
    return room == other or FLOORS[other] < (3 if room == "analysis" else FLOORS[room])


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_imports_go_down(path):
    room = room_of(path)
    if room == "__init__":
        assert not imported_rooms(path.read_text())
        return
    assert room in FLOORS, f"{room} has no floor: give it one here and in docs/architecture.md"
    for other in imported_rooms(path.read_text()):
        assert may_import(room, other), f"{path}: {room} must not import {other}"


def test_the_rule_can_fail():
    assert imported_rooms("from unface.cli import main\nimport unface.boxes") == {"cli", "boxes"}
    assert not may_import("boxes", "cli")
    assert not may_import("detect", "obfuscate")
    assert may_import("cli", "boxes")
    assert may_import("analysis", "datasets")
    assert not may_import("analysis", "engine")
    assert may_import("report", "analysis")
    assert not may_import("analysis", "report")
