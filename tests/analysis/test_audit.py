"""The sample is what was asked for, and Table 1 comes out of answers that were made to give the paper's."""

import csv
import json

import numpy as np
import pytest

from unface.analysis.audit import Errors, audit, certainty, table1
from unface.analysis.paper import published
from unface.analysis.sampling import Group, Plan, Sample, draw
from unface.errors import InputError
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.table import FACES_SCHEMA

MAMMALS = ["n02123045", "n02085620", "n02129165", "n01877812"]
OTHERS = ["n01440764", "n10148035", "n04487394"]


def grid(number, start=0.0):
    """Boxes apart from each other."""
    return [
        [20 * (i % 10) + start, 20 * (i // 10), 20 * (i % 10) + start + 9, 20 * (i // 10) + 9] for i in range(number)
    ]


def dataset(images=30):
    faces = {"n10148035": 3, "n04487394": 2, "n02123045": 1}
    return faces_table(
        FaceRow(f"train/{wnid}/{n}.JPEG", 300, 300, "detected", Faces.make(grid(faces.get(wnid, 0))))
        for wnid in MAMMALS + OTHERS
        for n in range(images)
    )


def test_the_strata_are_what_was_asked_for():
    sample = draw(dataset(), Plan(classes=2, images=10, seed=7, below="mammal.n.01"))
    by_stratum = {name: [g for g in sample.groups if g.stratum == name] for name in ("random", "hardest")}
    assert [group.class_name for group in by_stratum["hardest"]] == ["n10148035", "n04487394"]
    assert {group.class_name for group in by_stratum["random"]} <= set(MAMMALS)
    assert len(by_stratum["random"]) == 2
    assert all(len(group.image_ids) == len(set(group.image_ids)) == 10 for group in sample.groups)
    assert len(set(sample.image_ids)) == 40


def test_the_same_seed_draws_the_same_whatever_the_order_of_rows():
    table, plan = dataset(), Plan(classes=3, images=5, seed=3)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert draw(table, plan) == draw(shuffled, plan)
    assert draw(table, plan) != draw(table, Plan(classes=3, images=5, seed=4))


def test_every_image_is_as_likely():
    """Over 2,000 seeds each of 30 images is drawn about a third of the time: within 5 standard deviations."""
    table = dataset()
    hits = np.zeros(30)
    for seed in range(2000):
        for group in draw(table, Plan(classes=1, images=10, seed=seed)).groups:
            if group.stratum == "hardest":
                hits[[int(i.split("/")[-1].split(".")[0]) for i in group.image_ids]] += 1
    assert abs(hits - 2000 / 3).max() < 5 * np.sqrt(2000 * 2 / 9)


def test_small_classes_give_what_they_have_and_classless_datasets_are_drawn_as_a_whole():
    assert len(draw(dataset(3), Plan(classes=50, images=50)).image_ids) == 21
    flat = faces_table(FaceRow(f"{n}.jpg", 9, 9, "detected", Faces.make(grid(n % 4))) for n in range(40))
    random, hardest = sorted(draw(flat, Plan(classes=1, images=10)).groups, key=lambda g: g.stratum == "hardest")
    assert {int(name.split(".")[0]) % 4 for name in hardest.image_ids} == {3}
    assert len(random.image_ids) == 10
    assert not set(random.image_ids) & set(hardest.image_ids)


@pytest.mark.parametrize("plan", [Plan(split="nowhere"), Plan(below="unicorn.n.99")])
def test_what_cannot_be_drawn_is_refused(plan):
    with pytest.raises(InputError, match="expected"):
        draw(dataset(), plan)


def test_nothing_to_draw_from():
    with pytest.raises(InputError, match="found none"):
        draw(FACES_SCHEMA.empty_table(), Plan())


def test_a_sample_survives_json():
    sample = draw(dataset(), Plan(classes=2, images=3))
    assert Sample.from_record(json.loads(json.dumps(sample.record()))) == sample


def test_table_1_is_the_papers_where_the_errors_are():
    """False positives and misses of the paper's 20 classes, put into images, come out again, means included."""
    groups, truth, detected, refined = [], [], [], []
    for row in published("table1"):
        stratum = {"mammal": "random", "most-faces": "hardest"}[row["stratum"]]
        ids = tuple(f"{row['class']}/{n}.jpg" for n in range(50))
        groups.append(Group(stratum, row["class"], row["class"], ids))
        for n, image_id in enumerate(ids):
            here = {key: 1 if n < int(row[key]) else 0 for key in row if key[:2] in ("fp", "fn")}
            truth.append(FaceRow(image_id, 300, 300, "reviewed", Faces.make(grid(2))))
            for rows, name in ((detected, "detected"), (refined, "reviewed")):
                boxes = grid(2, start=1.0)[here[f"fn_{name}"] :] + [[250, 250, 260, 260]] * here[f"fp_{name}"]
                rows.append(FaceRow(image_id, 300, 300, "detected", Faces.make(boxes)))
    sample = Sample(Plan(), tuple(groups))
    found = audit(sample, faces_table(truth), {"A": faces_table(detected), "H": faces_table(refined)})
    table = table1(found, is_ilsvrc=True)
    means = {row[0]: row[3:] for row in table.rows if row[1].startswith("mean")}
    assert means["random"] == pytest.approx([10.4, 0.0, 2.0, 0.0])
    assert means["hardest"] == pytest.approx([0.6, 4.3, 0.5, 1.9])
    assert means["paper: mammal"] == pytest.approx(means["random"])
    assert means["paper: most-faces"] == pytest.approx(means["hardest"])
    setter = next(row for row in table.rows if row[1] == "irish setter")
    assert setter[2:] == [50, 12, 0, 3, 0]
    sure = {(row[0], row[1], row[2]): row[3:] for row in certainty(found, 0.01).rows}
    assert sure["hardest", "A", "images with a missed face"][0] == pytest.approx(43 / 500)
    assert next(csv.reader(table.csv().splitlines()))[:3] == ["stratum", "class", "images"]


def test_only_answered_images_count_and_a_failed_image_misses_its_faces():
    group = Group("random", "", "", ("a", "b", "c", "d"))
    faces = Faces.make(grid(2))
    answers = [
        FaceRow("a", 9, 9, "reviewed", faces),
        FaceRow("b", 9, 9, "reviewed"),
        FaceRow("c", 9, 9, "detected", faces),
    ]
    table = [FaceRow("a", 9, 9, "failed"), FaceRow("b", 9, 9, "detected", faces), FaceRow("c", 9, 9, "detected")]
    found = audit(Sample(Plan(), (group,)), faces_table(answers), {"A": faces_table(table)})
    assert found.unanswered == 2
    assert found.total("random", 0) == Errors(2, 2, 2, 1, 1)


def test_the_papers_table_2_agrees_with_itself():
    rows = published("table2")
    assert sum(int(row["classes"]) for row in rows) == 205  # the text says 215
    for row in rows:
        assert 100 * int(row["with_faces"]) / int(row["images"]) == pytest.approx(
            float(row["with_faces_percent"]), abs=1e-4
        )
