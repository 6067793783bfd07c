"""Do the runs of a study: each trains a network and evaluates it, and leaves files that say how far it is."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol

import torch

from unface import __version__
from unface.errors import InputError, UnfaceError, one_line
from unface.predictions import PRETRAINED
from unface.study.architectures import input_px
from unface.study.checkpoints import load_network
from unface.study.computing import WORKERS, Computing
from unface.study.config import Finetuning, Run, Study, Work, finetunings_of, require_same
from unface.study.evaluate import EvaluationTask, evaluate
from unface.study.labelled import open_images, read_classes
from unface.study.packed import process_context
from unface.study.reading import ViewReader, in_all, packed_reader
from unface.study.recipes import Recipe
from unface.study.tasks import open_task
from unface.study.tasks.task import Task
from unface.study.training import WEIGHTS, Pace, Training, read_log, train
from unface.study.transfer import NONE, transfer, transfer_of

FAILURE, EVALUATED = "failure.json", "evaluated.json"


class StudyDisplay(Protocol):
    """Who shows how a study goes on."""

    def started(self, run: Work) -> None:
        """A run is at work."""

    def progressed(self, run: Work, facts: Mapping[str, float]) -> None:
        """A line of a run's log."""

    def ended(self, run: Work, error: str) -> None:
        """A run is done, or failed."""


@dataclass(frozen=True)
class RunState:
    """How far a run is: `waiting`, `training`, `evaluating`, `done` or `failed`, with a detail for people."""

    state: str
    detail: str = ""


def prepare(study: Study, out: Path) -> None:
    """Write what an output folder holds besides runs: `study.json`, `faces.parquet`, `objects.csv`.

    Raises:
        InputError: The folder holds another study.
    """
    path = out / "study.json"
    record = {"unface_version": __version__, **study.record()}
    before = _read_json(path)
    if before:
        try:
            require_same(out, before, record)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path}: expected what a study wrote, got something else") from None
    out.mkdir(parents=True, exist_ok=True)
    for source, name in ((study.file.data.evaluation_faces, "faces.parquet"), (study.file.data.objects, "objects.csv")):
        if source is not None:
            part = out / f"{name}.part"
            shutil.copyfile(str(study.place(source)), part)
            part.replace(out / name)
    path.with_suffix(".part").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    path.with_suffix(".part").replace(path)


def pack_all(study: Study, advance: Callable[[int], None]) -> None:
    """Make the packed copies that a study asks for."""
    if study.file.data.packed is None:
        return
    if study.file.architectures:
        reader_of(study, "train", study.file.train_settings, advance=advance)
    reader_of(study, "evaluation", study.file.eval_settings, advance=advance)


def open_tasks(study: Study) -> dict[str, Task]:
    """The tasks that networks are finetuned for, by the names of their results.

    Raises:
        InputError: A dataset is missing or partial, or a task cannot have an architecture or a choice.
    """
    tasks = {}
    for name, table in study.transfers.items():
        tasks[name] = open_task(study.task(table), table.altered)
        for architecture in table.architectures or study.file.architectures:
            transfer_of(tasks[name], architecture, None, 0, study.choices(table))
    return tasks


def ready(out: Path, finetuning: Finetuning) -> bool:
    """Whether the weights that it begins with are there."""
    return finetuning.begun.train == NONE or (finetuning.begun.folder(out) / WEIGHTS).exists()


def state_of(out: Path, run: Work, eval_settings: Sequence[str], epochs: int) -> RunState:
    """How far a run is, by its files."""
    if isinstance(run, Finetuning):
        return _state_of_finetuning(out, run)
    folder = run.folder(out)
    files = [out / "predictions" / run.predictions(setting) for setting in eval_settings]
    if (folder / EVALUATED).exists() and all(file.exists() for file in files):
        return RunState("done")
    failure = _read_json(folder / FAILURE)
    if failure:
        return RunState("failed", str(failure.get("error", "")))
    if run.train == PRETRAINED or (folder / WEIGHTS).exists():
        return RunState("evaluating" if folder.exists() else "waiting")
    log = read_log(folder)
    if log:
        return RunState("training", f"epoch {log[-1]['epoch']:.0f} of {epochs}, loss {log[-1]['loss']:.3f}")
    return RunState("training" if folder.exists() else "waiting")


