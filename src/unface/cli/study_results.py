"""`unface study tables` and `unface study report`: what a study's files tell."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unface.cli.options import Json, print_json, tell
from unface.errors import one_line

if TYPE_CHECKING:
    from unface.analysis.study.story import Choices, Story

Out = Annotated[Path, typer.Argument(metavar="OUT", help="The study's output folder.", show_default=False)]
Ddof = Annotated[
    int, typer.Option("--sem-ddof", min=1, max=2, help="Of standard errors over seeds; the paper's code has 2.")
]
Paper = Annotated[
    bool | None,
    typer.Option(
        "--paper/--no-paper", help="The paper's numbers beside.", show_default="where the classes are ILSVRC's"
    ),
]
Objects = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Boxes of the images' objects, for Figure 4: a CSV file (file, object_boxes_xyxy) or a folder of VOC XML.",
        show_default="objects.csv of OUT",
    ),
]
Enlarged = Annotated[
    bool, typer.Option("--enlarged", help="In Figures 3 and 4, measure the boxes with the paper's margin.")
]
OnlyFaces = Annotated[
    bool, typer.Option("--only-faces", help="In Figures 3 and 4, average over the images with faces of a class.")
]


def tables(
    out: Out,
    sem_ddof: Ddof = 1,
    paper: Paper = None,
    objects: Objects = None,
    enlarged: Enlarged = False,
    only_faces: OnlyFaces = False,
    as_json: Json = False,
) -> None:
    """Write every table (CSV, Markdown, LaTeX) and figure (SVG, PNG) of a study to OUT/tables and OUT/figures."""
    from unface.analysis.study.formats import condensed
    from unface.analysis.study.output import write_figures, write_tables
    from unface.analysis.study.story import read_story
    from unface.analysis.study.tables import headline

    story = read_story(out, _choices(sem_ddof, paper, objects, enlarged, only_faces))
    written = [*write_tables(story, out / "tables"), *write_figures(story, out / "figures")]
    written += write_transfers(out, sem_ddof)
    _tell_notes(story)
    if as_json:
        print_json({"headline": _headline(story), "notes": story.notes, "written": [str(path) for path in written]})
        return
    tell(f"{len(written)} files in {one_line(str(out / 'tables'))} and {one_line(str(out / 'figures'))}")
    print(condensed(headline(story)).text())


def write_transfers(out: Path, sem_ddof: int = 1) -> list[Path]:
    """Write the tables of what `unface transfer` left in OUT/transfer, if there is any; returns the paths."""
    from unface.analysis.study.output import write_table
    from unface.analysis.transfer_tables import transfer_tables

    found = transfer_tables(out / "transfer", sem_ddof)
    return [path for table in found for path in write_table(table, out / "tables")]


def report(
    out: Out,
    sem_ddof: Ddof = 1,
    paper: Paper = None,
    objects: Objects = None,
    enlarged: Enlarged = False,
    only_faces: OnlyFaces = False,
    as_json: Json = False,
) -> None:
    """Write OUT/report.html: one page that tells the whole story, for readers who never saw the paper."""
    from unface.analysis.study.story import read_story
    from unface.report.study import write_study_report

    story = read_story(out, _choices(sem_ddof, paper, objects, enlarged, only_faces))
    path = write_study_report(out, story)
    _tell_notes(story)
    if as_json:
        print_json({"report": str(path), "headline": _headline(story), "notes": story.notes})
        return
    print(path)


def _choices(ddof: int, paper: bool | None, objects: Path | None, enlarged: bool, only_faces: bool) -> "Choices":
    from unface.analysis.study.story import Choices

    return Choices(ddof, paper, enlarged, only_faces, objects)


def _tell_notes(story: "Story") -> None:
    for note in story.notes:
        tell(one_line(note))


def _headline(story: "Story") -> list[dict[str, object]]:
    """Drops in fractions."""
    return [
        {
            "comparison": drop.comparison.name,
            "architectures": drop.architectures,
            "seeds": drop.seeds,
            **{f"top{top}": drop.draws.of(number)._asdict() for number, top in enumerate((1, 5))},
        }
        for drop in story.drops
    ]
