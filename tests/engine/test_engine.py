import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine_stages import Square, Squares
from unface.datasets import Part
from unface.engine import Ledger, LocalExecutor, Progress, join, plan, run_stage
from unface.errors import InputError, UnfaceError


def run(folder: Path, stage: Square, images: int = 40, workers: int = 2, size: int = 4, stamp: str = "", retry=False):
    names = [f"{i:03d}" for i in range(images)]
    parts = [Part("", stamp, tuple(names[start : start + size])) for start in range(0, images, size)]
    ledger = Ledger(folder / "ledger")
    with LocalExecutor(workers) as executor:
        shards = plan(parts, stage.parameters)
        report = run_stage(stage, shards, images, ledger, executor, Progress(quiet=True), retry)
    ledger.prune(len(parts))
    join((ledger.rows(index, stage.schema) for index in range(len(parts))), stage.schema, folder / "out.parquet")
    return report


def rows(folder: Path) -> dict[str, int | None]:
    return {row["image_id"]: row["square"] for row in pq.read_table(folder / "out.parquet").to_pylist()}


@pytest.mark.parametrize("images", [0, 1, 3, 4, 5, 40])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_becomes_a_row_in_order(tmp_path, images, workers):
    report = run(tmp_path, Square(), images, workers)
    assert list(rows(tmp_path).items()) == [(f"{i:03d}", i * i) for i in range(images)]
    assert (report.images, report.faces, report.bytes_in) == (images, images, 2 * images)


def test_a_second_run_does_nothing_and_writes_the_same_file(tmp_path):
    log = tmp_path / "log"
    run(tmp_path, Square(log))
    before = (tmp_path / "out.parquet").read_bytes()
    report = run(tmp_path, Square(log))
    assert len(log.read_text().split()) == 40
    assert report.resumed == 40
    assert (tmp_path / "out.parquet").read_bytes() == before


@pytest.mark.parametrize("change", [{"stamp": "new"}, {"size": 5}, {"stage": Square(factor=2)}])
def test_a_change_of_content_plan_or_parameters_is_done_again(tmp_path, change):
    run(tmp_path, Square())
    stage = change.pop("stage", Square())
    assert run(tmp_path, stage, **change).resumed == 0
    assert rows(tmp_path)["003"] == 9 * stage.factor


def test_a_shorter_dataset_leaves_no_old_rows(tmp_path):
    run(tmp_path, Square(), 40)
    run(tmp_path, Square(), 9)
    assert len(rows(tmp_path)) == 9
    assert {path.name.split(".")[0] for path in (tmp_path / "ledger").iterdir()} == {"000000", "000001", "000002"}


def test_failures_are_rows_and_stop_nothing(tmp_path):
    report = run(tmp_path, Square(behaviour={"007": "fail", "030": "bug"}))
    assert report.failures == {"ImageError": 1, "ZeroDivisionError": 1}
    failures = report.failure_rows.to_pylist()
    assert [(f["image_id"], f["stage"], f["error_class"]) for f in failures] == [
        ("007", "square", "ImageError"),
        ("030", "square", "ZeroDivisionError"),
    ]
    assert failures[0]["message"] == "expected good\\nweather"
    assert rows(tmp_path)["007"] is None
    assert rows(tmp_path)["008"] == 64


@pytest.mark.parametrize("images", [0, 1, 5, 7, 40])
def test_a_stage_may_process_images_in_groups(tmp_path, images):
    behaviour = {"001": "fail", "006": "bug", "refuse": "003"}
    logs = [tmp_path / name / "log" for name in ("one", "together")]
    for log, stage in zip(logs, (Square, Squares), strict=True):
        log.parent.mkdir()
        run(log.parent, stage(log, behaviour=behaviour), images, size=12)
    one, together = ((log.parent / "out.parquet").read_bytes() for log in logs)
    assert together == one
    if images == 40:
        groups = logs[1].with_suffix(".groups").read_text().split()
        assert "000,001,002,004" in groups, "what is refused is in no group"
        assert "005,006,007,008,009" in groups
        assert "010,011" in groups, "a group ends with its part"


def test_after_a_crash_a_group_is_done_one_by_one(tmp_path):
    log = tmp_path / "log"
    report = run(tmp_path, Squares(log, behaviour={"007": "segfault"}), images=12, workers=1, size=12)
    assert report.failures == {"WorkerDied": 1}
    assert rows(tmp_path) == {f"{i:03d}": None if i == 7 else i * i for i in range(12)}
    groups = log.with_suffix(".groups").read_text().split()
    assert groups == ["000,001,002,003,004", "005,006,007,008,009"], "never again in a group"


def test_what_failed_in_a_group_is_tried_again_alone(tmp_path):
    log = tmp_path / "log"
    run(tmp_path, Squares(log, behaviour={"001": "fail", "006": "bug"}), images=12, size=12)
    log.with_suffix(".groups").unlink()
    assert run(tmp_path, Squares(log), images=12, size=12, retry=True).failures == {}
    assert rows(tmp_path) == {f"{i:03d}": i * i for i in range(12)}
    assert log.with_suffix(".groups").read_text().split() == ["001", "006"]


def test_a_full_disk_in_a_group_ends_the_run(tmp_path):
    with pytest.raises(InputError, match="No space left"):
        run(tmp_path, Squares(behaviour={"007": "disk full"}), images=12, size=12)


