import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_faces
from unface.errors import InputError
from unface.faces import FACES_SCHEMA, FaceRow, Faces, face_rows, faces_table, read_faces, write_faces

coordinate = st.floats(-100, 1000, width=32)
box = (
    st.tuples(coordinate, coordinate, coordinate, coordinate)
    .map(lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])))
    .filter(lambda b: b[0] < b[2] and b[1] < b[3])
)
text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(st.lists(st.tuples(text, st.lists(box, max_size=4), st.booleans()), max_size=5, unique_by=lambda r: r[0]))
def test_what_is_written_is_read(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    rows = [
        FaceRow(name, 7, 5, "detected", Faces.make(boxes, label="nsfw"), Faces.make(boxes) if seen else None)
        for name, boxes, seen in images
    ]
    write_faces(path, faces_table(rows, {"detector": "me"}))
    table = read_faces(path)
    assert table.schema.metadata[b"unface.detector"] == b"me"
    assert table.schema.metadata[b"unface.schema_version"] == b"1"
    back = list(face_rows(table))
    assert [row.record() for row in back] == [row.record() for row in rows]


def test_pandas_reads_it(tmp_path):
    write_faces(tmp_path / "f.parquet", faces_table([make_faces()]))
    row = pd.read_parquet(tmp_path / "f.parquet").iloc[0]
    assert row.image_id == "a/1.jpg"
    assert row.boxes[0] == {
        "x0": 10, "y0": 8, "x1": 40, "y1": 40, "score": 1, "label": "face", "source": "unknown",
    }  # fmt: skip


def foreign(**changes):
    row = {"image_id": "x.jpg", "width": 10, "height": 10, "status": "reviewed", "boxes": [box_struct()]}
    return {**row, **changes}


def box_struct(**changes):
    return {"x0": 1, "y0": 1, "x1": 2, "y1": 2, "score": 0.5, "label": "face", "source": "me", **changes}


def test_a_table_of_another_tool_with_just_the_named_columns_is_accepted(tmp_path):
    pq.write_table(pa.Table.from_pylist([foreign()]), tmp_path / "f.parquet")
    (row,) = face_rows(read_faces(tmp_path / "f.parquet"))
    assert row.faces.boxes_xyxy.tolist() == [[1, 1, 2, 2]]
    assert row.candidates is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([foreign(boxes=[box_struct(x1=1)])], r"'x\.jpg': boxes: expected finite x0 < x1"),
        ([foreign(boxes=[box_struct(), box_struct(y0=float("nan"))])], r"'x\.jpg': boxes: expected finite"),
        ([foreign(boxes=[box_struct(x0=float("-inf"))])], r"'x\.jpg': boxes: expected finite"),
        ([foreign(boxes=[box_struct(x0=None)])], r"'x\.jpg': boxes: expected finite"),
        ([foreign(), foreign()], r"one row per image, got several of 'x\.jpg'"),
        ([foreign(status="perhaps")], r"'x\.jpg': status: expected one of detected"),
        ([foreign(status=None)], r"'x\.jpg': status: expected one of detected"),
        ([foreign(image_id=None)], r"'image_id': expected a name in every row"),
        ([foreign(width="wide")], r"column 'width': expected int32, got"),
        ([foreign(boxes="none")], r"column 'boxes': expected list"),
        ([{"image_id": "x.jpg"}], r"expected a column 'width'"),
    ],
)
def test_a_bad_table_is_refused_with_file_image_and_field(tmp_path, rows, message):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match=message) as caught:
        read_faces(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", json.dumps({"a": 1}).encode(), b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path, content):
    (tmp_path / "f.parquet").write_bytes(content)
    with pytest.raises(InputError, match="expected a Parquet file"):
        read_faces(tmp_path / "f.parquet")


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="found no such file"):
        read_faces(tmp_path / "f.parquet")


