import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.analysis.statistics import SUPERCATEGORIES, summarize
from unface.analysis.tables import classes, tables_of
from unface.analysis.wordnet import load_nouns
from unface.boxes import union_area, union_areas
from unface.errors import InputError
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.classes import is_wnid
from unface.faces.table import FACES_SCHEMA

corner = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 12)] * 2)
boxes = st.lists(corner.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), max_size=5)
folder = st.sampled_from(["", "cat/", "train/cat/", "train/dog/", "val/dog/", "x/y/z/"])
status = st.sampled_from(["detected", "reviewed", "failed"])
size = st.sampled_from([(0, 0), (32, 24)])
rows = st.lists(st.tuples(folder, status, size, boxes), max_size=12)


def table_of(drawn):
    return faces_table(
        FaceRow(f"{place}{number}.jpg", *wh, how, Faces.make(b)) for number, (place, how, wh, b) in enumerate(drawn)
    )


@given(rows)
def test_the_same_as_counting_one_by_one(drawn):
    found = summarize(table_of(drawn))
    seen = [row for row in drawn if row[1] != "failed"]
    counts = [len(row[3]) for row in seen if row[3]]
    assert (found.images, found.failed) == (len(seen), len(drawn) - len(seen))
    assert found.reviewed == sum(row[1] == "reviewed" for row in seen)
    assert (found.with_faces, found.faces) == (len(counts), sum(counts))
    assert found.faces_per_image == Counter(counts)
    assert found.fewer_than_five == sum(n < 5 for n in counts)
    assert found.largest == max(counts, default=0)
    frame = pd.DataFrame([(row[0].rstrip("/").rpartition("/")[2], len(row[3])) for row in seen], columns=["name", "n"])
    expected = frame[frame.name != ""].groupby("name").n.agg(["size", lambda n: (n > 0).sum(), "sum"])
    got = {entry.name: [entry.images, entry.with_faces, entry.faces] for entry in found.by_class}
    assert got == {name: list(map(int, values)) for name, *values in expected.itertuples()}


@given(rows)
def test_the_area_that_faces_cover_is_the_unions(drawn):
    found = summarize(table_of(drawn))
    fractions = []
    for _, how, (width, height), image_boxes in drawn:
        if width and how != "failed":
            mask = np.zeros((height, width), bool)
            for x0, y0, x1, y1 in image_boxes:
                mask[y0:y1, x0:x1] = True
            fractions.append(mask.mean())
    assert found.sized == len(fractions)
    assert (found.area_all.mean if found.area_all else None) == (
        pytest.approx(np.mean(fractions)) if fractions else None
    )


@given(st.lists(boxes, max_size=8))
def test_areas_of_many_images_are_those_of_each(images):
    flat = np.array([box for image in images for box in image], np.float32).reshape(-1, 4)
    counts = np.array([len(image) for image in images], np.int64)
    expected = [union_area(np.array(image, np.float32).reshape(-1, 4)) for image in images]
    np.testing.assert_allclose(union_areas(flat, counts), expected)


def synset_table(wnids, with_faces=()):
    return faces_table(
        FaceRow(
            f"train/{wnid}/{number}.JPEG", 0, 0, "reviewed", Faces.make([[0, 0, 9, 9]] if wnid in with_faces else [])
        )
        for wnid in wnids
        for number in range(2)
    )


def test_supercategories_sum_what_lies_below_them():
    found = summarize(synset_table(["n01514859", "n01608432", "n02206856", "n10148035"], {"n01608432"}), ["kite.n.04"])
    by_name = {entry.name: entry for entry in found.supercategories}
    assert list(by_name) == [*SUPERCATEGORIES, "kite.n.04"]
    assert (by_name["bird.n.01"].classes, by_name["bird.n.01"].images, by_name["bird.n.01"].with_faces) == (2, 4, 2)
    assert by_name["insect.n.01"].classes == 1
    assert by_name["kite.n.04"].images == 2
    assert {entry.title for entry in found.by_class} == {"hen", "kite", "bee", "groom"}


def test_validation_images_of_ilsvrc_have_no_class():
    table = faces_table(
        [
            FaceRow("train/n01514859/1.JPEG", 0, 0, "reviewed"),
            FaceRow("val/ILSVRC2012_val_00000001.JPEG", 0, 0, "reviewed"),
        ]
    )
    found = summarize(table)
    assert [entry.name for entry in found.by_class] == ["n01514859"]
    assert found.images == 2


def test_an_unknown_synset_is_refused():
    with pytest.raises(InputError, match=r"synset 'unicorn\.n\.99': expected a noun of WordNet 3\.0"):
        summarize(synset_table(["n01514859"]), ["unicorn.n.99"])


def test_a_split_restricts_the_classes():
    table = table_of([("train/cat/", "detected", (0, 0), []), ("val/cat/", "detected", (0, 0), [])])
    assert summarize(table).by_class[0].images == 2
    assert summarize(table, split="train").by_class[0].images == 1
    assert summarize(table, split="nowhere").by_class == []


def test_an_empty_table_has_tables():
    found = summarize(FACES_SCHEMA.empty_table())
    assert found.images == found.faces == 0
    for table in [*tables_of(found), classes(found)]:
        assert table.text()
        assert table.csv()


def test_formulas_in_class_names_are_marked_in_csv():
    content = classes(summarize(table_of([("=cmd/", "detected", (0, 0), [])]))).csv()
    assert "\r\n'=cmd,'=cmd,1" in content


def test_the_five_supercategories_have_the_papers_numbers_of_classes(test_data):
    """By our copy of WordNet 3.0, and by ImageNet's own is-a file, which is another source."""
    meta = test_data / "imagenet_meta"
    wnids = json.loads((meta / "paper_sorted_wnids.json").read_text())
    edges = [line.split() for line in (meta / "wordnet_is_a_ilsvrc1000.txt").read_text().splitlines()]
    names = dict(line.split("\t") for line in (meta / "wordnet_names_ilsvrc1000.tsv").read_text().splitlines())

    def below(top):
        found = {top}
        while True:
            more = {child for parent, child in edges if parent in found} - found
            if not more:
                return found
            found |= more

    nouns = load_nouns()
    for synset, number in zip(SUPERCATEGORIES, [49, 44, 26, 59, 27], strict=True):
        ours = nouns.among(wnids, synset)
        assert len(ours) == number
        assert set(ours) == below(nouns.wnid(synset)) & set(wnids)
    assert len(wnids) == 1000
    for line in (meta / "LOC_synset_mapping.txt").read_text().splitlines():
        assert nouns.word(line[:9]) == line[10:].split(",")[0].lower()
    assert all(names[wnid].lower().replace("_", " ") == nouns.word(wnid) for wnid in wnids)


def test_wnids():
    assert is_wnid("n01503061")
    assert not is_wnid("n0150306")
    assert load_nouns().word("n99999999") == "n99999999"
    assert load_nouns().wnid("n01503061") == "n01503061"


def test_statistics_import_neither_torch_nor_matplotlib():
    code = "import unface.analysis.tables, sys; print({'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
