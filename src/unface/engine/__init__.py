"""The engine runs a stage over a dataset: shards, resume, failures, progress. It knows nothing of faces."""

from unface.engine.ledger import FAILURES_SCHEMA, Ledger
from unface.engine.local import LocalExecutor
from unface.engine.progress import Progress
from unface.engine.run import StageReport, run_stage
from unface.engine.shards import Item, Shard, cut, shard_size
from unface.engine.stage import Outcome, Stage

__all__ = [
    "FAILURES_SCHEMA",
    "Item",
    "Ledger",
    "LocalExecutor",
    "Outcome",
    "Progress",
    "Shard",
    "Stage",
    "StageReport",
    "cut",
    "run_stage",
    "shard_size",
]