def _state_of_finetuning(out: Path, run: Finetuning) -> RunState:
    folder = run.folder(out)
    if (folder / "test" / EVALUATED).exists() and run.predictions(out).exists():
        return RunState("done")
    failure = _read_json(folder / FAILURE)
    if failure:
        return RunState("failed", str(failure.get("error", "")))
    if not ready(out, run):
        has_failed = (run.begun.folder(out) / FAILURE).exists()
        return RunState("waiting", f"for {run.begun.name}{', which failed' if has_failed else ''}")
    if (folder / WEIGHTS).exists():
        return RunState("evaluating")
    log, rates = read_log(folder), len(list(folder.glob("search/*/log.jsonl")))
    if log:
        return RunState("training", f"epoch {log[-1]['epoch']:.0f}, loss {log[-1]['loss']:.3f}")
    if rates:
        return RunState("training", f"to find the learning rate: number {rates}")
    return RunState("training" if folder.exists() else "waiting")


def states_of(out: Path) -> dict[str, RunState]:
    """How far each run of an output folder is, by name; InputError if no study was run there."""
    record = _read_json(out / "study.json")
    try:
        settings, epochs = record["eval_settings"], record["training"]["epochs"]
        runs: list[Work] = [Run(name, PRETRAINED) for name in record["pretrained"]]
        runs += [
            Run(architecture, setting, seed)
            for seed in record["seeds"]
            for architecture in record["architectures"]
            for setting in record["train_settings"]
        ]
        runs += finetunings_of(record.get("transfer", {}), record["seeds"])
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{one_line(str(out))}: expected the output folder of a study, got none") from None
    return {run.name: state_of(out, run, settings, epochs) for run in runs}


def do_run(study: Study, out: Path, run: Work, tell: Callable[[Mapping[str, float]], None]) -> None:
    """Train and evaluate, as far as that is not done: a run in every setting, or a finetuning on its task.

    Raises:
        UnfaceError: Input that cannot be used, or a training that cannot go on.
    """
    table, folder = study.file.computing, run.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).unlink(missing_ok=True)
    micro_batch, compiled, exact = table.micro_batch, table.compile, table.deterministic
    computing = Computing(table.device, table.precision, table.workers, micro_batch, compiled, exact, table.decode)
    if isinstance(run, Finetuning):
        _finetune(study, out, run, computing, tell)
    else:
        _train(study, out, run, computing, tell)


def _train(
    study: Study, out: Path, run: Run, computing: Computing, tell: Callable[[Mapping[str, float]], None]
) -> None:
    """Train a run's network, if it is not there, and evaluate it in every setting."""
    table, folder = study.file.computing, run.folder(out)
    source = study.pixels_from(WORKERS)
    weights, recipe, training, classes = run.weights, Recipe(**_sizes(study)), None, None
    if run.seed is not None:
        recipe = study.recipe
        reader = reader_of(study, "train", study.file.train_settings).only(run.train)
        training, classes = (
            Training(run.architecture, reader, recipe, run.seed, None, study.pixels_from(table.decode)),
            reader.images.classes,
        )
    judge = reader_of(study, "evaluation", study.file.eval_settings, classes=classes)  # before days of training
    if training is not None:
        pace = Pace(table.log_steps, table.checkpoint_seconds)
        weights = str(train(training, folder, computing, pace, _Told(tell)))
    network = load_network(weights, run.architecture)
    px, resize_px = recipe.sizes_px(input_px(run.architecture))
    task = EvaluationTask(network, judge, resize_px, px, study.name, source)
    evaluate(task, computing, out / "predictions", folder, lambda _: None)


