"""Figures 3 and 4: areas by hand, correlations by scipy, and studies whose effects are planted."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from studies import MadeUp
from unface.analysis.study.categories import (
    BLURRED_EDGES,
    areas,
    category_drops,
    class_means,
    relate,
)
from unface.analysis.study.comparisons import comparisons, drop, recompression
from unface.analysis.study.objects import read_objects
from unface.analysis.study.results import read_results
from unface.analysis.study.story import Choices, read_story
from unface.errors import InputError
from unface.faces import FaceRow, Faces, faces_table

ORIGINAL, BLURRED, REENCODED = "original", "blurred", "reencoded"


def test_areas_by_hand():
    ids = pa.array(["v/a.jpg", "v/b.jpg", "v/c.jpg", "v/d.jpg", "v/e.jpg"])
    faces = faces_table(
        [
            FaceRow("v/b.jpg", 100, 50, "detected", Faces.make([[0, 0, 10, 10], [5, 0, 20, 10]])),
            FaceRow("v/a.jpg", 100, 50, "detected"),
            FaceRow("v/c.jpg", 100, 50, "failed"),
            FaceRow("v/d.jpg", 10, 10, "reviewed", Faces.make([[-5, 0, 5, 10]])),
            FaceRow("v/x.jpg", 10, 10, "reviewed", Faces.make([[0, 0, 10, 10]])),
        ]
    )
    objects = {
        "b": np.array([[0, 0, 20, 20], [50, 0, 60, 10]], np.float32),
        "d": np.array([[0, 0, 100, 100]], np.float32),
        "a": np.zeros((0, 4), np.float32),
    }
    found = areas(ids, faces, objects)
    np.testing.assert_allclose(found.image, [0, 200 / 5000, np.nan, 0.5, np.nan])
    np.testing.assert_allclose(found.objects, [np.nan, (200 / 400 + 0) / 2, np.nan, 0.5, np.nan])


def test_enlarged_boxes_are_the_papers():
    """Each side moves by a tenth of the longer side, and is clipped to the image."""
    faces = faces_table([FaceRow("a.jpg", 100, 100, "detected", Faces.make([[0, 40, 10, 60]]))])
    found = areas(pa.array(["a.jpg"]), faces, enlarged=True)
    np.testing.assert_allclose(found.image, [12 * 24 / 10_000], rtol=1e-6)


def test_class_means_leave_out_what_is_not_known():
    labels = np.array([0, 0, 1, 1, 2], np.int32)
    np.testing.assert_allclose(class_means(np.array([1, 3, np.nan, 5, np.nan]), labels, 4), [2, 5, np.nan, np.nan])


def test_pearson_is_scipys_and_bins_are_half_open():
    rng = np.random.default_rng(0)
    fractions = np.concatenate([rng.uniform(0, 0.2, 200), [0.0, 0.01, 0.08, np.nan, 1.0]])
    drops = 0.3 * fractions + rng.normal(0, 0.02, 205)
    found = relate(fractions, drops, BLURRED_EDGES)
    known = ~np.isnan(fractions)
    expected = stats.pearsonr(fractions[known], drops[known])
    assert (found.r, found.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert found.low < found.r < found.high
    for one in found.bins:
        inside = (fractions >= one.low) & ((fractions < one.high) | (one.high == 1))
        assert one.classes == inside.sum()
        assert one.drop == pytest.approx(drops[inside].mean())
        assert one.error == pytest.approx(stats.sem(drops[inside]))


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_too_few_or_equal_classes_have_no_correlation(number):
    found = relate(np.full(number, 0.1), np.arange(number) / 10, BLURRED_EDGES)
    assert found.r is None
    assert sum(one.classes for one in found.bins) == number


def with_objects(folder, study):
    """The object is the upper half, so that faces cover twice as much of it."""
    lines = ["file,object_boxes_xyxy"]
    lines += [f'{name.rpartition("/")[2]},"[[0, 0, 100, 50]]"' for name in study.ids]
    (folder / "objects.csv").write_text("\n".join(lines))


def test_planted_effects_make_figures_3_and_4_rise(tmp_path):
    study = MadeUp()
    with_objects(study.write(tmp_path), study)
    (setting,) = read_story(tmp_path).settings
    for relation in (*setting.blurred, *setting.covered):
        assert relation.r > 0.8
        drops = [one.drop for one in relation.bins if one.classes > 1]
        assert drops == sorted(drops)
        assert drops[-1] > drops[0] + 0.1
    np.testing.assert_allclose(setting.covered[0].fractions, 2 * setting.blurred[0].fractions, rtol=1e-4)


def test_the_right_classes_are_most_affected(tmp_path):
    (setting,) = read_story(MadeUp().write(tmp_path)).settings
    assert min(setting.categories.most_affected(1, 5)) >= 15
    assert set(setting.categories.found(1)) & {0, 1} == set()
    assert set(setting.categories.found(1)) >= {25, 26, 27, 28, 29}


def test_swapped_settings_are_noticed(tmp_path):
    """The same networks, called by each other's names: every sign turns, and a note says so."""
    study, swapped = MadeUp(), {ORIGINAL: BLURRED, BLURRED: ORIGINAL}
    study.logits = lambda train, eval_, draw=study.logits: draw(swapped[train], swapped[eval_])
    story = read_story(study.write(tmp_path))
    (setting,) = story.settings
    assert story.drops[0].of(1).high < -0.1
    assert setting.blurred[0].r < -0.8
    assert any("swapped" in note for note in story.notes)
    right = read_story(MadeUp().write(tmp_path / "right"))
    assert right.drops[0].of(1).low > 0.1
    assert not any("swapped" in note for note in right.notes)


