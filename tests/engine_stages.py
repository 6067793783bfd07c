"""Stages for the engine's tests; a module of its own, so that worker processes can import it."""

import errno
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from unface.engine import Item, Outcome
from unface.errors import ImageError, InputError


@dataclass
class Square:
    """Squares the number in `inputs`; odd behaviour by image id."""

    log: Path | None = None
    factor: int = 1
    behaviour: Mapping[str, str] = field(default_factory=dict)
    name = "square"
    schema = pa.schema([("image_id", pa.string()), ("square", pa.int64())])

    @property
    def parameters(self):
        return {"factor": self.factor}

    def setup(self):
        if self.behaviour.get("setup") == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if "setup" in self.behaviour:
            raise InputError(self.behaviour["setup"])

    def items(self, shard):
        """The numbers of a part; what is odd about the part itself."""
        match self.behaviour.get(f"part {shard.index}"):
            case "before":
                raise InputError("expected a whole part")
            case "after":
                yield from self._numbers(shard)
                raise InputError("expected more of the part")
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
        yield from self._numbers(shard)

    def _numbers(self, shard):
        for image_id in shard.part.images:
            yield Item(image_id, int(image_id), "expected a number" if image_id == self.behaviour.get("refuse") else "")

    def process(self, item: Item) -> Outcome:
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(item.image_id + "\n")
        match self.behaviour.get(item.image_id):
            case "fail":
                raise ImageError("expected good\nweather")
            case "bug":
                raise ZeroDivisionError
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "segfault once":
                flag = self.log.with_suffix(".flag")
                if not flag.exists():
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGSEGV)
            case "disk full":
                raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/x")
            case "slow":
                time.sleep(0.05)
        return Outcome({"image_id": item.image_id, "square": self.factor * item.inputs**2}, faces=1, bytes_in=2)

    def failed(self, item: Item):
        return {"image_id": item.image_id, "square": None}


@dataclass
class Squares(Square):
    """The same, five numbers at a time; each group is logged."""

    def setup(self):
        super().setup()
        self.at_once = 5

    def process_group(self, items):
        if self.log is not None:
            with self.log.with_suffix(".groups").open("a") as log:
                log.write(",".join(item.image_id for item in items) + "\n")
        made = []
        for item in items:
            try:
                made.append(self.process(item))
            except Exception as error:
                made.append(error)
        return made
