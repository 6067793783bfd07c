from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import func, select

from review.reviews import FACE, NOON, OTHER, SMALL, make_review, row, tables, write_dataset
from unface.boxes import as_boxes
from unface.errors import InputError
from unface.faces import Faces, faces_table
from unface.review.creation import create_review, load_review
from unface.review.grading import judge
from unface.review.policy import Policy
from unface.review.store import open_store
from unface.review.tables import Base, Image, Item, Slot, Task


@pytest.fixture
def lite(tmp_path):
    store = open_store(str(tmp_path / "review.db"), create=True)
    yield store
    store.close()


def counts(store):
    with store.read() as session:
        return {t.name: session.scalar(select(func.count()).select_from(t)) for t in Base.metadata.sorted_tables}


def test_a_review_is_written(store, tmp_path):
    created = make_review(store, tmp_path / "src")
    assert (created.images, created.gold, created.tasks, created.slots) == (9, 3, 3, 3)
    found = counts(store)
    assert (found["image"], found["task"], found["item"], found["slot"]) == (12, 3, 12, 3)
    with store.read() as session:
        review = load_review(session)
        assert Policy.model_validate(review.policy) == SMALL
        assert review.provenance["unface.detector"] == "yunet"
        for item, image in session.execute(select(Item, Image).join(Image)):
            assert item.gold == (image.truth is not None) == (item.start is not None)
            if item.gold:
                wrong = Faces.from_structs(item.start).boxes_xyxy
                assert not judge(wrong, Faces.from_structs(image.truth).boxes_xyxy, SMALL).right


def test_replicas_are_slots(lite, tmp_path):
    make_review(lite, tmp_path / "src", policy=SMALL.model_copy(update={"replicas": 3}))
    with lite.read() as session:
        assert session.scalar(select(func.count(Slot.id))) == 9
        assert session.scalar(select(func.count(Task.id))) == 3


def test_failed_images_are_kept_and_not_reviewed(lite, tmp_path):
    dataset = write_dataset(tmp_path / "src")
    _, gold = tables()
    rows = [row("a/000.jpg", FACE), replace(row("broken.jpg", status="failed"), width=0, height=0)]
    create_review(lite, dataset, faces_table(rows), gold, SMALL, NOON)
    with lite.read() as session:
        assert session.scalar(select(func.count(Item.id)).where(~Item.gold)) == 1
        assert session.scalar(select(Image.status).where(Image.image_id == "broken.jpg")) == "failed"


def refuse(store, message, dataset, faces, gold, policy=SMALL):
    with pytest.raises(InputError, match=message):
        create_review(store, dataset, faces, gold, policy, NOON)
    assert not any(counts(store).values())


def test_what_makes_no_review_is_refused_and_nothing_is_written(lite, tmp_path):
    dataset = write_dataset(tmp_path / "src")
    faces, gold = tables()
    refuse(lite, "at least 1 verified images, got 0", dataset, faces, None)
    refuse(lite, "at least 3 verified images, got 2", dataset, faces, gold.slice(0, 2), Policy())
    refuse(lite, "got none beside failed and gold", dataset, gold, gold)
    refuse(lite, "FACES: expected images of the dataset, got 1 others", dataset, faces_table([row("no.jpg")]), gold)
    for outside in ("../x.jpg", "/etc/passwd", "a\0b"):
        refuse(lite, "FACES: expected images of the dataset", dataset, faces_table([row(outside)]), gold)
    refuse(lite, "gold: expected images of the dataset", dataset, faces, faces_table([row("no", status="reviewed")]))
    unsized = faces_table([replace(row("a/000.jpg"), width=0)])
    refuse(lite, "a/000.jpg: expected its size, got 0 x 48", dataset, unsized, gold)


def test_a_store_holds_one_review(lite, tmp_path):
    make_review(lite, tmp_path / "src")
    before = counts(lite)
    with pytest.raises(InputError, match="expected a new store"):
        make_review(lite, tmp_path / "src")
    assert counts(lite) == before


def test_gold_from_an_earlier_review_needs_two_who_agreed(lite, tmp_path):
    dataset = write_dataset(tmp_path / "src")
    faces, _ = tables()
    names = [f"gold/{i:03d}.jpg" for i in range(3)] + ["a/000.jpg", "a/001.jpg"]
    gold = faces_table([row(name, OTHER, status="reviewed") for name in names[:4]] + [row(names[4], FACE)])
    gold = gold.append_column("workers", pa.array([2, 1, 3, None, None], pa.int32()))
    gold = gold.append_column("agreement", pa.array([0.9, None, 0.1, None, None], pa.float32()))
    created = create_review(lite, dataset, faces, gold, SMALL, NOON)
    assert created.gold == 2
    with lite.read() as session:
        true = set(session.scalars(select(Image.image_id).where(Image.truth.is_not(None))))
    assert true == {"gold/000.jpg", "a/000.jpg"}


def test_the_same_seed_makes_the_same_tasks(tmp_path):
    items = []
    for seed in (0, 0, 1):
        store = open_store(str(tmp_path / f"{len(items)}.db"), create=True)
        make_review(store, tmp_path / "src", policy=SMALL.model_copy(update={"seed": seed}))
        with store.read() as session:
            items.append(session.execute(select(Item.task_id, Item.position, Item.image_pk, Item.start)).all())
        store.close()
    assert items[0] == items[1]
    assert items[0] != items[2]


def test_starting_boxes_of_gold_lie_inside(lite, tmp_path):
    make_review(lite, tmp_path / "src", images=60, gold=8)
    with lite.read() as session:
        for start, image in session.execute(select(Item.start, Image).join(Image).where(Item.gold)):
            boxes = as_boxes(Faces.from_structs(start).boxes_xyxy)
            assert (boxes >= 0).all()
            assert (boxes <= np.tile([image.width, image.height], 2)).all()