def test_null_studies_find_nothing_beyond_the_error_rate(tmp_path):
    found, relations, outside = 0, 0, 0
    for seed in range(12):
        study = MadeUp(effects={}, luck=0.3, rng_seed=seed, classes=20, images=15)
        story = read_story(study.write(tmp_path / str(seed)))
        (setting,) = story.settings
        found += bool(setting.categories.found(1))
        relations += setting.blurred[0].p < 0.05
        outside += not story.drops[0].of(1).low <= 0 <= story.drops[0].of(1).high
    assert found <= 2
    assert relations <= 3
    assert outside <= 3


def test_recompression_explains_what_was_planted(tmp_path):
    """Obfuscating costs what encoding again costs, and as much again at the faces."""
    cells = tuple((setting, setting) for setting in (ORIGINAL, BLURRED, REENCODED))
    study = MadeUp(images=60, cells=cells, effects={BLURRED: 8.0}, everywhere={BLURRED: 0.4, REENCODED: 0.4})
    results = read_results(study.write(tmp_path))
    top1, _ = recompression(results)
    truth = MadeUp(images=3000, architectures=("n",), seeds=1)
    drops = {}
    for name, lost in (("none", 0), ("again", 0.4), ("both", 0.4 + 8 * truth.fractions)):
        logits = truth.rng.normal(0, 1, (len(truth.labels), truth.classes))
        logits[np.arange(len(truth.labels)), truth.labels] += 2.5 + 0.7 * truth.difficulty - lost
        drops[name] = (logits.argmax(axis=1) == truth.labels).mean()
    share = (drops["none"] - drops["again"]) / (drops["none"] - drops["both"])
    assert top1.share.low < share < top1.share.high
    assert top1.control.low > 0
    assert top1.drop.value > top1.control.value


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({"jpeg_quality": 75, "folder": ""}, 2),
        ({"jpeg_quality": None, "folder": "x"}, 2),
        ({"jpeg_quality": None, "folder": ""}, 0),
        ({}, 2),
        (None, 2),
    ],
)
def test_compression_explains_nothing_where_nothing_was_encoded(tmp_path, how, rows):
    cells = tuple((setting, setting) for setting in (ORIGINAL, BLURRED, REENCODED))
    MadeUp(classes=4, cells=cells).write(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps({"settings": {"train": {BLURRED: how}}}))
    story = read_story(tmp_path)
    assert len(story.recompression) == rows
    assert any("not encoded again (blurred)" in note for note in story.notes) == (rows == 0)


