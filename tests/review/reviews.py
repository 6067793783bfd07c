"""Small reviews to test with: images, detections, gold."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from builders import write_image
from unface.datasets import Folder, open_dataset
from unface.faces import FaceRow, Faces, faces_table
from unface.review.accounts import add_account
from unface.review.creation import Created, create_review
from unface.review.policy import Policy
from unface.review.store import Store
from unface.review.submission import Submission
from unface.review.tables import Account

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
WIDTH, HEIGHT = 64, 48
FACE, OTHER = [10.0, 8.0, 40.0, 40.0], [44.0, 4.0, 60.0, 20.0]
SMALL = Policy(images_per_task=4, gold_per_task=1, idle_minutes=10)


def image_ids(images: int, gold: int) -> tuple[list[str], list[str]]:
    return [f"a/{i:03d}.jpg" for i in range(images)], [f"gold/{i:03d}.jpg" for i in range(gold)]


def write_dataset(root: Path, images: int = 9, gold: int = 3) -> Folder:
    for number, image_id in enumerate([name for names in image_ids(images, gold) for name in names]):
        write_image(root / image_id, width=WIDTH, height=HEIGHT, seed=number)
    return open_dataset(root)


def row(image_id: str, *boxes: list[float], status: str = "detected", scores=None, candidates=()) -> FaceRow:
    faces = Faces.make(list(boxes), scores, source="yunet")
    return FaceRow(image_id, WIDTH, HEIGHT, status, faces, Faces.make(list(candidates)))


def tables(images: int = 9, gold: int = 3):
    """FACES (every detection right, each on one face) and GOLD (one face, none, one face, …)."""
    ids, gold_ids = image_ids(images, gold)
    truths = [row(image_id, *([FACE] if i % 2 == 0 else []), status="reviewed") for i, image_id in enumerate(gold_ids)]
    return faces_table([row(i, FACE) for i in ids], {"detector": "yunet", "threshold": "0.5"}), faces_table(truths)


def make_review(store: Store, root: Path, images: int = 9, gold: int = 3, policy: Policy = SMALL) -> Created:
    faces, truth = tables(images, gold)
    return create_review(store, write_dataset(root, images, gold), faces, truth if gold else None, policy, NOON)


def add(store: Store, name: str, role: str = "worker") -> Account:
    with store.write() as session:
        account = add_account(session, name, role, NOON)
        session.expunge(account)
    return account


def answer(*boxes: list[float], attempt: int = 1, key: str | None = None, label: str = "face") -> Submission:
    faces = Faces.make(list(boxes), label=label, source="human")
    return Submission(attempt, key or np.random.default_rng().bytes(8).hex(), faces, 1.5)