def _finetune(
    study: Study, out: Path, run: Finetuning, computing: Computing, tell: Callable[[Mapping[str, float]], None]
) -> None:
    """Finetune a run's network for a task, as `unface transfer` does it."""
    table, begun = study.transfers[run.task], run.begun
    assert begun.seed is not None
    task = open_task(study.task(table), table.altered)
    features = None if begun.train == NONE else load_network(str(begun.folder(out) / WEIGHTS))
    asked = transfer_of(task, begun.architecture, features, begun.seed, study.choices(table), computing.workers)
    pace = Pace(study.file.computing.log_steps, study.file.computing.checkpoint_seconds)
    transfer(asked, out / "transfer" / run.task, computing, pace, _Told(tell))


def epochs_of(study: Study, tasks: Mapping[str, Task], run: Work) -> int:
    """Of each training of a run, or of a finetuning."""
    if isinstance(run, Run):
        return study.recipe.epochs
    return study.choices(study.transfers[run.task]).recipe(tasks[run.task].recipe).epochs


def do_all(study: Study, out: Path, runs: Sequence[Work], display: StudyDisplay) -> list[str]:
    """Do runs where the study says, here or on Ray; returns the names of those that failed."""
    if not runs:
        return []
    if study.file.computing.executor == "ray":
        return do_runs_on_ray(study, out, runs, study.file.computing.ray_address, display)
    return do_runs(study, out, runs, slots_of(study), display)


def do_runs(study: Study, out: Path, runs: Sequence[Work], slots: int, display: StudyDisplay) -> list[str]:
    """Do runs on this machine, each in a process of its own, one for each GPU at a time.

    Returns:
        Names of the runs that failed; why is in their folders.
    """
    waiting, failed = list(reversed(runs)), []
    free = list(reversed(range(slots)))
    busy: dict[Connection[Any, Any], tuple[Work, Any, int]] = {}
    try:
        while waiting or busy:
            while waiting and free:
                run, slot = waiting.pop(), free.pop()
                pipe, process = _start(study, out, run, slot)
                busy[pipe] = (run, process, slot)
                display.started(run)
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                run, process, slot = busy[pipe]
                message = _received(pipe)
                if isinstance(message, dict):
                    display.progressed(run, message)
                    continue
                process.join()
                error = f"its process ended ({_cause(process.exitcode)})" if message is None else message
                pipe.close()
                del busy[pipe]
                free.append(slot)
                if error:
                    _record_failure(out, run, error)
                    failed.append(run.name)
                display.ended(run, error)
    finally:
        for _, process, _ in busy.values():
            process.terminate()
    return failed


def do_runs_on_ray(
    study: Study, out: Path, runs: Sequence[Work], address: str | None, display: StudyDisplay
) -> list[str]:
    """Do runs on a Ray cluster, each with a GPU of its own where the cluster has any; `out` lies where all see it.

    Returns:
        Names of the runs that failed; why is in their folders.
    """
    from unface.engine.ray import RayExecutor

    failed = []
    out = out.resolve()  # a worker runs in some other folder
    with RayExecutor(1, address, 0.0):
        import ray

        cluster: Any = ray  # half of it is typed
        gpus = 1 if cluster.cluster_resources().get("GPU", 0) else 0
        remote = cluster.remote(num_gpus=gpus, num_cpus=1, max_retries=0)(_do_remotely)
        busy = {remote.options(num_returns="streaming").remote(study, out, run): run for run in runs}
        begun = set()
        while busy:
            (answer,), _ = cluster.wait(list(busy), num_returns=1, fetch_local=False)
            run = busy[answer]
            try:
                message = cluster.get(next(answer))
            except cluster.exceptions.RayError as lost:
                message = f"its process ended ({one_line(str(lost).strip().splitlines()[-1])[:200]})"
            if run not in begun:
                begun.add(run)
                display.started(run)
            if isinstance(message, dict):
                display.progressed(run, message)
            elif message is not None:
                del busy[answer]
                if message:
                    _record_failure(out, run, message)
                    failed.append(run.name)
                display.ended(run, message)
    return failed


