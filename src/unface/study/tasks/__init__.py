"""Tasks that networks are finetuned for: each is a small file that opens a dataset in its official layout.

A task has a name, splits, a head, a loss and a metric (`task.Task`); `open_task` finds and opens one.
"""

from importlib import import_module
from pathlib import Path

from unface.errors import InputError, one_line
from unface.study.tasks.task import Task, folder_name, task_name

TASKS = {
    "cifar10": "unface.study.tasks.cifar10:open_cifar10",
    "sun397": "unface.study.tasks.sun397:open_sun397",
    "celeba": "unface.study.tasks.celeba:open_celeba",
    "voc": "unface.study.tasks.voc:open_voc",
    "folder": "unface.study.tasks.folder:open_folder",
}
"""Functions of the task's name, the dataset's folder, and whether it may differ from what was published."""


def open_task(named: str, altered: bool = False) -> Task:
    """Open a task.

    Args:
        named: `cifar10:PATH`, `sun397:PATH` (its first partition; `sun397-2:PATH` to `sun397-10:PATH` the others),
            `celeba:PATH`, `voc:PATH` or `folder:PATH`.
        altered: Whether the dataset may be a part or a changed copy of what was published: counts and hashes are not
            checked then, and the task's name says so.

    Raises:
        InputError: No such task, or the dataset is missing, partial or contradicts itself.
    """
    name, place = parse_task(named)
    if not place.is_dir():
        raise InputError(f"{name}: expected the dataset's folder, found none at {one_line(str(place))}")
    module, _, attribute = TASKS[name.partition("-")[0]].partition(":")
    task: Task = getattr(import_module(module), attribute)(name, place, altered)
    return task


def parse_task(named: str) -> tuple[str, Path]:
    """The name and the folder in `NAME:PATH`; InputError if there is no such task."""
    name, _, place = named.partition(":")
    kind, _, number = name.partition("-")
    if kind not in TASKS or not place or (number and kind != "sun397"):
        raise InputError(f"task: expected {', '.join(f'{name}:PATH' for name in TASKS)}, got {one_line(named)}")
    return name, Path(place)


def results_name(named: str, altered: bool) -> str:
    """What the results of a task are called, and their folder; the dataset need not be there."""
    name, place = parse_task(named)
    return folder_name(place) if name == "folder" else task_name(name, altered)
