"""What goes over the wire: the shapes of requests and responses."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from unface.faces import Faces
from unface.review.submission import MAX_BOXES, Refused
from unface.review.tables import Role, State

Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="Chosen by the sender; the same on a retry.")]


Pixel = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Box(BaseModel):
    """A box in pixels of the upright image, half-open."""

    model_config = ConfigDict(extra="forbid", strict=True)

    x0: Pixel
    y0: Pixel
    x1: Pixel
    y1: Pixel
    label: Literal["face", "nsfw"] = "face"


Boxes = Annotated[list[Box], Field(max_length=MAX_BOXES)]


class Problem(BaseModel):
    """Why a request was refused; nothing has changed."""

    code: Annotated[
        str,
        Field(
            description="invalid, unauthorized, forbidden, unknown, ended, stale, incomplete, conflict, paused, "
            "too_large, slow_down, unreadable or unavailable"
        ),
    ]
    message: str


class ReviewView(BaseModel):
    """What everybody may know of the review."""

    name: str
    images_per_task: int
    lives: int
    idle_minutes: float
    labels: list[str]
    paused: bool


class Me(BaseModel):
    """Who is asking."""

    name: str
    role: Role
    review: ReviewView


class ImageView(BaseModel):
    """One image of a task.

    `boxes` are the latest answer of this attempt, or those to start from; `version` counts the answers of this
    attempt, 0 for none; `truth` is there only after a wrong answer; `url` expires and is renewed by getting the task.
    """

    position: int
    width: int
    height: int
    boxes: list[Box]
    version: int
    truth: list[Box] | None
    url: str


class TaskView(BaseModel):
    """A task as its worker sees it."""

    id: int
    state: State
    attempt: int
    lives: int
    expires_at: datetime
    images: list[ImageView]


class Taken(BaseModel):
    """A task to work on; null where none is left."""

    task: TaskView | None


class AnswerIn(_In):
    """One image's answer."""

    attempt: Number
    key: Key
    seconds: Annotated[FiniteFloat, Field(ge=0, le=86400)]
    boxes: Boxes


class SavedView(BaseModel):
    """An answer that is kept.

    `truth` is there only if it was wrong; `restarted` says that this cost the last life: `attempt` is the new one, and
    all images start again.
    """

    version: int
    attempt: int
    lives: int
    restarted: bool
    truth: list[Box] | None


class SubmitIn(_In):
    """Which attempt is handed in."""

    attempt: Number


class Ended(BaseModel):
    """What became of a task."""

    state: Literal["submitted", "returned"]


class Nothing(_In):
    """An empty object."""


class DisputeAnswer(BaseModel):
    """One worker's answer on an image in dispute; nobody's name."""

    boxes: list[Box]


class Dispute(BaseModel):
    """An image that a reviewer must decide; `proposal` is what at least half of the workers drew."""

    id: int
    image_id: str
    width: int
    height: int
    agreement: float | None
    answers: list[DisputeAnswer]
    proposal: list[Box]
    url: str


class Disputes(BaseModel):
    """Images in dispute, least agreement first."""

    total: int
    images: list[Dispute]


class DecisionIn(_In):
    """A reviewer's boxes."""

    key: Key
    boxes: Boxes


class Decided(BaseModel):
    """The decision is kept."""

    decision: Literal["adjudicated"]


class AccountIn(_In):
    """A new account."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    role: Role
    days: Annotated[int, Field(ge=1, le=365, description="How long its link is good.")] = 30


class AccountView(BaseModel):
    """Somebody who may come in."""

    id: int
    name: str
    role: Role
    created_at: datetime
    disabled: bool


class Accounts(BaseModel):
    """All accounts."""

    accounts: list[AccountView]


class Invited(BaseModel):
    """A new account's link, shown this once."""

    account: AccountView
    link: str


TurkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{5,64}$")]


class EnterIn(_In):
    """What a HIT's address says: our `hit`, Mechanical Turk's `assignmentId` and `workerId`."""

    hit: Annotated[str, Field(max_length=200)]
    assignment_id: TurkName
    worker_id: TurkName


class Entered(BaseModel):
    """A token, and the `id` of the worker's task."""

    token: str
    task: int


class Health(BaseModel):
    """The server answers and reaches its store."""

    status: Literal["ok"]


class Running(BaseModel):
    """Whether tasks are given out."""

    paused: bool


def boxes_of(faces: Faces) -> list[Box]:
    """Faces as they go out: sides and labels only; a score or a source would tell detections from gold."""
    return [
        Box(x0=round(x0, 2), y0=round(y0, 2), x1=round(x1, 2), y1=round(y1, 2), label=_label(label))
        for (x0, y0, x1, y1), label in zip(faces.boxes_xyxy.tolist(), faces.labels, strict=True)
    ]


def faces_of(boxes: Sequence[Box]) -> Faces:
    """Boxes that came in, as faces that people drew; Refused (`invalid`) if one has no area."""
    try:
        made = Faces.make([[box.x0, box.y0, box.x1, box.y1] for box in boxes], source="human")
    except ValueError as error:
        raise Refused("invalid", str(error)) from None
    return Faces(made.boxes_xyxy, made.scores, tuple(box.label for box in boxes), made.sources)


def _label(label: str) -> Literal["face", "nsfw"]:
    return "nsfw" if label == "nsfw" else "face"
