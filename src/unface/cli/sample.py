"""`unface sample`: an audit of what was annotated."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unface.cli.options import Json, print_json, tell

if TYPE_CHECKING:
    from unface.analysis.audit import Audit
    from unface.analysis.sampling import Plan, Sample


def sample(
    faces: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet to audit.", show_default=False)],
    task: Annotated[Path, typer.Argument(metavar="TASK", help="Folder of the sample.", show_default=False)],
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FACES", help="The task as people answered it: tell the errors.", show_default=False),
    ] = None,
    refined: Annotated[
        Path | None,
        typer.Option(metavar="FACES", help="Audit this table too, for instance after people.", show_default=False),
    ] = None,
    classes: Annotated[int, typer.Option(min=1, help="Classes drawn at random, and as many with most faces.")] = 10,
    images: Annotated[int, typer.Option(min=1, help="Images drawn of each class.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the random choice.")] = 0,
    below: Annotated[str, typer.Option(metavar="SYNSET", help="Draw from its classes, such as mammal.n.01.")] = "",
    split: Annotated[str, typer.Option(metavar="FOLDER", help="Draw images from below this folder only.")] = "",
    iou: Annotated[float, typer.Option(min=0.01, max=1, help="Overlap from which a box is an answer's face.")] = 0.5,
    precision: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Wanted half-width of an interval.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Draw images for people to look at; with their answers, count the errors.

    Without --answers, writes TASK/faces.parquet, the task for a review, and TASK/sample.json. With --answers, tells
    what FACES has too much and what it misses in them, how sure that is, and how many images a precision takes.
    """
    from unface.analysis.sampling import Plan

    if answers is None:
        _draw(faces, task, Plan(classes, images, seed, below, split), as_json)
    else:
        _audit(faces, task, answers, refined, iou, precision, as_json)


def _draw(faces: Path, task: Path, plan: "Plan", as_json: bool) -> None:
    import json

    import pyarrow as pa
    import pyarrow.compute as pc

    from unface.analysis.sampling import draw
    from unface.errors import InputError, one_line
    from unface.faces import read_faces, write_faces

    if task.exists() and (not task.is_dir() or any(task.iterdir())):
        raise InputError(f"{one_line(str(task))}: expected a folder that is empty or not there, got something else")
    table = read_faces(faces)
    drawn = draw(table, plan)
    chosen = pc.is_in(table["image_id"], value_set=pa.array(drawn.image_ids, pa.string()))
    task.mkdir(parents=True, exist_ok=True)
    record = json.dumps(drawn.record(), ensure_ascii=False, indent=1)
    (task / "sample.json").write_text(record + "\n", encoding="utf-8")
    write_faces(task / "faces.parquet", table.filter(chosen))
    tell(f"{len(drawn.image_ids)} images of {len(drawn.groups)} groups: {one_line(str(task / 'faces.parquet'))}")
    if as_json:
        print_json({"task": str(task), **drawn.record()})


def _audit(
    faces: Path, task: Path, answers: Path, refined: Path | None, iou: float, precision: float, as_json: bool
) -> None:
    from dataclasses import asdict

    from unface.analysis.audit import audit, certainty, table1
    from unface.faces import read_faces
    from unface.faces.classes import is_wnid

    drawn = _read_sample(task / "sample.json")
    audited = {"detected": read_faces(faces)}
    if refined:
        audited["refined"] = read_faces(refined)
    found: Audit = audit(drawn, read_faces(answers), audited, iou)
    if found.unanswered:
        tell(f"{found.unanswered} of {len(drawn.image_ids)} images are not answered and not counted")
    tables = [table1(found, any(is_wnid(group.class_name) for group in drawn.groups)), certainty(found, precision)]
    if as_json:
        rows = [dict(zip(tables[1].header, row, strict=True)) for row in tables[1].rows]
        print_json({**asdict(found), "certainty": rows})
        return
    print("\n\n".join(table.text() for table in tables))


def _read_sample(path: Path) -> "Sample":
    import json

    from unface.analysis.sampling import Sample
    from unface.errors import InputError, one_line

    try:
        return Sample.from_record(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{one_line(str(path))}: expected the sample that was drawn, found nothing there") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        got = one_line(error)[:200]
        raise InputError(f"{one_line(str(path))}: expected what unface sample wrote, got {got}") from None
