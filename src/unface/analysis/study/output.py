"""Writing a study's tables and figures."""

from pathlib import Path

from unface.analysis.figures import save
from unface.analysis.study.figures import figures_of
from unface.analysis.study.formats import condensed, latex, markdown
from unface.analysis.study.story import Story
from unface.analysis.study.tables import tables_of
from unface.analysis.tables import Table


def write_tables(story: Story, folder: Path) -> list[Path]:
    """Write `<table>.csv`, `.md` and `.tex` of every table, each beside its place and renamed; returns the paths."""
    return [path for table in tables_of(story) for path in write_table(table, folder)]


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write `<table>.csv`, `.md` and `.tex` of one table; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    short, paths = condensed(table), []
    for suffix, text in ((".csv", table.csv()), (".md", markdown(short)), (".tex", latex(short))):
        paths.append(folder / f"{table.name}{suffix}")
        beside = folder / f"{paths[-1].name}.part"
        beside.write_text(text, encoding="utf-8", newline="")
        beside.replace(paths[-1])
    return paths


def write_figures(story: Story, folder: Path) -> list[Path]:
    """Write `<figure>.svg` and `.png` of every figure; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, figure in figures_of(story).items() for path in save(figure, folder, name)]
