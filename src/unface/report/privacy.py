"""The privacy verdict: one page without pictures, and the same as JSON, that a data-protection officer can file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unface import __version__
from unface.analysis.intervals import wilson
from unface.faces import read_faces
from unface.report.findings import CHECKS
from unface.report.leaks import estimated_leaks, group_leaks, redetected, true_leaks
from unface.report.page import template

LOW_SCORE = 0.1
"""From here on a hidden face counts as seen again, whatever the detector's own threshold."""
ATTACKS = "attacks.json"
PLOT_WH = (520, 230)
LINE_PX, LABEL_PX = 13, 150

CEILING, FLOOR, PUBLISHED = "none", "overlay", "as published"


@dataclass(frozen=True)
class Known:
    """What the user knows beside the output folder.

    Attributes:
        truth: True faces, of `FACES_SCHEMA`.
        groups: Labels, as `leaks.read_groups` returns them.
        utility: By treatment, how well a model does on it; with the measure's name.
        measure: What the utility is.
    """

    truth: pa.Table | None = None
    groups: Sequence[Mapping[str, Any]] = ()
    utility: Mapping[str, float] | None = None
    measure: str = ""


def write_privacy(dst: Path, known: Known | None = None) -> Path:
    """Write `privacy.json` and `privacy.html` into a verified output folder, from its files.

    Args:
        dst: With `verify.parquet`, `faces.parquet`, `manifest.parquet`, `run.json`, and `attacks.json` if there is one.
        known: What the user knows beside.

    Returns:
        The page's path.
    """
    facts = privacy_facts(dst, known or Known())
    _write(dst / "privacy.json", json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write(dst / "privacy.html", render_privacy(facts))
    return dst / "privacy.html"


def privacy_facts(dst: Path, known: Known) -> dict[str, Any]:
    """All that is known of how much privacy an output folder gives, as JSON holds it."""
    verify, manifest = pq.read_table(dst / "verify.parquet"), pq.read_table(dst / "manifest.parquet")
    faces, record = read_faces(dst / "faces.parquet"), json.loads((dst / "run.json").read_text("utf-8"))
    config = record.get("config", {})
    by_run = {"detector": config.get("detector"), "threshold": config.get("threshold"), "at": record.get("finished")}
    verified = {"second": None, "second_threshold": None, **by_run, **record.get("verified", {})}
    verdict = record.get("verdict", {})
    second_threshold = verified["second_threshold"]
    facts: dict[str, Any] = {
        "unface_version": __version__,
        "dataset": record.get("source"),
        "made": _made(record, manifest),
        "verified": verified,
        "verdict": verdict,
        "exact": _exact(verify),
        "redetection": _redetection(verify, verified),
        "leaks": {"true": None, "estimated": None, "groups": None},
        "attacks": _read_attacks(dst / ATTACKS, record.get("manifest", {}).get("sha256")),
        "utility": None,
    }
    if known.truth is not None:
        facts["leaks"]["true"] = asdict(true_leaks(known.truth, faces, manifest["image_id"].to_pylist()))
    if second_threshold is not None and (estimate := estimated_leaks(verify, second_threshold)) is not None:
        facts["leaks"]["estimated"] = _finite(asdict(estimate))
    if known.groups:
        facts["leaks"]["groups"] = asdict(group_leaks(known.groups, known.truth, faces))
    if known.utility is not None:
        facts["utility"] = {"measure": known.measure, "values": dict(known.utility)}
    facts["tried"], facts["not_tried"] = _tried(facts), _not_tried(facts)
    return facts


def render_privacy(facts: Mapping[str, Any]) -> str:
    """The page's HTML, from nothing but the JSON."""
    table = attack_table(facts["attacks"])
    plot = pareto(table, facts["utility"]) if facts["utility"] else []
    return template("privacy.html.jinja").render(
        facts={**facts, "attack_columns": COLUMNS},
        rows=finding_rows(facts),
        attacks=table,
        context=_context(facts["attacks"]),
        linked=_most_recognised(table),
        plot=plot,
        PLOT_WH=PLOT_WH,
        dataset=Path(str(facts["dataset"] or "")).name or "dataset",
    )


class FindingRow(NamedTuple):
    """A line of the page's main table."""

    what: str
    found: str
    tone: str


def finding_rows(facts: Mapping[str, Any]) -> list[FindingRow]:
    """What was found, in words, the gravest first."""
    definite, listed = facts["verdict"].get("definite", 0), facts["verdict"].get("listed", {})
    exact, rows = facts["exact"], []
    told = "; ".join(f"{count:,}: {CHECKS.get(check, check)}" for check, count in listed.items()) or "none"
    rows.append(FindingRow("Definite faults", f"{definite}" if definite else "none", "bad" if definite else "good"))
    rows.append(FindingRow("All findings, also those that a person should look at", told, ""))
    if exact["faces"]:
        rows += _exact_rows(exact)
    for detector in facts["redetection"]:
        low, own = detector["low"], detector["own"]
        if low:
            seen = f"{_rate(low)} from score {LOW_SCORE:g}; {_rate(own)} from its own threshold {own['score']:g}"
            rows.append(FindingRow(f"Hidden faces that {detector['name']} still takes for a face", seen, ""))
    rows += _leak_rows(facts["leaks"])
    return rows


def _exact_rows(exact: Mapping[str, Any]) -> list[FindingRow]:
    rows = [
        FindingRow(
            "Numbers of 8 or 16 bits left of a face",
            f"at most {exact['most_values_left']:,} (median {exact['median_values_left']:,.0f} of "
            f"{exact['median_values']:,.0f}), whatever is computed from them",
            "",
        )
    ]
    if exact["weights_measured"]:
        text = (
            f"highest {max(exact['highest_weight'], 0):.0%}, 95th percentile {max(exact['weight_95'], 0):.0%}, in "
            f"{exact['weights_measured']:,} of {exact['faces']:,} faces (others are too small or flat to measure)"
        )
        rows.append(FindingRow("Fine detail of the original left in a face's box", text, ""))
    if exact["sigmas_measured"]:
        text = (
            f"lowest {exact['lowest_sigma_share']:.0%} of what the method promises, 5th percentile "
            f"{exact['sigma_share_5']:.0%}, in {exact['sigmas_measured']:,} faces"
        )
        rows.append(FindingRow("Blur measured in the published pixels", text, ""))
    if exact["changed_measured"]:
        text = f"{exact['largest_change_outside']:.0f} levels, in {exact['changed_measured']:,} changed images"
        rows.append(FindingRow("Largest change of pixels away from faces", text, ""))
    return rows


def _leak_rows(leaks: Mapping[str, Any]) -> list[FindingRow]:
    rows = []
    if true := leaks["true"]:
        for name, what in (
            ("faces", "Faces not hidden, counted against ground truth"),
            ("with_faces", "Images leaking"),
        ):
            if true[name]:
                rows.append(FindingRow(what, _rate(true[name]), ""))
    if estimate := leaks["estimated"]:
        more = f"about {estimate['more']:,.0f} faces" if estimate["more"] is not None else "not bounded"
        text = (
            f"{estimate['share']:.1%}, between {estimate['low']:.1%} and {estimate['high']:.1%}: {more}. From two "
            "detectors, by capture and recapture; they err alike, so it is a rough figure, not a bound."
        )
        rows.append(FindingRow("Faces not hidden, estimated without truth", text, ""))
    if groups := leaks["groups"]:
        each = "; ".join(f"{name} {_rate(rate)}" for name, rate in groups["rates"].items())
        rows.append(FindingRow(f"Faces not hidden, by group (limits over {groups['units']})", each, ""))
        gap = (
            f"{100 * groups['gap']:.1f} points ({100 * groups['gap_low']:.1f} to {100 * groups['gap_high']:.1f}): "
            f"{groups['worst']} against {groups['best']}"
        )
        rows.append(FindingRow("Largest gap between groups", gap, ""))
    return rows


class Cell(NamedTuple):
    """A figure and its limits, as text."""

    value: str
    limits: str


class AttackRow(NamedTuple):
    """One treatment: its figures, by column; None where it was not tried."""

    treatment: str
    note: str
    cells: dict[str, Cell | None]
    values: dict[str, float]


COLUMNS = {
    "clear": "recognised among clear pictures",
    "far": "accepted, 1 false in 1,000",
    "alike": "recognised among pictures hidden alike",
    "parrot": "by a network trained on hidden faces",
    "deblurred": "recognised when deblurred",
    "ssim": "likeness (SSIM) when deblurred",
}


def attack_table(attacks: Mapping[str, Any] | None) -> list[AttackRow]:
    """One row per treatment, in the order in which they were attacked."""
    if attacks is None:
        return []
    treatments = dict.fromkeys(row["treatment"] for row in attacks["rows"] if row["treatment"] != "box removed")
    notes = {CEILING: "ceiling: nothing hidden", FLOOR: "floor: one colour", PUBLISHED: "this folder"}
    table = []
    for treatment in treatments:
        mine = [row for row in attacks["rows"] if row["treatment"] == treatment]
        found = {
            "clear": _pick(mine, "rank1", "embedding", "originals"),
            "far": _pick(mine, "tar", "embedding", "originals"),
            "alike": _pick(mine, "rank1", "embedding", "hidden alike"),
            "parrot": _pick(mine, "rank1", "parrot network", "hidden alike"),
            "deblurred": _pick(mine, "rank1", None, "originals", deblurred=True),
            "ssim": _pick(mine, "ssim", None, "", deblurred=True),
        }
        cells = {name: _cell(row) for name, row in found.items()}
        values = {name: row["value"] for name, row in found.items() if row is not None}
        table.append(AttackRow(treatment, notes.get(treatment, ""), cells, values))
    return table


class Point(NamedTuple):
    """A treatment in the plot of privacy against utility; places are in its own units."""

    treatment: str
    x: float
    y: float
    label_y: float
    identified: float
    utility: float
    on_front: bool


def pareto(table: Sequence[AttackRow], utility: Mapping[str, Any]) -> list[Point]:
    """Each treatment's most successful recognition against its utility; on the front is what nothing beats in both."""
    known = {
        row.treatment: (
            max(value for name, value in row.values.items() if name != "ssim"),
            utility["values"][row.treatment],
        )
        for row in table
        if row.treatment in utility["values"] and any(name != "ssim" for name in row.values)
    }
    if not known:
        return []
    lowest, highest = min(u for _, u in known.values()), max(u for _, u in known.values())
    span = max(highest - lowest, 1e-9)
    points: list[Point] = []
    for name, (identified, value) in known.items():
        beaten = any(i <= identified and u >= value and (i, u) != (identified, value) for i, u in known.values())
        x, y = PLOT_WH[0] * identified, PLOT_WH[1] * (0.92 - 0.84 * (value - lowest) / span)
        label_y = y + 4
        while any(abs(label_y - p.label_y) < LINE_PX and abs(x - p.x) < LABEL_PX for p in points):
            label_y += LINE_PX
        points.append(Point(name, round(x, 1), round(y, 1), round(label_y, 1), identified, value, not beaten))
    return points


def _most_recognised(table: Sequence[AttackRow]) -> float | None:
    """The share of this folder's faces that the most successful attack recognised."""
    shares = [row.values[name] for row in table if row.treatment == PUBLISHED for name in row.values if name != "ssim"]
    return max(shares, default=None)


def _context(attacks: Mapping[str, Any] | None) -> Cell | None:
    rows = [] if attacks is None else [row for row in attacks["rows"] if row["treatment"] == "box removed"]
    return _cell(next((row for row in rows if row["measure"] == "rank1"), None))


def _pick(
    rows: Sequence[Mapping[str, Any]], measure: str, attack: str | None, gallery: str, deblurred: bool = False
) -> Mapping[str, Any] | None:
    found = [row for row in rows if row["measure"] == measure and row["gallery"] == gallery]
    if deblurred:
        found = [row for row in found if row["through"] != PUBLISHED]
    else:
        found = [row for row in found if row["attack"] == attack]
    return max(found, key=lambda row: float(row["value"]), default=None)


def _cell(row: Mapping[str, Any] | None) -> Cell | None:
    if row is None:
        return None
    if row["hits"] is None:
        return Cell(f"{row['value']:.2f}", "")
    low, high = wilson(row["hits"], row["number"])
    return Cell(f"{row['value']:.0%}", f"{low:.0%}–{high:.0%}")


def _rate(rate: Mapping[str, Any]) -> str:
    return f"{rate['share']:.1%} ({rate['low']:.1%} to {rate['high']:.1%}; {rate['hits']:,} of {rate['number']:,})"


def _made(record: Mapping[str, Any], manifest: pa.Table) -> dict[str, Any]:
    config, seal = record.get("config", {}), record.get("manifest", {})
    return {
        "by": record.get("unface_version"),
        "at": record.get("finished"),
        "images": len(manifest),
        "faces": int(np.sum(manifest["faces"].to_numpy())),
        "method": config.get("method"),
        "preset": config.get("preset"),
        "cells": config.get("cells"),
        "seal": seal.get("sha256"),
        "lines": seal.get("lines"),
    }


def _exact(verify: pa.Table) -> dict[str, Any]:
    faces = [face for row in verify["faces"].to_pylist() for face in row or ()]
    weights = [face["residual_weight"] for face in faces if face["residual_weight"] is not None]
    shares = [
        face["sigma_px"] / face["least_sigma_px"] for face in faces if face["sigma_px"] and face["least_sigma_px"]
    ]
    changes = [change for change in verify["change_outside"].to_pylist() if change is not None]
    left, values = [face["values_left"] for face in faces], [face["values"] for face in faces]
    return {
        "faces": len(faces),
        "weights_measured": len(weights),
        "highest_weight": max(weights, default=None),
        "weight_95": float(np.quantile(weights, 0.95)) if weights else None,
        "sigmas_measured": len(shares),
        "lowest_sigma_share": min(shares, default=None),
        "sigma_share_5": float(np.quantile(shares, 0.05)) if shares else None,
        "most_values_left": max(left, default=None),
        "median_values_left": float(np.median(left)) if left else None,
        "median_values": float(np.median(values)) if values else None,
        "changed_measured": len(changes),
        "largest_change_outside": max(changes, default=None),
    }


def _redetection(verify: pa.Table, verified: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How many hidden faces each detector still takes for faces, at a low score and at its own threshold."""
    own = verified["detector"], "score", verified["threshold"]
    second = verified["second"], "second_score", verified["second_threshold"]
    detectors = []
    for name, column, threshold in (own, second):
        if name is not None and threshold is not None:
            rates = {
                key: (rate := redetected(verify, column, score)) and {**asdict(rate), "score": score}
                for key, score in (("low", LOW_SCORE), ("own", threshold))
            }
            detectors.append({"name": name, **rates})
    return detectors


def _read_attacks(path: Path, seal: str | None) -> dict[str, Any] | None:
    """The attacks that were run on these very files; older ones do not count."""
    try:
        attacks = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(attacks, dict) and isinstance(attacks.get("rows"), list) and attacks.get("seal") == seal
    return attacks if good else None


def _tried(facts: Mapping[str, Any]) -> list[str]:
    tried = list(facts["verdict"].get("checked", ()))
    if second := facts["verified"].get("second"):
        tried.append(f"A second detector, {second}, searched every original and every published image.")
    if facts["leaks"]["true"]:
        tried.append("The recorded boxes were compared with ground truth.")
    if attacks := facts["attacks"]:
        tried.append(
            f"{attacks['faces']} faces were attacked: by Wiener, Richardson-Lucy and gradient-descent deblurring that "
            "know the method, at 8 bits and through JPEG, by a network trained on faces hidden alike, "
            + (f"and by recognition with {attacks['embedder']}." if attacks["embedder"] else "without a recogniser.")
        )
    return tried


def _not_tried(facts: Mapping[str, Any]) -> list[str]:
    attacks = facts["attacks"]
    not_tried = [text for text in facts["verdict"].get("not_checked", ()) if attacks is None or "trained" not in text]
    if not facts["verified"].get("second"):
        not_tried.append("A second, different detector.")
    if facts["leaks"]["true"] is None:
        not_tried.append("Counting missed faces against ground truth (--truth).")
    if facts["leaks"]["groups"] is None:
        not_tried.append("Whether some groups of people are missed more than others (--groups).")
    if attacks is None:
        not_tried.append("Deblurring, trained networks and recognition (--attacks).")
    else:
        if attacks["embedder"] is None:
            not_tried.append("Recognition by a face-embedding model (--embedder).")
        not_tried += [
            "Generative restoration (diffusion models), attackers with far more data or computing power.",
            "Recognition by body, clothes, place or text, or by people who know the persons.",
            f"Faces under {attacks['least_side_px']} px, and faces that overlap others, were not attacked.",
        ]
    return not_tried


def _finite(value: Any) -> Any:
    """The same with numbers that JSON cannot hold as null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8", newline="\n")
    beside.replace(path)
