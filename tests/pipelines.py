"""Stages run on a dataset and their tables written, as the commands do it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unface.cli.pipeline import Session, check_faces, hide_faces, ledger_of, read_failures, write_failures, write_ledger
from unface.cli.rows import TableRows
from unface.datasets import open_dataset
from unface.engine import StageReport
from unface.faces import read_faces
from unface.obfuscate import Obfuscation
from unface.obfuscate.stage import MANIFEST_SCHEMA, Writing
from unface.verify.chain import with_broken_lines
from unface.verify.stage import VERIFY_SCHEMA, Checking


def obfuscate_dataset(
    session: Session, src: Path | str, faces: pa.Table, obfuscation: Obfuscation, writing: Writing, dst: Path
) -> StageReport:
    dataset = open_dataset(src)
    survey = dataset.survey()
    report = hide_faces(session, dataset, survey, TableRows(faces, survey.parts), obfuscation, writing, dst)
    write_ledger(ledger_of(dst, "obfuscate"), survey.parts, MANIFEST_SCHEMA, dst / "manifest.parquet")
    write_failures(dst / "failures.parquet", report.failure_rows)
    return report


def verify_dataset(
    session: Session,
    src: Path | str,
    dst: Path,
    detector: str = "yunet",
    threshold: float = 0.5,
    same: bool = True,
    second: str = "",
    seal: dict | None = None,
) -> StageReport:
    dataset = open_dataset(src)
    survey = dataset.survey()
    tables = {
        "faces": read_faces(dst / "faces.parquet"),
        "manifest": with_broken_lines(pq.read_table(dst / "manifest.parquet"), seal),
        "failures": read_failures(dst),
    }
    inputs = {name: TableRows(table, survey.parts) for name, table in tables.items()}
    report = check_faces(session, dataset, survey, inputs, dst, Checking(detector, threshold, same, second))
    write_ledger(ledger_of(dst, "verify"), survey.parts, VERIFY_SCHEMA, dst / "verify.parquet")
    return report
