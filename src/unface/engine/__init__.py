"""The engine runs a stage over a dataset: shards, resume, failures, progress. It knows nothing of faces."""

from unface.engine.ledger import FAILURES_SCHEMA, Ledger, join
from unface.engine.local import LocalExecutor
from unface.engine.progress import Progress
from unface.engine.run import Executor, StageReport, run_stage, summary
from unface.engine.shards import Item, Shard, plan
from unface.engine.stage import Outcome, Stage

__all__ = [
    "FAILURES_SCHEMA",
    "Executor",
    "Item",
    "Ledger",
    "LocalExecutor",
    "Outcome",
    "Progress",
    "Shard",
    "Stage",
    "StageReport",
    "join",
    "plan",
    "run_stage",
    "summary",
]
