"""The catalogue's answers against pandas, which knows nothing of it."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.faces.table import STATUSES
from unface.review.browsing.catalogue import ORDERS, Catalogue, Filter

FOLDERS = ["", "cat/", "a/dog/", "train/n02123045/", "val/"]
SCORES = [0.0, 0.25, 0.5, 0.75, 1.0]

corner = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40))
face = st.tuples(corner.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), st.sampled_from(SCORES))
faces = st.lists(face, max_size=4).map(
    lambda given: Faces(
        np.array([box for box, _ in given], np.float32).reshape(-1, 4),
        np.array([score for _, score in given], np.float32),
        tuple(f"label{i % 2}" for i in range(len(given))),
        tuple(f"source{i}" for i in range(len(given))),
    )
)
drawn_rows = st.lists(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(STATUSES), faces, st.none() | faces), max_size=20
)
limits = st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(0, 4))
sides = st.tuples(st.none() | st.integers(0, 45), st.none() | st.integers(0, 45))
shares = st.tuples(st.none() | st.sampled_from(SCORES), st.none() | st.sampled_from(SCORES))
filters = st.builds(
    lambda classes, statuses, n, h, s: Filter(tuple(classes), tuple(statuses), *n, *h, *s),
    st.lists(st.sampled_from(["", "cat", "dog", "n02123045", "val", "nothing"]), max_size=3, unique=True),
    st.lists(st.sampled_from(STATUSES), max_size=2, unique=True),
    limits,
    sides,
    shares,
)


def made_of(drawn):
    return [
        FaceRow(f"{folder}{number}.jpg", 100, 100, status, found, maybe)
        for number, (folder, status, found, maybe) in enumerate(drawn)
    ]


def frame_of(rows: list[FaceRow]) -> pd.DataFrame:
    """One line a face, one without a face for images that have none."""
    folders = [row.image_id.rpartition("/")[0].rpartition("/")[2] for row in rows]
    synsets = any(folder.startswith("n0") for folder in folders)
    lines = []
    for number, (row, folder) in enumerate(zip(rows, folders, strict=True)):
        known = {
            "number": number,
            "class": folder if folder.startswith("n0") or not synsets else "",
            "status": row.status,
            "faces": len(row.faces),
        }
        boxes = [
            {"height": float(box[3] - box[1]), "score": float(score)}
            for box, score in zip(row.faces.boxes_xyxy, row.faces.scores, strict=True)
        ]
        lines += [{**known, **box} for box in boxes or [{"height": math.nan, "score": math.nan}]]
    return pd.DataFrame(lines, columns=["number", "class", "status", "faces", "height", "score"])


def wanted_of(frame: pd.DataFrame, wanted: Filter) -> pd.DataFrame:
    lines = frame
    if wanted.classes:
        lines = lines[lines["class"].isin(wanted.classes)]
    if wanted.statuses:
        lines = lines[lines["status"].isin(wanted.statuses)]
    for column in ("faces", "height", "score"):
        least, most = getattr(wanted, f"min_{column}"), getattr(wanted, f"max_{column}")
        if least is not None:
            lines = lines[lines[column] >= least]
        if most is not None:
            lines = lines[lines[column] <= most]
    return frame[frame["number"].isin(lines["number"])]


def ordered(lines: pd.DataFrame, order: str) -> list[int]:
    images = lines.groupby("number").agg(
        faces=("faces", "first"), tall=("height", "max"), low=("height", "min"), score=("score", "min")
    )
    column, ascending = {
        "table": ("number", True),
        "faces": ("faces", False),
        "largest": ("tall", False),
        "smallest": ("low", True),
        "score": ("score", True),
    }[order]
    images = images.reset_index().sort_values(column, ascending=ascending, kind="stable", na_position="last")
    return images["number"].tolist()


@given(drawn_rows, filters, st.sampled_from(ORDERS))
@settings(deadline=None, max_examples=150)
def test_what_is_found_is_what_pandas_finds_in_its_order(drawn, wanted, order):
    rows = made_of(drawn)
    found = Catalogue(faces_table(rows)).find(wanted, order)
    assert found.tolist() == ordered(wanted_of(frame_of(rows), wanted), order)


@given(drawn_rows, filters, st.sampled_from(["", "DO", "n02", "title of c", "("]))
@settings(deadline=None, max_examples=150)
def test_counts_are_those_of_pandas(drawn, wanted, text):
    rows = made_of(drawn)
    catalogue, frame = Catalogue(faces_table(rows), lambda name: f"title of {name}" if name else name), frame_of(rows)
    counts = catalogue.count(wanted, text, most=2)
    images = wanted_of(frame, wanted).drop_duplicates("number")
    assert (counts.images, counts.faces) == (len(images), images["faces"].sum())
    limits = {name: getattr(wanted, name) for name in wanted.__dataclass_fields__ if name[:3] in ("min", "max")}
    by_status = wanted_of(frame, Filter(classes=wanted.classes, **limits)).drop_duplicates("number")
    assert counts.statuses == {status: (by_status["status"] == status).sum() for status in STATUSES}
    by_class = wanted_of(frame, Filter(statuses=wanted.statuses, **limits)).drop_duplicates("number")
    sizes = by_class["class"].value_counts()
    known = set(frame["class"])
    own = [each for each in counts.classes if each.name in wanted.classes]
    assert {each.name for each in own} == set(wanted.classes) & known
    shown = [
        name
        for name in sizes.index
        if name not in wanted.classes and text.lower() in f"{name}\n{f'title of {name}' if name else ''}".lower()
    ]
    others = counts.classes[len(own) :]
    assert counts.classes_found == len(shown)
    assert [each.images for each in others] == sorted((sizes[name] for name in shown), reverse=True)[:2]
    assert all(each.images == sizes.get(each.name, 0) for each in counts.classes)
    assert all(each.title == (f"title of {each.name}" if each.name else "") for each in counts.classes)


@given(drawn_rows)
@settings(deadline=None, max_examples=50)
def test_a_row_is_the_tables_row(drawn):
    rows = made_of(drawn)
    catalogue = Catalogue(faces_table(rows))
    assert len(catalogue) == len(rows)
    for number, row in enumerate(rows):
        expected = row.record()
        assert catalogue.row(number).record() == {**expected, "candidates": expected["candidates"] or []}


def test_scores_and_sizes_that_are_not_known_ask_for_nothing():
    boxes = np.array([[0, 0, 5, 5], [0, 0, 9, 9]], np.float32)
    faces = Faces(boxes, np.array([np.nan, 0.5], np.float32), ("face",) * 2, ("x",) * 2)
    only = Faces(boxes[:1], np.array([np.nan], np.float32), ("face",), ("x",))
    rows = [FaceRow("1.jpg", 0, 0, "detected", only), FaceRow("2.jpg", 0, 0, "detected", faces)]
    catalogue = Catalogue(faces_table(rows))
    assert catalogue.find(Filter(min_score=0.0)).tolist() == [1]
    assert catalogue.find(Filter(), "score").tolist() == [1, 0]
    assert catalogue.find(Filter(max_height=5, min_score=0.1)).tolist() == [], "one face has to satisfy both"


@pytest.mark.parametrize("parts", [1, 3])
def test_a_table_in_parts_is_one(parts):
    import pyarrow as pa

    rows = made_of([("cat/", "detected", Faces.make([[0, 0, 9, 9]] * number), None) for number in range(6)])
    table = pa.concat_tables([faces_table(rows[i::parts]) for i in range(parts)])
    catalogue = Catalogue(table)
    assert [catalogue.row(i).record() for i in range(6)] == [
        {**row.record(), "candidates": []} for row in face_rows(table)
    ]
