"""Parquet: read what `datasets` and others write, and be read by `datasets`."""

import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from archives import listed, picture, rewrite, write_hugging_face, write_plain
from unface.datasets import open_dataset
from unface.errors import ImageError, InputError


def test_images_of_every_row_in_order(tmp_path):
    ids = write_hugging_face(tmp_path / "train-00000-of-00001.parquet", 40, empty=[3])
    dataset = open_dataset(tmp_path)
    assert dataset.kind == "parquet"
    assert listed(tmp_path) == dict.fromkeys(ids, "")
    for number in (39, 0, 17, 16, 20):  # forward and backward
        assert dataset.read(f"train-00000-of-00001.parquet/{number:08d}") == picture(number)
    with pytest.raises(ImageError, match="empty cell"):
        dataset.read(ids[0][:-1] + "3")
    for wrong in ("/00000040", "/x", "/00000001.caption"):
        with pytest.raises(ImageError):
            dataset.read(f"train-00000-of-00001.parquet{wrong}")
    assert dataset.has(ids[5])
    assert not dataset.has(ids[0][:-1] + "3")


def test_nothing_but_images_changes_and_datasets_reads_it(tmp_path):
    import datasets

    ids = write_hugging_face(tmp_path / "src/train.parquet", 10, empty=[3])
    new = picture(99)
    out = rewrite(tmp_path / "src", tmp_path, {ids[0]: new, ids[8]: None})
    before, after = (pq.ParquetFile(folder / "train.parquet") for folder in (tmp_path / "src", out))
    assert before.schema_arrow.equals(after.schema_arrow, check_metadata=True)
    groups = [[f.metadata.row_group(i).num_rows for i in range(f.metadata.num_row_groups)] for f in (before, after)]
    assert groups[0] == groups[1]
    old, rows = before.read().to_pylist(), after.read().to_pylist()
    for number, (a, b) in enumerate(zip(old, rows, strict=True)):
        assert (a["label"], a["caption"]) == (b["label"], b["caption"])
        wanted = {0: new, 9: None, 3: None}.get(number, picture(number))
        assert (b["image"] or {"bytes": None})["bytes"] == wanted
        assert b["image"] is None if number == 9 else (b["image"] or {}).get("path") == (a["image"] or {}).get("path")
    read = datasets.Dataset.from_parquet(str(out / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert read.features["label"].names == ["a", "b"]
    np.testing.assert_array_equal(read[0]["image"], Image.open(io.BytesIO(new)))
    assert read[9]["image"] is None


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_plain_column_of_bytes(tmp_path, kind):
    cells = [picture(0), None, picture(2)]
    write_plain(tmp_path / "src/x.parquet", {"jpg": pa.array(cells, kind), "hash": pa.array([b"a", b"b", None])})
    assert list(listed(tmp_path / "src")) == ["x.parquet/00000000", "x.parquet/00000002"]
    out = rewrite(tmp_path / "src", tmp_path, {"x.parquet/00000002": b"new"})
    table = pq.read_table(out / "x.parquet")
    assert table["jpg"].to_pylist() == [picture(0), None, b"new"]
    assert table["hash"].to_pylist() == [b"a", b"b", None]
    assert table.schema.field("jpg").type == kind


def test_several_columns_of_images(tmp_path):
    columns = {"left": [picture(0), picture(1)], "right": [picture(2), None], "text": ["a", "b"]}
    write_plain(tmp_path / "src/x.parquet", columns)
    ids = ["x.parquet/00000000.left", "x.parquet/00000000.right", "x.parquet/00000001.left"]
    assert list(listed(tmp_path / "src")) == ids
    out = rewrite(tmp_path / "src", tmp_path, {ids[1]: b"new", ids[2]: None})
    table = pq.read_table(out / "x.parquet")
    assert table["left"].to_pylist() == [picture(0), None]
    assert table["right"].to_pylist() == [b"new", None]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": ["a"]}, "expected a column of images"),
        ({"x": [[b"a"]]}, "bytes nested in list"),
        ({"x": [[{"bytes": b"a", "path": ""}]]}, "bytes nested in list"),
        ({"x": [{"data": b"a"}]}, "bytes nested in struct"),
        ({"x": [b"no image"]}, "expected a column of images"),
    ],
)
def test_what_cannot_be_made_safe_is_refused(tmp_path, columns, said):
    write_plain(tmp_path / "x.parquet", columns)
    with pytest.raises(InputError, match=said):
        listed(tmp_path)


@pytest.mark.parametrize("late", [picture(1), b"\0\0\0\x18ftypmp42" + bytes(50)])
def test_a_picture_that_hides_in_another_column_stops_the_file(tmp_path, late):
    other = [b"hash"] * 99 + [late]
    write_plain(tmp_path / "src/x.parquet", {"image": [picture(0)] * 100, "other": other})
    with pytest.raises(InputError, match="column 'other': expected bytes that show nothing"):
        rewrite(tmp_path / "src", tmp_path)
    assert not (tmp_path / "out/x.parquet").exists()


def test_a_declared_column_of_sounds_is_left_alone(tmp_path):
    notes = {b"huggingface": b'{"info": {"features": {"sound": {"_type": "Audio"}, "image": {"_type": "Image"}}}}'}
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "sound": pa.array([{"bytes": b"RIFF0000WAVE", "path": "a.wav"}], struct),
            "image": pa.array([{"bytes": picture(0), "path": None}], struct),
        }
    ).replace_schema_metadata(notes)
    (tmp_path / "src").mkdir()
    pq.write_table(table, tmp_path / "src/x.parquet")
    out = rewrite(tmp_path / "src", tmp_path)
    assert pq.read_table(out / "x.parquet").equals(table, check_metadata=True)


@pytest.mark.parametrize("kept", [0, 3, 2000])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, kept):
    write_hugging_face(tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(data[:kept])
    with pytest.raises(InputError, match=r"x\.parquet: expected a Parquet file"):
        listed(tmp_path)


def test_a_damaged_column_is_an_error_that_names_the_file(tmp_path):
    write_hugging_face(tmp_path / "x.parquet")
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[4:400] = bytes(396)
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.parquet: expected whole columns"):
        listed(tmp_path)


def test_no_rows(tmp_path):
    write_plain(tmp_path / "src/x.parquet", {"image": pa.array([], pa.binary())})
    with pytest.raises(InputError, match="expected a column of images"):
        listed(tmp_path / "src")


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Also where all rows are one row group, as pandas writes them."""
    noise = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8).tobytes()
    write_plain(tmp_path / "src/x.parquet", {"image": [picture(0)[:600] + noise] * 100}, row_group=1000)
    tracemalloc.start()
    list(listed(tmp_path / "src"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000