def test_an_empty_table_is_a_table(tmp_path):
    write_faces(tmp_path / "f.parquet", faces_table([]))
    assert list(face_rows(read_faces(tmp_path / "f.parquet"))) == []
    assert read_faces(tmp_path / "f.parquet").schema.names == FACES_SCHEMA.names


def test_faces_of_different_lengths_cannot_be_made():
    with pytest.raises(ValueError, match="of one length"):
        Faces(np.array([[0, 0, 1, 1]], np.float32), np.zeros(2, np.float32), ("face",), ("me",))


def test_selection_and_clipping_keep_rows_together():
    faces = Faces(
        np.array([[0, 0, 4, 4], [20, 20, 24, 24], [-2, 1, 3, 30]], np.float32),
        np.array([0.1, 0.2, 0.3], np.float32),
        ("a", "b", "c"),
        ("x", "y", "z"),
    )
    cut = faces.clipped(10, 10)
    assert cut.labels == ("a", "c")
    assert cut.boxes_xyxy.tolist() == [[0, 0, 4, 4], [0, 1, 3, 10]]
    assert faces[faces.scores > 0.15].sources == ("y", "z")
    assert len(faces[np.zeros(3, bool)]) == 0


def test_columns_of_other_tools_are_left_aside(tmp_path):
    odd = {"a.b": 1, "boxes.x0": "x", "more": [1, 2]}
    pq.write_table(pa.Table.from_pylist([foreign(**odd)]), tmp_path / "f.parquet")
    assert read_faces(tmp_path / "f.parquet").column_names == FACES_SCHEMA.names


def test_candidates_are_read_where_they_are_wanted(tmp_path):
    write_faces(tmp_path / "f.parquet", faces_table([make_faces()], {"detector": "me"}))
    whole, less = read_faces(tmp_path / "f.parquet"), read_faces(tmp_path / "f.parquet", candidates=False)
    assert (whole["candidates"].null_count, less["candidates"].null_count) == (0, 1)
    assert less.drop_columns("candidates").equals(whole.drop_columns("candidates"))
    assert less.schema.equals(whole.schema, check_metadata=True)


@pytest.mark.parametrize("column", ["image_id", "label"])
def test_texts_that_are_not_utf8_are_refused(tmp_path, column):
    bad = b"\xff\xfe"
    name, label = (bad, "face") if column == "image_id" else ("x.jpg", bad)
    kind = pa.list_(pa.struct([(n, pa.float32()) for n in ("x0", "y0", "x1", "y1")] + [("label", pa.binary())]))
    boxes = pa.array([[{"x0": 0, "y0": 0, "x1": 1, "y1": 1, "label": label}]], kind)
    ids = pa.array([name], pa.binary())
    size, status = pa.array([1], pa.int32()), pa.array(["detected"])
    table = pa.table({"image_id": ids, "width": size, "height": size, "status": status, "boxes": boxes})
    pq.write_table(as_texts(table), tmp_path / "f.parquet")
    with pytest.raises(InputError, match="UTF-8"):
        read_faces(tmp_path / "f.parquet")


def as_texts(table):
    """Bytes declared to be texts, unchecked, as a careless writer does it."""
    ids = table["image_id"].combine_chunks()
    boxes = table["boxes"].combine_chunks()
    flat = boxes.flatten()
    columns = [flat.field(i) for i in range(flat.type.num_fields - 1)] + [flat.field("label").view(pa.string())]
    names = [field.name for field in flat.type]
    score, source = pa.array([1.0] * len(flat), pa.float32()), pa.array(["me"] * len(flat))
    named = dict(zip(names, columns, strict=True)) | {"score": score, "source": source}
    order = ["x0", "y0", "x1", "y1", "score", "label", "source"]
    structs = pa.StructArray.from_arrays([named[n] for n in order], names=order)
    lists = pa.ListArray.from_arrays(boxes.offsets, structs)
    return table.set_column(0, "image_id", ids.view(pa.string())).set_column(4, "boxes", lists)
