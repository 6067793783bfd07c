"""`unface stats`: how many faces, where, how large."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unface.cli.options import Json, print_json, tell

if TYPE_CHECKING:
    from unface.analysis.statistics import Statistics


def stats(
    faces: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write CSV tables and figures there.", show_default=False),
    ] = None,
    synsets: Annotated[
        list[str] | None,
        typer.Option("--synset", metavar="NAME", help="Another supercategory, such as dog.n.01; may be repeated."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Count classes below this folder only.", show_default="train, where it is ILSVRC"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count faces: per image, per class, per supercategory.

    A class is the folder that an image lies in. The paper's figures stand beside those of ILSVRC.
    """
    from dataclasses import asdict

    from unface.analysis.statistics import summarize
    from unface.analysis.tables import tables_of
    from unface.faces import read_faces

    statistics = summarize(read_faces(faces, candidates=False), synsets or (), split)
    written = _write(output, statistics) if output else []
    for path in written:
        tell(str(path))
    if as_json:
        print_json({**asdict(statistics), "written": [str(path) for path in written]})
        return
    print("\n\n".join(table.text() for table in tables_of(statistics)))


def _write(folder: Path, statistics: "Statistics") -> list[Path]:
    from unface.analysis.figures import figure2, save
    from unface.analysis.tables import classes, tables_of

    figure = figure2(statistics)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for table in [*tables_of(statistics), classes(statistics)]:
        paths.append(folder / f"{table.name}.csv")
        paths[-1].write_text(table.csv(), encoding="utf-8", newline="")
    return paths + save(figure, folder, "figure2")
