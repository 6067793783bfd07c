"""The tables of `unface quality`."""

from collections.abc import Sequence

from unface.analysis.audit import Audit, Errors
from unface.analysis.detection import TAUS, Interval, Point, Quality
from unface.analysis.tables import Cell, Share, Table

CLASSES_SHOWN = 20
"""The classes with the most errors are listed, as many as in the paper's Table 1."""

_PER_IMAGES = 50
_STEP = 5  # hundredths between the thresholds that are listed


def quality_tables(quality: Quality, errors: Audit) -> list[Table]:
    """Everything worth a table, the overview first."""
    tables = [overview(quality), precision(quality), recall(quality), curve(quality)]
    return [*tables, by_class(errors)]


def overview(quality: Quality) -> Table:
    """What was compared, what leaks, and what that costs."""
    q, settings = quality, quality.settings
    hidden = f"hidden to {100 * settings.tau:g} %"
    rows: list[list[Cell]] = [
        ["images compared", q.images],
        ["  without a prediction, counted as nothing found", q.missing],
        ["  whose prediction failed, counted as nothing found", q.failed],
        ["predicted images without a truth, left out", q.unknown],
        ["images with faces", q.with_faces],
        ["faces", q.faces],
        ["threshold", settings.threshold],
        ["margin, of a box's diagonal", settings.margin],
        *_interval_rows(f"images with a face not {hidden} (leak rate)", q.leak),
        *_interval_rows(f"faces {hidden}", q.recall),
        ["faces not so hidden, per 1,000 images", q.leaked_per_1000],
        ["mean fraction of a face that is hidden", _share(q.mean_coverage)],
        ["area hidden outside faces, mean", _share(q.area.all)],
        ["  of images with faces", _share(q.area.with_faces)],
        ["  of images without", _share(q.area.without_faces)],
        ["images without a face", q.area.face_free],
        ["  of which something is hidden", _share(q.area.touched)],
        ["images whose size is known", q.area.sized],
    ]
    if settings.leak_rate is not None:
        title = f"for a leak rate of at most {100 * settings.leak_rate:g} %"
        rows.append([f"highest threshold {title}", q.best.threshold if q.best else None])
        if q.best:
            rows += [["  leak rate there", _share(q.best.leak)], ["  area outside faces there", _share(q.best.area)]]
    return Table("overview", "Overview", ["", "value"], rows)


def _interval_rows(title: str, interval: Interval | None) -> list[list[Cell]]:
    if interval is None:
        return [[title, None]]
    rows: list[list[Cell]] = [[title, Share(interval.share)]]
    for name, limits in (("Wilson", interval.wilson), ("bootstrap over images", interval.bootstrap)):
        if limits:
            rows += [[f"  95 % interval ({name}), from", Share(limits[0])], ["  to", Share(limits[1])]]
    return rows


def _share(number: float | None) -> Share | None:
    return None if number is None else Share(number)


def precision(quality: Quality) -> Table:
    """Average precision by difficulty."""
    rows: list[list[Cell]] = [[found.difficulty, found.faces, found.ap] for found in quality.precisions]
    return Table("precision", "Average precision (WIDER FACE protocol, IoU .5)", ["difficulty", "faces", "AP"], rows)


def recall(quality: Quality) -> Table:
    """Faces hidden, by their height and by how much of them is."""
    rows: list[list[Cell]] = [[size.title, size.faces, *map(_share, size.recall)] for size in quality.sizes]
    header = ["height, pixels", "faces", *(f"{100 * tau:g} % hidden" for tau in TAUS)]
    return Table("recall", "Faces of which at least so much is hidden", header, rows)


def curve(quality: Quality) -> Table:
    """What other thresholds would give, in steps that people can read."""
    return _curve(quality.curve[::_STEP])


def whole_curve(quality: Quality) -> Table:
    """What every threshold would give, for a CSV file."""
    return _curve(quality.curve)


def _curve(points: Sequence[Point]) -> Table:
    rows: list[list[Cell]] = [[point.threshold, *_of(point)] for point in points]
    header = ["threshold", "leak rate", "faces hidden", "area outside faces", "face-free images touched"]
    return Table("curve", "Leak against area, by threshold", header, rows)


def _of(point: Point) -> list[Share | None]:
    return [_share(number) for number in (point.leak, point.recall, point.area, point.touched)]


def by_class(errors: Audit) -> Table:
    """Table 1: errors of the classes that have most, and the mean over all classes per 50 images."""
    more = len(errors.groups) - CLASSES_SHOWN
    title = "Errors by class (Table 1)" + (f"; {more} classes with fewer are not listed" if more > 0 else "")
    return _by_class(errors, CLASSES_SHOWN, title)


def all_classes(errors: Audit) -> Table:
    """Every class, for a CSV file."""
    return _by_class(errors, len(errors.groups), "Errors by class")


def _by_class(errors: Audit, shown: int, title: str) -> Table:
    rows: list[list[Cell]] = []
    ranked = sorted(errors.groups, key=lambda group: (-sum(map(_total, group.errors)), group.title))
    for group in ranked[:shown]:
        rows.append([group.title or "(no class)", group.errors[0].images, *_numbers(group.errors)])
    totals = [errors.total("all", place) for place in range(len(errors.tables))]
    if totals[0].images:
        scale = _PER_IMAGES / totals[0].images
        means = [scale * number for number in _numbers(totals)]
        rows.append([f"all, per {_PER_IMAGES} images", totals[0].images, *means])
    header = ["class", "images", *(f"{what}, {name}" for name in errors.tables for what in ("too many", "missed"))]
    return Table("table1", title, header, rows)


def _numbers(errors: Sequence[Errors]) -> list[int]:
    return [number for one in errors for number in (one.false_positives, one.false_negatives)]


def _total(errors: Errors) -> int:
    return errors.false_positives + errors.false_negatives