def test_accuracy_of_classes_is_their_images(tmp_path):
    results = read_results(MadeUp(classes=6).write(tmp_path))
    found = category_drops(results, drop(results, comparisons(results)[0]))
    runs = {cell.train: list(seeds.values()) for cell, seeds in results.cells.items() if cell.architecture == "vgg11"}
    assert len(runs[ORIGINAL]) == 3
    everything = [run for cell, seeds in results.cells.items() if cell.train == ORIGINAL for run in seeds.values()]
    for top in (1, 5):
        for k in range(6):
            shares = [results.correct(run, top)[results.labels == k].mean() for run in everything]
            assert found.accuracy[(1, 5).index(top), k] == pytest.approx(np.mean(shares))


def test_only_images_with_faces(tmp_path):
    study = MadeUp(classes=5)
    study.fractions[::2] = 0
    study.write(tmp_path)
    every, some = (read_story(tmp_path, Choices(only_faces=only)).settings[0].blurred[0].fractions for only in (0, 1))
    np.testing.assert_allclose(some[1:], 2 * every[1:], rtol=0.4)
    assert np.isnan(some[0])


def test_objects_of_csv_and_of_voc_are_the_same(tmp_path):
    (tmp_path / "o.csv").write_text('file,object_boxes_xyxy\nx/a.JPEG,"[[0, 0, 9, 9], [3, 3, 3, 9]]"\nb.JPEG,[]\n')
    folder = tmp_path / "xml"
    folder.mkdir()
    for name, objects in (
        (
            "a",
            "<object><name>n</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>",
        ),
        ("b", ""),
    ):
        (folder / f"{name}.xml").write_text(f"<annotation><filename>{name}</filename>{objects}</annotation>")
    for found in (read_objects(tmp_path / "o.csv"), read_objects(folder)):
        assert {name: boxes.tolist() for name, boxes in found.items()} == {"a": [[0, 0, 9, 9]], "b": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\na", "got no object_boxes_xyxy"),
        ("file,object_boxes_xyxy\na,{", "line 2: object_boxes_xyxy: expected a JSON list"),
        ("file,object_boxes_xyxy\na,5", "line 2: object box"),
        ('file,object_boxes_xyxy\na,"[[1, 2]]"', "line 2: object box"),
        ('file,object_boxes_xyxy\na,"[[1, 2, 5, null]]"', "line 2: object box"),
        ("file,object_boxes_xyxy\na.jpg,[]\na.png,[]", "line 3: expected one row per image"),
        ("file,object_boxes_xyxy\n", "at least one image"),
    ],
)
def test_bad_objects(tmp_path, text, message):
    (tmp_path / "objects.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_objects(tmp_path / "objects.csv")


def test_objects_of_other_images(tmp_path):
    MadeUp(classes=3).write(tmp_path)
    (tmp_path / "objects.csv").write_text(f'file,object_boxes_xyxy\nother,"{json.dumps([[0, 0, 1, 1]])}"\n')
    with pytest.raises(InputError, match="object boxes of the evaluated images, got none"):
        read_story(tmp_path)


def test_faces_of_other_images(tmp_path):
    study = MadeUp(classes=3)
    study.write(tmp_path, faces=False)
    from unface.faces.table import write_faces

    write_faces(tmp_path / "faces.parquet", faces_table([FaceRow("other.jpg", 9, 9, "detected")]))
    with pytest.raises(InputError, match="expected the evaluated images"):
        read_story(tmp_path)


def test_without_faces_the_rest_is_told(tmp_path):
    story = read_story(MadeUp(classes=3).write(tmp_path, faces=False))
    assert story.settings[0].blurred is None
    assert any("no faces.parquet" in note for note in story.notes)
