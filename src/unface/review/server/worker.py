"""Routes of workers: a task, its images, its answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from unface.errors import ImageError
from unface.review.links import BadLink, opened
from unface.review.policy import LABELS
from unface.review.server.desk import DISPUTE_IMAGE, TASK_IMAGE, Desk, NotAllowed, Worker, desk_of, problems
from unface.review.server.messages import (
    AnswerIn,
    Ended,
    ImageView,
    Me,
    Nothing,
    Number,
    ReviewView,
    SavedView,
    SubmitIn,
    Taken,
    TaskView,
    boxes_of,
    faces_of,
)
from unface.review.submission import Submission
from unface.review.tables import Account, Assignment, Image, Item
from unface.review.work import (
    find_assignment,
    give_back,
    is_paused,
    item_states,
    save_answer,
    submit,
    take,
)

router = APIRouter(prefix="/api")

TaskId = Annotated[Number, Path(description="The task's `id`.")]
Position = Annotated[int, Path(ge=0, le=10_000, description="The image's `position`.")]


@router.get("/me", responses=problems())
def me(request: Request, account: Worker) -> Me:
    """Tell who is asking, and what everybody may know of the review."""
    desk = desk_of(request)
    with desk.store.read() as session:
        review = ReviewView(
            name=request.app.state.name,
            images_per_task=desk.policy.images_per_task,
            lives=desk.policy.lives,
            idle_minutes=desk.policy.idle_minutes,
            labels=list(LABELS),
            paused=is_paused(session),
        )
    return Me(name=account.name, role=account.role, review=review)


@router.post("/tasks", responses=problems(409))
def take_task(request: Request, account: Worker, _: Nothing) -> Taken:
    """Take a task: the one at hand, else a new one; null where none is left."""
    desk = desk_of(request)
    with desk.store.write() as session:
        assignment_id = take(session, account, desk.now(), desk.policy)
    if assignment_id is None:
        return Taken(task=None)
    with desk.store.read() as session:  # others may write meanwhile
        return Taken(task=_task(desk, session, find_assignment(session, account, assignment_id)))


@router.get("/tasks/{task_id}", responses=problems(404))
def get_task(request: Request, account: Worker, task_id: TaskId) -> TaskView:
    """A task as it stands, with fresh links to its images: after a reload, a restart, or when links have expired."""
    desk = desk_of(request)
    with desk.store.read() as session:
        return _task(desk, session, find_assignment(session, account, task_id))


@router.put("/tasks/{task_id}/images/{position}", responses=problems(404, 409))
def save(request: Request, account: Worker, task_id: TaskId, position: Position, given: AnswerIn) -> SavedView:
    """Save an image's answer, a new version each time; the same `key` again gets the same reply."""
    desk = desk_of(request)
    submission = Submission(given.attempt, given.key, faces_of(given.boxes), given.seconds)
    with desk.store.write() as session:
        saved = save_answer(session, account, task_id, position, submission, desk.now(), desk.policy)
    return SavedView(
        version=saved.version,
        attempt=saved.attempt,
        lives=saved.lives,
        restarted=saved.restarted,
        truth=None if saved.truth is None else boxes_of(saved.truth),
    )


@router.post("/tasks/{task_id}/submit", responses=problems(404, 409))
def submit_task(request: Request, account: Worker, task_id: TaskId, given: SubmitIn) -> Ended:
    """Hand a task in when every image has an answer; once more changes nothing."""
    desk = desk_of(request)
    with desk.store.write() as session:
        submit(session, account, task_id, given.attempt, desk.now(), desk.policy)
    return Ended(state="submitted")


@router.post("/tasks/{task_id}/return", responses=problems(404, 409))
def return_task(request: Request, account: Worker, task_id: TaskId, _: Nothing) -> Ended:
    """Give a task back to somebody else."""
    desk = desk_of(request)
    with desk.store.write() as session:
        give_back(session, account, task_id, desk.now())
    return Ended(state="returned")


_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}, "image/png": {}, "image/webp": {}}, "description": "The image."}
}
Link = Annotated[str, Path(max_length=200, description="As in the image's `url`; needs no token.")]


@router.get("/images/image/{link}", response_class=Response, responses={**problems(404), **_PICTURE})
def task_image(request: Request, link: Link) -> Response:
    """An image of a task that is open; the link is its holder's alone."""
    desk = desk_of(request)
    assignment_id, position = _opened(desk, request, TASK_IMAGE, link)
    desk.count(TASK_IMAGE, assignment_id)
    with desk.store.read() as session:
        image_id = session.scalar(
            select(Image.image_id)
            .join(Item)
            .join(Assignment, Assignment.task_id == Item.task_id)
            .join(Account, Account.id == Assignment.account_id)
            .where(Assignment.id == assignment_id, Item.position == position)
            .where(Assignment.state == "open", Account.disabled_at.is_(None))
        )
    return _picture(desk, image_id)


@router.get("/images/dispute/{link}", response_class=Response, responses={**problems(404), **_PICTURE})
def dispute_image(request: Request, link: Link) -> Response:
    """An image for a reviewer."""
    desk = desk_of(request)
    account_id, image_pk = _opened(desk, request, DISPUTE_IMAGE, link)
    desk.count(DISPUTE_IMAGE, account_id)
    with desk.store.read() as session:
        account = session.get(Account, account_id)
        allowed = account is not None and account.disabled_at is None
        image_id = session.scalar(select(Image.image_id).where(Image.id == image_pk)) if allowed else None
    return _picture(desk, image_id)


def _opened(desk: Desk, request: Request, purpose: str, link: str) -> tuple[int, int]:
    try:
        first, second = opened(desk.link_key, purpose, link, 2, desk.now())
    except BadLink as error:
        raise desk.stranger(request, 404, "unknown", str(error)) from None
    return first, second


def _picture(desk: Desk, image_id: str | None) -> Response:
    if image_id is None:
        raise NotAllowed(404, "unknown", "expected an image of an open task")
    try:
        picture = desk.pictures.picture(image_id)
    except ImageError as error:
        raise NotAllowed(404, "unreadable", str(error)) from None
    return Response(picture.data, media_type=picture.media_type)


def _task(desk: Desk, session: Session, assignment: Assignment) -> TaskView:
    images = [
        ImageView(
            position=state.position,
            width=state.width,
            height=state.height,
            boxes=boxes_of(state.faces),
            version=state.version,
            truth=None if state.truth is None else boxes_of(state.truth),
            url=desk.image_url(TASK_IMAGE, assignment.id, state.position),
        )
        for state in item_states(session, assignment)
    ]
    return TaskView(
        id=assignment.id,
        state=assignment.state,
        attempt=assignment.attempt,
        lives=assignment.lives,
        expires_at=assignment.expires_at,
        images=images,
    )
