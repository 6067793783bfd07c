"""Files of predictions: what is written is read, what is bad is refused with one line."""

import json
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import top_k_accuracy_score

from unface.errors import InputError
from unface.predictions import METADATA_KEY, Evaluation, highest, read_predictions, write_predictions

EVALUATION = Evaluation("resnet18", "blurred", "original", 1, tuple("abcdefgh"), "letters", "0" * 64, "0.1.0")
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 8)).astype(np.float32)
LABELS = RNG.integers(0, 8, 40)
IDS = [f"val/{number:03}.JPEG" for number in range(40)]


def written(folder, evaluation=EVALUATION, ids=IDS, labels=LABELS, logits=LOGITS, batch=16):
    path = folder / evaluation.file_name
    batches = ((ids[i : i + batch], labels[i : i + batch], logits[i : i + batch]) for i in range(0, len(ids), batch))
    write_predictions(path, evaluation, batches)
    return path


@pytest.mark.parametrize("batch", [1, 7, 40, 100])
def test_round_trip(tmp_path, batch):
    path = written(tmp_path, batch=batch)
    predictions = read_predictions(path)
    assert predictions.evaluation == EVALUATION
    assert predictions.images == 40
    outcomes = predictions.outcomes()
    assert outcomes.image_ids.to_pylist() == IDS
    np.testing.assert_array_equal(outcomes.labels, LABELS)
    read = np.concatenate(list(predictions.logits(rows=9)))
    assert read.dtype == np.float16
    np.testing.assert_array_equal(read, LOGITS.astype(np.float16))
    assert [file.name for file in tmp_path.iterdir()] == ["resnet18-blurred-original-s1.parquet"]


def test_top5_is_sklearns(tmp_path):
    outcomes = read_predictions(written(tmp_path)).outcomes()
    for k in (1, 5):
        hits = (outcomes.top5[:, :k] == outcomes.labels[:, None]).any(axis=1)
        assert hits.mean() == top_k_accuracy_score(LABELS, LOGITS, k=k, labels=range(8))


@given(arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 12)), elements=st.integers(-3, 3)))
def test_highest_breaks_ties_by_index(logits):
    number = min(5, logits.shape[1])
    expected = [sorted(range(len(row)), key=lambda c: (-row[c], c))[:number] for row in logits]
    assert highest(logits, number).tolist() == expected


def test_few_classes_have_a_short_top5(tmp_path):
    evaluation = replace(EVALUATION, classes=("a", "b", "c"))
    outcomes = read_predictions(written(tmp_path, evaluation, IDS[:4], [0, 1, 2, 0], LOGITS[:4, :3])).outcomes()
    assert outcomes.top5.shape == (4, 3)


def test_large_logits_stay_finite(tmp_path):
    logits = np.array([[1e9, -1e9] + [0.0] * 6])
    read = next(read_predictions(written(tmp_path, ids=IDS[:1], labels=[0], logits=logits)).logits())
    assert read[0, :2].tolist() == [65504, -65504]


def test_pandas_reads_it(tmp_path):
    import pandas as pd

    frame = pd.read_parquet(written(tmp_path))
    assert list(frame.columns) == ["image_id", "label", "top5", "logits"]
    np.testing.assert_allclose(np.stack(frame.logits.to_list()), LOGITS, atol=2e-3)


