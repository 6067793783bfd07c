"""Key numbers, warnings and tables of the page, aggregated from the folder's tables."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.report.charts import Bar, ScoreChart, face_heights, faces_per_image, score_chart
from unface.report.findings import value_counts
from unface.report.folder import Folder, Run
from unface.report.gallery import class_names

MIN_WEIGHT = 0.99
FAILURES_SHOWN = 100
WARNINGS_SHOWN = 20
CLASSES_SHOWN = 15
CLASSES_LISTED = 100


class KeyNumbers(NamedTuple):
    """The run in numbers; None for what is not known: a rate, where an earlier run did a part of the images."""

    images: int | None
    with_faces: int | None
    faces: int | None
    published: int | None
    failed: int | None
    seconds: float | None
    images_per_second: float | None


def key_numbers(folder: Folder) -> KeyNumbers:
    """Count images, faces, published and failed images, and the stages' time."""
    images = with_faces = faces = None
    if folder.faces is not None:
        per_image = _faces_of(folder.faces)
        images, with_faces, faces = len(per_image), int(np.count_nonzero(per_image)), int(per_image.sum())
    elif folder.manifest is not None:
        images = len(folder.manifest)
    else:
        known = folder.run.number("dataset", "images")
        images = None if known is None else int(known)
    published = None if folder.published is None else len(folder.published)
    if images is not None and published is not None:
        failed: int | None = max(images - published, 0)
    else:
        failed = None if folder.failures is None else pc.count_distinct(folder.failures["image_id"]).as_py()
    names = list(folder.run.mapping("stages"))
    seconds = [folder.run.number("stages", name, "seconds") for name in names]
    is_resumed = any(folder.run.number("stages", name, "resumed") for name in names)
    known_seconds = [value for value in seconds if value is not None]
    total = sum(known_seconds) if known_seconds else None
    rate = images / total if images and total and not is_resumed else None
    return KeyNumbers(images, with_faces, faces, published, failed, total, rate)


@dataclass(frozen=True)
class Distributions:
    """Histograms of the faces."""

    per_image: list[Bar]
    heights: list[Bar]
    scores: ScoreChart
    candidates: int
    labels: dict[str, int]
    sources: dict[str, int]


def distributions(folder: Folder) -> Distributions | None:
    """Histograms over `faces.parquet`; failed images are left out. None where there is no such table."""
    if folder.faces is None:
        return None
    looked_at = folder.faces.filter(pc.not_equal(folder.faces["status"], "failed"))
    boxes = pc.list_flatten(looked_at["boxes"])
    heights = pc.subtract(pc.struct_field(boxes, "y1"), pc.struct_field(boxes, "y0"))
    candidates = pc.list_flatten(looked_at["candidates"])
    return Distributions(
        faces_per_image(_faces_of(looked_at)),
        face_heights(heights.to_numpy()),
        score_chart(_scores(boxes), _scores(candidates), threshold(folder)),
        len(candidates),
        value_counts(pc.struct_field(boxes, "label")),
        value_counts(pc.struct_field(boxes, "source")),
    )


def threshold(folder: Folder) -> float | None:
    """The detector's threshold, from the table's metadata or else from the run."""
    try:
        return float(folder.provenance["threshold"])
    except (KeyError, ValueError):
        return folder.run.number("config", "threshold")


class ClassRow(NamedTuple):
    """One class: its images, how many have faces, how many faces."""

    name: str
    images: int
    with_faces: int
    faces: int


def classes(folder: Folder) -> list[ClassRow]:
    """All classes, the one with the largest share of images with faces first; empty where there are none."""
    if folder.faces is None:
        return []
    names = class_names(folder.faces["image_id"].combine_chunks())
    if names is None or len(names.dictionary) < 2:
        return []
    codes, per_image = names.indices.to_numpy(), _faces_of(folder.faces)
    kinds = len(names.dictionary)
    images = np.bincount(codes, minlength=kinds)
    with_faces = np.bincount(codes[per_image > 0], minlength=kinds)
    faces = np.bincount(codes, weights=per_image, minlength=kinds).astype(np.int64)
    rows = [
        ClassRow(*row)
        for row in zip(names.dictionary.to_pylist(), images.tolist(), with_faces.tolist(), faces.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.with_faces / row.images, -row.faces, row.name))


