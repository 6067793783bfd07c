"""Who works: an executor by name, and several machines on one output folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unface import processes
from unface.cli.options import ExecutorName, tell, worker_count
from unface.errors import InputError

if TYPE_CHECKING:
    from unface.engine import Executor


@contextmanager
def opened_executor(
    name: ExecutorName, workers: int | None, preload: Sequence[str], ray_address: str | None, gpus_per_worker: float
) -> Iterator["Executor"]:
    """The executor of a command.

    Args:
        name: Which.
        workers: Number of workers; None for one per core, of this machine or of the cluster.
        preload: Modules that local workers need.
        ray_address: Address of the cluster; None for that of this machine.
        gpus_per_worker: Share of a GPU that each worker gets on a cluster.

    Raises:
        InputError: The options do not go together, or there is no cluster.
    """
    if name is ExecutorName.ray:
        from unface.engine.ray import RayExecutor

        with RayExecutor(workers, ray_address, gpus_per_worker) as cluster:
            yield cluster
        return
    if ray_address is not None or gpus_per_worker:
        raise InputError("ray-address, gpus-per-worker: expected --executor ray with them, got local")
    processes.context(preload)  # the fork server imports while we do
    from unface.engine import LocalExecutor

    with LocalExecutor(worker_count(workers), preload) as executor:
        yield executor


@dataclass(frozen=True)
class Share:
    """One machine's share of the work on an output folder.

    Raises:
        InputError: The rank is not below the number of machines.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.rank >= self.world_size:
            raise InputError(
                f"rank: expected 0 to {self.world_size - 1} with world size {self.world_size}, got {self.rank}"
            )

    @property
    def is_all(self) -> bool:
        """Whether this machine works alone."""
        return self.world_size == 1

    def begin(self, work: Path) -> None:
        """Note that this machine is at work."""
        self._path(work, self.rank).unlink(missing_ok=True)

    def end(self, work: Path, rest: str) -> None:
        """Note that this machine is done; unless it is the last one, the command ends here.

        Args:
            work: The folder that the machines share.
            rest: What the last one does.

        Raises:
            Exit: Other machines are not done.
        """
        self._path(work, self.rank).parent.mkdir(parents=True, exist_ok=True)
        self._path(work, self.rank).touch()
        others = sum(not self._path(work, rank).exists() for rank in range(self.world_size))
        if others:
            tell(f"rank {self.rank} of {self.world_size} is done; {others} others are not: the last one writes {rest}")
            raise typer.Exit(0)

    def _path(self, work: Path, rank: int) -> Path:
        return work / "ranks" / f"{rank}-of-{self.world_size}"
