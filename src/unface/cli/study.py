"""`unface study`: train and evaluate a whole matrix of networks, and tell what it shows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unface.cli.options import Json, print_json, tell, tell_some
from unface.cli.study_results import report, tables, write_transfers
from unface.cli.train import ClassesOption, LabelledSource, LabelsOption
from unface.errors import one_line

if TYPE_CHECKING:
    from unface.study.config import Study
    from unface.study.planning import Plan

app = typer.Typer(
    help="What privacy costs: train and evaluate networks on original and obfuscated images, and compare.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def run(
    study_path: Annotated[Path, typer.Argument(metavar="STUDY", help="study.toml.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Output folder.", show_default="STUDY without its .toml, here"
        ),
    ] = None,
    is_plan: Annotated[
        bool, typer.Option("--plan", help="Only tell the runs, and what they will take: hours and disk.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate every network of STUDY in every setting, then make the tables, the figures and the page.

    Where STUDY names tasks in [[transfer]], the networks are finetuned for them too, as unface transfer does it.

    Interrupted, or grown by more networks, settings or seeds? The same command again does what is missing.
    """
    from unface.cli.destination import locked
    from unface.cli.train import require_torch

    require_torch()
    from unface.study.config import Finetuning, Run, Work, read_study
    from unface.study.display import RunsDisplay
    from unface.study.planning import plan_study
    from unface.study.running import do_all, epochs_of, open_tasks, pack_all, prepare, ready, state_of

    study = read_study(study_path)
    out = output or Path(study_path.stem)
    if is_plan:
        plan = plan_study(study, out)
        if as_json:
            print_json(_plan_record(plan))
        else:
            _tell_plan(study, plan)
        return
    tasks = open_tasks(study)
    works: list[Work] = [*study.runs, *study.finetunings]
    with locked(out):
        prepare(study, out)
        pack_all(study, lambda count: tell(f"packed: {count} images"))
        settings, epochs = study.file.eval_settings, study.recipe.epochs
        missing = [work for work in works if state_of(out, work, settings, epochs).state != "done"]
        tell(f"study: {len(works)} runs, {len(works) - len(missing)} of them done before")
        with RunsDisplay(len(missing), lambda work: epochs_of(study, tasks, work)) as display:
            failed = do_all(study, out, [work for work in missing if isinstance(work, Run)], display)
            transfers = [work for work in missing if isinstance(work, Finetuning)]
            failed += do_all(study, out, [work for work in transfers if ready(out, work)], display)
        left_out = [work.name for work in transfers if not ready(out, work)]
        made = [] if len(failed) + len(left_out) == len(works) else _write_results(out)
    tell_some(f"{len(failed)} runs failed; the same command tries them again:", failed, len(failed))
    tell_some(f"{len(left_out)} transfers left out, whose networks are not trained:", left_out, len(left_out))
    for path in made:
        tell(one_line(str(path)))
    if as_json:
        written = [str(path) for path in made]
        told = {"runs": len(works), "failed": failed, "left_out": left_out, "written": written}
        print_json({"output": str(out), **told})
    raise typer.Exit(1 if failed else 0)