class MethodRow(NamedTuple):
    """Published images that were written in one way."""

    mode: str
    method: str
    preset: str
    images: int
    faces: int


def methods(folder: Folder) -> list[MethodRow]:
    """How the published images were written, the most frequent way first."""
    published = folder.published
    if published is None:
        return []
    keys = ["mode", "method", "preset"]
    grouped = published.group_by(keys).aggregate([("image_id", "count"), ("faces", "sum")]).to_pylist()
    rows = []
    for row in grouped:
        mode, method, preset = (row[key] or "–" for key in keys)
        rows.append(MethodRow(mode, method, preset, row["image_id_count"], row["faces_sum"] or 0))
    return sorted(rows, key=lambda row: (-row.images, row))


@dataclass(frozen=True)
class Weights:
    """Published images whose weakest face pixel keeps more of the original than allowed."""

    count: int
    rows: list[dict[str, Any]]


def weak_weights(folder: Folder) -> Weights:
    """Published images with a `min_face_weight` below `MIN_WEIGHT`, the weakest first."""
    if folder.published is None:
        return Weights(0, [])
    weak = folder.published.filter(pc.less(folder.published["min_face_weight"], MIN_WEIGHT))
    worst = weak.sort_by([("min_face_weight", "ascending"), ("image_id", "ascending")]).slice(0, WARNINGS_SHOWN)
    return Weights(len(weak), worst.select(["image_id", "faces", "min_face_weight", "method"]).to_pylist())


@dataclass(frozen=True)
class Failures:
    """Images that failed: by stage and reason, and the first of them."""

    count: int
    reasons: list[tuple[str, str, int]]
    rows: list[dict[str, Any]]


def failures(folder: Folder) -> Failures | None:
    """What failed and why; None where nothing did."""
    table = folder.failures
    if table is None or not len(table):
        return None
    grouped = table.group_by(["stage", "error_class"]).aggregate([("image_id", "count")]).to_pylist()
    reasons = [(row["stage"] or "–", row["error_class"] or "–", row["image_id_count"]) for row in grouped]
    rows = table.sort_by([("stage", "ascending"), ("image_id", "ascending")]).slice(0, FAILURES_SHOWN).to_pylist()
    return Failures(len(table), sorted(reasons, key=lambda reason: (-reason[2], reason)), rows)


class StageRow(NamedTuple):
    """One stage of the run; None for what is not known."""

    name: str
    images: float | None
    faces: float | None
    failures: float | None
    seconds: float | None
    images_per_second: float | None
    bytes_in: float | None
    bytes_out: float | None
    peak_memory_bytes: float | None


def stages(run: Run) -> list[StageRow]:
    """What each stage did and how long it took, in the order of the run."""
    rows = []
    for name, content in run.mapping("stages").items():
        stage = Run(content)
        failed = stage.mapping("failures")
        rows.append(
            StageRow(
                name,
                stage.number("images"),
                stage.number("faces"),
                sum(Run(failed).number(reason) or 0 for reason in failed),
                stage.number("seconds"),
                stage.number("images_per_second"),
                stage.number("bytes_in"),
                stage.number("bytes_out"),
                stage.number("peak_memory_bytes"),
            )
        )
    return rows


def _faces_of(faces: pa.Table) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.list_value_length(faces["boxes"]), 0), np.int64)


def _scores(boxes: Any) -> NDArray[np.float64]:
    return np.asarray(pc.drop_null(pc.struct_field(boxes, "score")), np.float64)
