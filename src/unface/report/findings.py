"""What verify found: the verdict in words, the findings in order of weight."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unface.report.folder import Folder
from unface.report.numbers import plural

CHECKS = {
    "uncovered": "something face-like that no recorded box covers",
    "agreed": "two detectors see a face that no recorded box covers, the run's own less than surely",
    "second": "the second detector alone sees a face that no recorded box covers",
    "covered": "an obfuscated face that the detector still sees",
    "weight": "a box keeps more of the original than it should",
    "sigma": "a face is blurred less than its method promises",
    "changed": "a file or its pixels are not what the manifest recorded",
    "manifest": "a line of the manifest is not the one that was sealed",
    "missing": "an image is neither published nor among the failures",
    "extra": "a published file without an original or a record",
    "geometry": "format, size, orientation or depth are not the original's",
    "metadata": "metadata is left that may show or name a person",
    "unchecked": "could not be checked",
}

DEFINITE_SHOWN = 100
LISTED_SHOWN = 200


@dataclass(frozen=True)
class Verdict:
    """The outcome in words: state is passed, failed or unchecked."""

    state: str
    sentence: str
    checked: list[str]
    not_checked: list[str]


class CheckCount(NamedTuple):
    """How often a check fired."""

    check: str
    meaning: str
    definite: int
    listed: int


@dataclass(frozen=True)
class FindingsSummary:
    """Counts of all findings, and the first rows of each kind as dicts of the findings' columns."""

    checks: list[CheckCount]
    definite: list[dict[str, Any]]
    definite_count: int
    listed: list[dict[str, Any]]
    listed_count: int
    statuses: dict[str, int]
    rechecked: int
    residual: list[float]
    measured: int


def summarise(folder: Folder) -> FindingsSummary | None:
    """Count and order the findings; None where verify left no table."""
    verify, findings = folder.verify, folder.findings
    if verify is None or findings is None:
        return None
    definite = is_definite(findings)
    order = _order(findings)
    strong, weak = order[definite[order]], order[~definite[order]]
    residual = pc.drop_null(verify["residual_weight"])
    return FindingsSummary(
        _check_counts(findings, definite),
        findings.take(strong[:DEFINITE_SHOWN]).to_pylist(),
        len(strong),
        findings.take(weak[:LISTED_SHOWN]).to_pylist(),
        len(weak),
        value_counts(verify["status"]),
        pc.sum(verify["rechecked"]).as_py() or 0,
        pc.quantile(residual, [0.5, 0.95, 1.0]).to_pylist() if len(residual) else [],
        len(residual),
    )


def verdict(folder: Folder, summary: FindingsSummary | None) -> Verdict:
    """Say what was tried and found; passed only if verify's table and its own verdict both say so."""
    said = folder.run.at("verdict", "passed")
    looked_at, published = _looked_at(folder)
    if said is False or (summary and (summary.definite_count or summary.statuses.get("failed"))):
        state, sentence = "failed", _failed_sentence(folder, summary)
    elif summary is None:
        state, sentence = "unchecked", "Nothing was verified: nothing was tried, so nothing was found."
        if said is True:
            sentence = "run.json tells of a passed check, but its table, verify.parquet, cannot be read here."
    elif not published:
        state, sentence = "unchecked", "No image was published, so there was nothing to verify."
    elif not looked_at:
        state, sentence = "unchecked", "Verify could not look at any of the published images."
    else:
        state = "passed"
        sentence = f"{_tried(folder, summary)} and found no definite fault{_rest(folder, summary)}."
    checked, not_checked = folder.run.texts("verdict", "checked"), folder.run.texts("verdict", "not_checked")
    return Verdict(state, sentence, checked, not_checked)


def is_definite(findings: pa.Table) -> Any:
    """Which findings are definite, bool, shape (N,); what does not say counts as definite."""
    return pc.fill_null(findings["definite"], True).to_numpy().astype(bool)


def value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each text occurs, most often first; nulls as 'unknown'."""
    counted = pc.value_counts(pc.fill_null(column, "unknown")).to_pylist()
    return {c["values"]: c["counts"] for c in sorted(counted, key=lambda c: (-c["counts"], c["values"]))}


def _failed_sentence(folder: Folder, summary: FindingsSummary | None) -> str:
    if summary is None or folder.findings is None:
        faults = folder.run.number("verdict", "definite")
        found = plural(int(faults), "definite fault") if faults else "definite faults"
        return f"Verify found {found}: do not share this folder."
    if summary.definite_count:
        definite = pa.array(is_definite(folder.findings))
        images = pc.count_distinct(folder.findings["image_id"].filter(definite)).as_py()
        found = f"{plural(summary.definite_count, 'definite fault')} in {plural(images, 'image')}"
    else:
        found = "definite faults, though its table names none"
    return f"{_tried(folder, summary)} and found {found}: do not share this folder{_rest(folder, summary)}."


def _tried(folder: Folder, summary: FindingsSummary) -> str:
    looked_at, published = _looked_at(folder)
    again = f"{summary.rechecked:,}"
    if summary.rechecked in (0, looked_at):
        again = "all" if summary.rechecked else "none"
    images = plural(published, "published image")
    how_many = images if looked_at == published else f"{looked_at:,} of {images}"
    return f"Verify looked at {how_many}, {again} of them with a second detector pass,"


def _rest(folder: Folder, summary: FindingsSummary) -> str:
    parts = []
    if summary.listed_count:
        are = "is" if summary.listed_count == 1 else "are"
        parts.append(f"{plural(summary.listed_count, 'weaker sign')} {are} listed to look at")
    looked_at, published = _looked_at(folder)
    unchecked = published - looked_at
    if unchecked:
        parts.append(f"{plural(unchecked, 'published image')} {'was' if unchecked == 1 else 'were'} not checked")
    else:
        parts.append("no published image was left unchecked")
    named = len(folder.run.texts("verdict", "not_checked"))
    if named:
        parts.append(f"{plural(named, 'limit')} of the checks {'is' if named == 1 else 'are'} named below")
    return "; " + (", ".join(parts[:-1]) + " and " if parts[1:] else "") + parts[-1]


def _looked_at(folder: Folder) -> tuple[int, int]:
    """How many published images verify could check, and how many there are."""
    if folder.verify is None:
        return 0, 0
    looked = folder.verify.filter(pc.not_equal(pc.fill_null(folder.verify["status"], "unchecked"), "unchecked"))
    published = folder.published
    if published is None:
        return len(looked), len(folder.verify)
    known = pc.is_in(published["image_id"], value_set=looked["image_id"].combine_chunks())
    return pc.sum(known).as_py() or 0, len(published)


def _order(findings: pa.Table) -> Any:
    """Row numbers by check, then by score from the highest, then by place in the table."""
    checks = pc.fill_null(pc.index_in(findings["check"], value_set=pa.array(list(CHECKS))), len(CHECKS)).to_numpy()
    scores = pc.fill_null(findings["score"], -1.0).to_numpy()
    return np.lexsort((-scores, checks))


def _check_counts(findings: pa.Table, definite: Any) -> list[CheckCount]:
    strong = value_counts(findings["check"].filter(pa.array(definite)))
    weak = value_counts(findings["check"].filter(pa.array(~definite)))
    names = [name for name in CHECKS if name in strong or name in weak]
    names += sorted((strong.keys() | weak.keys()) - CHECKS.keys())
    return [CheckCount(name, CHECKS.get(name, ""), strong.get(name, 0), weak.get(name, 0)) for name in names]
