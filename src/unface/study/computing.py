"""On what a network is computed: device, precision, processes."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torch.distributed as dist
from torch import nn

from unface.errors import InputError, one_line

PRECISIONS = {
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "float64": torch.float64,
}
"""`bf16` and `fp16` are mixed: weights stay float32, and what may be is computed in the smaller type."""

WORKERS, DEVICE = "workers", "device"
"""Where JPEGs become pixels."""


@dataclass(frozen=True)
class Computing:
    """What may change speed and last digits, and nothing else.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, …; `auto` takes a GPU if there is one.
        precision: Of `PRECISIONS`.
        workers: Processes that read images; 0 reads in this one.
        micro_batch: Most images that go through the network at once in training; gradients add up to the batch.
            None for the whole share, which is halved where memory is short.
        compiled: Whether to run the network through torch.compile.
        deterministic: Whether to use only algorithms whose result does not depend on timing, and on a CPU one thread,
            since sums depend on how many there are.
        decode: Where the JPEGs of images without faces become pixels in training: `workers`, in those processes, or
            `device`, on the device, which changes last digits. Others are always decoded by the workers.

    Raises:
        InputError: Unknown precision, device or place to decode.
    """

    device: str = "auto"
    precision: str = "float32"
    workers: int = 0
    micro_batch: int | None = None
    compiled: bool = False
    deterministic: bool = False
    decode: str = WORKERS

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: expected {', '.join(PRECISIONS)}, got {one_line(self.precision)}")
        if self.decode not in (WORKERS, DEVICE):
            raise InputError(f"decode: expected {WORKERS} or {DEVICE}, got {one_line(self.decode)}")
        if self.decode == DEVICE and find_spec("torchcodec") is None:
            raise InputError(
                "decode: expected TorchCodec to be installed for it: install torchcodec, version 0.16 or later"
            )

    @property
    def torch_device(self) -> torch.device:
        """The device; each process of a machine takes its own GPU."""
        if self.device != "auto":
            return self._named_device()
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    def _named_device(self) -> torch.device:
        try:
            device = torch.device(self.device)
        except RuntimeError:
            device = torch.device("meta")
        if device.type not in ("cpu", "cuda"):
            raise InputError(f"device: expected auto, cpu or cuda, got {one_line(self.device)}")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device.type == "cuda" and (device.index or 0) >= count:
            raise InputError(f"device: expected cpu or one of the {count} GPUs that torch can use, got {self.device}")
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and input."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def placed(self, network: nn.Module) -> nn.Module:
        """A network on its device, channels last in memory."""
        placed: nn.Module = network.to(self.torch_device, self.dtype).to(memory_format=torch.channels_last)
        return placed

    def mixed(self) -> AbstractContextManager[object]:
        """Where the network is run in mixed precision, if it is."""
        if self.precision not in ("bf16", "fp16"):
            return nullcontext()
        return torch.autocast(self.torch_device.type, PRECISIONS[self.precision])

    @contextmanager
    def algorithms(self) -> Iterator[None]:
        """Choose algorithms inside a `with` block: those that are always the same, or the fastest."""
        before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, torch.get_num_threads()
        if self.deterministic:
            torch.set_num_threads(1)
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.benchmark = not self.deterministic
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.backends.cudnn.benchmark = before[1]
            torch.set_num_threads(before[2])


@dataclass(frozen=True)
class World:
    """The processes that train one network together, as torchrun starts them."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have made."""
        return self.rank == 0


@contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started, over NCCL on GPUs, else over gloo; alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