def test_other_tools_types_are_read(tmp_path):
    path = tmp_path / "theirs.parquet"
    top5 = highest(LOGITS, 5)
    table = pa.table(
        {
            "image_id": pa.array(IDS, pa.large_string()),
            "label": pa.array(LABELS, pa.int64()),
            "top5": pa.array(top5.tolist(), pa.large_list(pa.int64())),
            "logits": pa.array(LOGITS.tolist(), pa.list_(pa.float32(), 8)),
        }
    ).replace_schema_metadata({METADATA_KEY: json.dumps(asdict(EVALUATION))})
    pq.write_table(table, path)
    predictions = read_predictions(path)
    np.testing.assert_array_equal(predictions.outcomes().top5, top5)
    np.testing.assert_array_equal(np.concatenate(list(predictions.logits())), LOGITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(ids=["a", "a"], labels=[0, 0], logits=LOGITS[:2]), "several of 'a'"),
        (dict(ids=[], labels=[], logits=LOGITS[:0]), "at least one image"),
        (dict(ids=["a"], labels=[8], logits=LOGITS[:1]), "'a': label: expected 0 to 7, got 8"),
        (dict(ids=["a"], labels=[0], logits=LOGITS[:1, :7]), r"logits of shape \(1, 8\)"),
        (dict(ids=["a"], labels=[0], logits=np.full((1, 8), np.nan)), "'a': logits: expected finite"),
    ],
)
def test_bad_predictions_are_not_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        written(tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_repeated_image_of_another_batch(tmp_path):
    with pytest.raises(InputError, match=r"several of 'val/000\.JPEG'"):
        written(tmp_path, ids=[*IDS[:39], IDS[0]], batch=5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", "one", "seed: expected a whole number"),
        ("classes", [], "classes: expected one name"),
        ("classes", [1, 2], "classes: expected one name"),
        ("architecture", None, "architecture: expected a text"),
        ("eval", "../../etc", "eval: expected a plain name"),
    ],
)
def test_bad_metadata(tmp_path, field, value, message):
    path = written(tmp_path)
    metadata = {METADATA_KEY: json.dumps({**asdict(EVALUATION), field: value})}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=message) as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {METADATA_KEY: "{"}, {METADATA_KEY: "[]"}, {METADATA_KEY: "{}"}])
def test_metadata_that_is_none(tmp_path, metadata):
    path = written(tmp_path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=METADATA_KEY):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 8}, "label: expected class indices"),
        ({"label": -1}, "label: expected class indices"),
        ({"label": None}, "'label': expected a class"),
        ({"image_id": None}, "'image_id': expected a name"),
        ({"top5": [0, 1, 2, 3, 9]}, "top5: expected class indices"),
        ({"top5": [0, 1, 2, 3]}, "top5: expected 5 numbers, got 4"),
        ({"top5": None}, "top5: expected 5 numbers, got 0"),
        ({"top5": [0, 0, 0, 0, 0]}, "top5: expected different classes"),
        ({"logits": [0.0] * 7}, "logits: expected 8 numbers, got 7"),
        ({"logits": [0.0] * 7 + [float("inf")]}, "logits: expected finite"),
        ({"logits": [0.0] * 7 + [None]}, "logits: expected numbers"),
    ],
)
def test_bad_rows(tmp_path, change, message):
    path = written(tmp_path)
    schema = pq.read_schema(path)
    row = {"image_id": "a", "label": 0, "top5": [0, 1, 2, 3, 4], "logits": [0.0] * 8, **change}
    pq.write_table(pa.Table.from_pylist([row], schema=schema), path)
    predictions = read_predictions(path)
    with pytest.raises(InputError, match=message) as caught:
        (predictions.outcomes(), list(predictions.logits()))
    assert str(path) in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="found no such file"):
        read_predictions(tmp_path / "none.parquet")


def test_cut_files(tmp_path):
    path = written(tmp_path)
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="expected a Parquet file"):
            read_predictions(path)


def test_damaged_pages(tmp_path):
    path = written(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[4:1500] = bytes(1496)
    path.write_bytes(bytes(whole))
    predictions = read_predictions(path)
    with pytest.raises(InputError):
        (predictions.outcomes(), list(predictions.logits()))


def test_missing_or_wrong_column(tmp_path):
    path = written(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["logits"]), path)
    with pytest.raises(InputError, match="expected a column 'logits'"):
        read_predictions(path)
    pq.write_table(table.set_column(1, "label", pa.array(["x"] * 40)), path)
    with pytest.raises(InputError, match="column 'label': expected int32, got string"):
        read_predictions(path)