def test_a_worker_that_dies_is_replaced_and_its_image_fails_after_one_retry(tmp_path):
    log = tmp_path / "log"
    report = run(tmp_path, Square(log, behaviour={"017": "segfault"}))
    assert log.read_text().split().count("017") == 2
    (failure,) = report.failure_rows.to_pylist()
    assert failure["image_id"] == "017"
    assert failure["error_class"] == "WorkerDied"
    assert "SIGSEGV" in failure["message"]
    assert rows(tmp_path) == {f"{i:03d}": i * i for i in range(40)} | {"017": None}


def test_an_image_that_kills_its_worker_once_is_done(tmp_path):
    report = run(tmp_path, Square(tmp_path / "log", behaviour={"017": "segfault once"}), workers=1)
    assert not report.failures
    assert rows(tmp_path)["017"] == 289


def test_two_killers_in_one_shard(tmp_path):
    report = run(tmp_path, Square(behaviour={"016": "segfault", "018": "segfault"}), workers=1)
    assert report.failures == {"WorkerDied": 2}
    assert rows(tmp_path)["017"] == 289


def test_a_full_disk_ends_the_run_with_one_line_and_can_be_resumed(tmp_path):
    with pytest.raises(InputError, match=r"^/somewhere/x: No space left on device$"):
        run(tmp_path, Square(behaviour={"030": "disk full"}))
    report = run(tmp_path, Square())
    assert report.resumed > 0
    assert rows(tmp_path) == {f"{i:03d}": i * i for i in range(40)}


def test_a_stage_that_cannot_be_set_up_ends_the_run(tmp_path):
    with pytest.raises(InputError, match="no weights"):
        run(tmp_path, Square(behaviour={"setup": "no weights"}))


def test_workers_that_cannot_start_end_the_run(tmp_path):
    with pytest.raises(UnfaceError, match=r"outside any image .SIGSEGV"):
        run(tmp_path, Square(behaviour={"setup": "segfault"}))


SCRIPT = """
import sys
from pathlib import Path
from engine_stages import Square, Squares
from test_engine import run
if __name__ == "__main__":
    run(Path(sys.argv[1]), Square(Path(sys.argv[1]) / "log", behaviour={f"{i:03d}": "slow" for i in range(40)}))
"""


@pytest.mark.parametrize("after_images", [1, 7, 19, 33])
def test_kill_of_the_whole_process_tree_loses_nothing(tmp_path, after_images):
    slow = {f"{i:03d}": "slow" for i in range(40)}
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    run(undisturbed, Square())
    killed = tmp_path / "killed"
    killed.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, str(script), str(killed)],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    log = killed / "log"
    while not log.exists() or len(log.read_text().split()) < after_images:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    report = run(killed, Square(log, behaviour=slow))
    assert report.images == 40
    assert (killed / "out.parquet").read_bytes() == (undisturbed / "out.parquet").read_bytes()
    assert not list(killed.rglob("*.part"))


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    log = tmp_path / "log"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("workers outlived their parent")


def test_a_refused_item_is_a_failure_that_is_not_processed(tmp_path):
    log = tmp_path / "log"
    report = run(tmp_path, Square(log, behaviour={"refuse": "005"}))
    (failure,) = report.failure_rows.to_pylist()
    assert (failure["image_id"], failure["error_class"], failure["message"]) == (
        "005",
        "ImageError",
        "expected a number",
    )
    assert "005" not in log.read_text().split()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_part_that_is_damaged_fails_as_a_whole(tmp_path, moment):
    """Also what was made of it before the damage showed does not count."""
    report = run(tmp_path, Square(behaviour={"part 3": moment}))
    (failure,) = report.failure_rows.to_pylist()
    assert (failure["image_id"], failure["error_class"]) == ("part 3", "InputError")
    assert sorted(rows(tmp_path)) == [f"{i:03d}" for i in range(40) if i // 4 != 3]


def test_a_part_that_kills_every_worker_ends_the_run(tmp_path):
    with pytest.raises(UnfaceError, match="outside any image, again and again"):
        run(tmp_path, Square(behaviour={"part 3": "segfault"}), workers=1)


def test_retry_failed_does_those_and_only_those(tmp_path):
    run(tmp_path, Square(behaviour={"007": "fail", "030": "bug"}))
    log = tmp_path / "log"
    assert run(tmp_path, Square(log)).failures == {"ImageError": 1, "ZeroDivisionError": 1}
    assert not log.exists()
    report = run(tmp_path, Square(log), retry=True)
    assert sorted(log.read_text().split()) == ["007", "030"]
    assert not report.failures
    assert rows(tmp_path) == {f"{i:03d}": i * i for i in range(40)}


@pytest.mark.parametrize("world_size", [1, 2, 3, 50])
def test_ranks_share_the_plan(world_size):
    parts = [Part("", str(i), (str(i),)) for i in range(40)]
    whole = {shard.index: shard.fingerprint for shard in plan(parts, {})}
    shares = [list(plan(parts, {}, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sorted(shard.index for share in shares for shard in share) == list(range(40))
    assert {shard.index: shard.fingerprint for share in shares for shard in share} == whole


def test_a_fingerprint_is_of_the_inputs_content_not_of_its_chunks():
    part = Part("", "", ("a", "b"))
    table = pa.table({"x": ["1", "2", "3", None]})
    apart = pa.concat_tables([table.slice(0, 1), table.slice(1)]).replace_schema_metadata({"a": "b"})

    def fingerprint(given):
        (shard,) = plan([part], {}, lambda index, part: {"table": given})
        return shard.fingerprint

    assert fingerprint(table) == fingerprint(apart)
    assert fingerprint(table) != fingerprint(pa.table({"x": ["1", "2", "3", ""]}))