@dataclass(frozen=True)
class _Told:
    """Shows a training by telling someone of its log."""

    tell: Callable[[Mapping[str, float]], None]

    def begin(self, name: str, steps: int, done: int) -> None:
        """Nothing to tell yet."""

    def advance(self, facts: Mapping[str, float]) -> None:
        """A line of the log."""
        self.tell(facts)


def reader_of(
    study: Study,
    part: Literal["train", "evaluation"],
    names: list[str],
    is_packed: bool = True,
    advance: Callable[[int], None] = lambda _: None,
    classes: Sequence[str] | None = None,
) -> ViewReader:
    """A reader of the training or the evaluation images that every setting has.

    Args:
        study: The study.
        part: Which images.
        names: Of the settings.
        is_packed: Whether to read the packed copy, if the study has one, and to make it first.
        advance: Is told of images that are packed.
        classes: The classes in order, where the study does not name them.
    """
    data = study.file.data
    places = (study.place(getattr(data, f"{part}_{what}")) for what in ("faces", "labels"))
    faces, labels = (None if place is None else Path(place) for place in places)
    if data.classes is not None:
        classes = read_classes(Path(str(study.place(data.classes))))
    images = open_images(str(study.place(getattr(data, part))), faces, labels, classes)
    settings = study.settings_of(names, part)
    reader = ViewReader(in_all(images, settings), settings)
    if data.packed is None or not is_packed:
        return reader
    root = Path(str(study.place(data.packed))) / part
    return packed_reader(reader, root, data.packed_px, study.file.computing.workers, advance)


def _sizes(study: Study) -> dict[str, Any]:
    return {"image_px": study.recipe.image_px, "resize_px": study.recipe.resize_px}


def _start(study: Study, out: Path, run: Work, slot: int) -> tuple[Any, Any]:
    context = process_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_do_here, args=(study, out, run, slot, theirs))
    process.start()
    theirs.close()
    return ours, process


def _do_here(study: Study, out: Path, run: Work, slot: int, pipe: Any) -> None:
    """A run's process: tells of its log, and at last what went wrong, if anything."""
    _end_with_parent()
    if study.file.computing.device == "auto" and "CUDA_VISIBLE_DEVICES" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(slot)
    with suppress(BrokenPipeError):
        pipe.send(_tried(study, out, run, lambda facts: pipe.send(dict(facts))))


def _do_remotely(study: Study, out: Path, run: Work) -> Iterator[Mapping[str, float] | str | None]:
    """A run on Ray: yields None as it begins, its log line by line, and at last what `_tried` says."""
    yield None
    told: SimpleQueue[Mapping[str, float] | str] = SimpleQueue()
    threading.Thread(target=lambda: told.put(_tried(study, out, run, told.put)), daemon=True).start()
    while not isinstance(message := told.get(), str):
        yield message
    yield message


def _tried(study: Study, out: Path, run: Work, tell: Callable[[Mapping[str, float]], None]) -> str:
    """Do a run; returns what went wrong in one line, or nothing."""
    try:
        do_run(study, out, run, tell)
    except UnfaceError as error:
        return one_line(error)
    except OSError as error:
        return f"{one_line(str(error.filename or 'system'))}: {error.strerror or one_line(error)}"
    except Exception as error:
        return f"unexpected {type(error).__name__}: {one_line(error)[:300]}"
    return ""


def _end_with_parent() -> None:
    """Die with the process that asked for the run: one that goes on alone would meet the next one in its folder."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _received(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"


def _record_failure(out: Path, run: Work, error: str) -> None:
    folder = run.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).write_text(json.dumps({"error": error}) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def slots_of(study: Study) -> int:
    """Runs that may be at work at a time on this machine: one for each GPU, else one."""
    return max(1, torch.cuda.device_count()) if study.file.computing.device == "auto" else 1
