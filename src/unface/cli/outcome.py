"""The end of a command that wrote an output folder: failures, verdict, report, summary, exit code."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from unface.cli.destination import write_record
from unface.cli.options import SHOWN, tell, tell_failures, tell_some
from unface.cli.pipeline import read_failures
from unface.datasets import Dataset, Survey
from unface.errors import InputError, one_line
from unface.weights import REGISTRY

if TYPE_CHECKING:  # what writes pages is loaded when one is written: `detect` writes none
    from unface.report.privacy import Known

ALL_DONE, SOME_FAILED, WRONG_USE, PRIVACY_FAILED = 0, 1, 2, 3
"""The exit codes."""


def require_images(src: str, survey: Survey) -> None:
    """Refuse a dataset in which there is nothing to do."""
    if not survey.parts and not survey.refused:
        others = sum(survey.others.values())
        raise InputError(f"{one_line(src)}: expected images, found none ({others} files of other kinds)")


def dataset_facts(dataset: Dataset, survey: Survey, images: int) -> dict[str, Any]:
    """The dataset as `run.json` holds it; `images` is how many a stage has met."""
    return {
        "kind": dataset.kind,
        "parts": len(survey.parts),
        "images": images,
        "refused": len(survey.refused),
        "other_files": sum(survey.others.values()),
        "other_suffixes": dict(survey.others),
    }


def model_facts(models: Mapping[str, str]) -> list[dict[str, str]]:
    """The models of a detector as `run.json` holds them."""
    licences = {weights.sha256: weights.licence for weights in REGISTRY.values()}
    return [
        {"name": name, "sha256": sha256, "licence": licences.get(sha256, "not known")}
        for name, sha256 in models.items()
    ]


def finish(dst: Path, record: dict[str, Any], known: "Known | None" = None) -> int:
    """Write `run.json` and the pages, tell people how it went, and return the exit code.

    Args:
        dst: The output folder.
        record: The run's record.
        known: What the user knows beside, for the privacy verdict.
    """
    from unface.report import write_report
    from unface.report.privacy import write_privacy
    from unface.verify.verdict import read_verdict

    failures = read_failures(dst)
    passed = True
    if (dst / "verify.parquet").exists():
        verdict = read_verdict(dst / "verify.parquet")
        record["verdict"] = verdict.record()
        passed = verdict.passed
    record["status"] = "done"
    write_record(dst, record)
    pages = [write_report(dst)]
    if "verdict" in record:
        pages.append(write_privacy(dst, known))
    _tell_dataset(record)
    _tell_weights(dst)
    tell_failures(failures.slice(0, SHOWN).to_pylist(), len(failures), dst / "failures.parquet")
    _tell_verdict(dst, record)
    tell(f"report: {', '.join(one_line(str(page)) for page in pages)}")
    if not passed:
        return PRIVACY_FAILED
    unchecked = record.get("verdict", {}).get("images", {}).get("unchecked", 0)
    return SOME_FAILED if len(failures) or unchecked else ALL_DONE


def _tell_dataset(record: Mapping[str, Any]) -> None:
    dataset, stages = record.get("dataset", {}), record.get("stages", {})
    if others := dataset.get("other_files"):
        kinds = ", ".join(f"{n} {suffix or '(no suffix)'}" for suffix, n in dataset["other_suffixes"].items())
        tell(f"{others} files of other kinds are not published: {one_line(kinds)}")
    if hidden := stages.get("obfuscate"):
        published = hidden["images"] - sum(hidden["failures"].values())
        tell(f"{published} images published, {hidden['faces']} faces hidden")


def _tell_weights(dst: Path) -> None:
    from unface.verify.stage import MIN_FACE_WEIGHT

    manifest = pq.read_table(dst / "manifest.parquet", columns=["image_id", "preset", "min_face_weight"])
    weak = manifest.filter(manifest["min_face_weight"].to_numpy() < MIN_FACE_WEIGHT)
    lines = [
        f"{one_line(row['image_id'])}: {1 - row['min_face_weight']:.0%} of the original left in a face "
        f"({row['preset']} preset)"
        for row in weak.slice(0, SHOWN).to_pylist()
    ]
    tell_some(f"warning: faces of {len(weak)} images are not wholly hidden:", lines, len(weak))


def _tell_verdict(dst: Path, record: Mapping[str, Any]) -> None:
    from unface.verify.verdict import definite_findings

    if "verdict" not in record:
        return
    verdict = record["verdict"]
    if verdict["definite"]:
        lines = definite_findings(dst / "verify.parquet", SHOWN)
        tell_some("privacy check FAILED:", lines, verdict["definite"])
        return
    weaker = sum(verdict["listed"].values())
    tell(f"privacy check passed: nothing definite found, {weaker} weaker findings are listed in the report")