@app.command()
def status(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The study's output folder.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Tell how far each run of a study is."""
    from unface.cli.train import require_torch

    require_torch()
    from unface.study.running import states_of

    states = states_of(out)
    if as_json:
        print_json({name: {"state": each.state, "detail": each.detail} for name, each in states.items()})
        return
    width = max((len(name) for name in states), default=0)
    for name, each in states.items():
        print(f"{name:<{width}} {each.state:<10} {each.detail}".rstrip())
    done = sum(each.state == "done" for each in states.values())
    print(f"{done} of {len(states)} runs are done")


@app.command()
def gradcam(
    src: LabelledSource,
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the pictures.", show_default=False)],
    weights: Annotated[str, typer.Option(metavar="WEIGHTS", help="As for unface evaluate.", show_default=False)],
    faces: Annotated[Path, typer.Option("--faces", metavar="FACES", help="faces.parquet of SRC.", show_default=False)],
    architecture: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the weights do not say.", show_default="as they say")
    ] = None,
    setting_names: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="NAME", help="Beside the original; again for more.", show_default="blurred"),
    ] = None,
    image_ids: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="ID", help="Again for more.", show_default="the first 8 with faces"),
    ] = None,
    labels: LabelsOption = None,
    classes: ClassesOption = None,
    shows_faces: Annotated[
        bool,
        typer.Option("--show-faces", help="Lay the maps over what the network saw; else all faces are hidden there."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw where a network looks in images as they are and with faces hidden (Grad-CAM, Figure 5a of the paper)."""
    from unface.cli.train import read_class_names, require_torch
    from unface.errors import InputError

    require_torch()
    from unface.study.architectures import input_px
    from unface.study.checkpoints import load_network
    from unface.study.evaluate import require_classes
    from unface.study.gradcam import draw, look, write_picture
    from unface.study.labelled import open_images
    from unface.study.reading import ViewReader, in_all
    from unface.study.recipes import Recipe
    from unface.study.settings import find_setting

    settings = [find_setting(name) for name in dict.fromkeys(["original", *(setting_names or ["blurred"])])]
    network = load_network(weights, architecture)
    images = in_all(open_images(src, faces, labels, read_class_names(classes) or network.classes), settings)
    names = images.image_ids.to_pylist()
    chosen = image_ids or [names[i] for i in images.face_counts.nonzero()[0][:8]]
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise InputError(f"image: expected images of {src} with a row in {faces}, got {one_line(unknown[0])}")
    require_classes(network, images.classes)
    px, resize_px = Recipe(**(network.recipe or {})).sizes_px(input_px(network.architecture))
    reader = ViewReader(images, settings)
    records = []
    for name in chosen:
        looks = look(network, reader, names.index(name), resize_px, px, shows_faces)
        path = dst / f"{name}.png"
        write_picture(path, draw(looks, images.classes))
        told = {each.setting: [images.classes[number] for number in each.classes] for each in looks}
        records.append({"image_id": name, "picture": str(path), "true_and_predicted": told})
        tell(one_line(str(path)))
    if as_json:
        print_json({"pictures": records})


def _write_results(out: Path) -> list[Path]:
    """Tables, figures and the page; what is missing for them is told."""
    from unface.analysis.study.output import write_figures, write_tables
    from unface.analysis.study.story import read_story
    from unface.errors import InputError
    from unface.report.study import write_study_report

    transfers = write_transfers(out)
    try:
        story = read_story(out)
    except InputError as error:
        tell(f"no tables yet: {one_line(error)}")
        return [out / "tables"] if transfers else []
    write_tables(story, out / "tables")
    write_figures(story, out / "figures")
    page = write_study_report(out, story)
    for note in story.notes:
        tell(one_line(note))
    return [out / "tables", out / "figures", page]


def _tell_plan(study: "Study", plan: "Plan") -> None:
    width = max(len(each.run.name) for each in plan.runs)
    for each in plan.runs:
        known = "measured" if each.is_measured else "assumed"
        print(f"{each.run.name:<{width}} {each.state:<10} {each.hours:>10.3g} h ({known})")
    print(
        f"{len(plan.runs)} runs on {plan.train_images:,} training and {plan.evaluation_images:,} evaluation images, "
        f"{study.recipe.epochs} epochs: {plan.hours_left:,.3g} device-hours left, {plan.disk_bytes / 1e9:,.2f} GB of "
        f"disk ({plan.packed_bytes / 1e9:,.2f} GB of it packed images)"
    )
    for name, task in plan.tasks.items():
        train, test = task.splits.train.images, task.splits.test.images
        print(f"transfer to {name}: {len(train):,} training and {len(test):,} test images")
    if not all(each.is_measured for each in plan.runs):
        print(
            f"Where no log of the study tells the rate, {plan.tflops:g} Tflop/s are assumed, sustained; "
            "computing.tflops states yours."
        )


def _plan_record(plan: "Plan") -> dict[str, object]:
    runs = [
        {"name": each.run.name, "state": each.state, "hours": each.hours, "measured": each.is_measured}
        for each in plan.runs
    ]
    return {"runs": runs, "hours_left": plan.hours_left, "disk_bytes": plan.disk_bytes, "tflops": plan.tflops}


app.command()(tables)
app.command()(report)
