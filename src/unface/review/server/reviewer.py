"""Routes of reviewers: images on which workers disagree."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import func, select

from unface.review.results import adjudicate, answers_on, merged
from unface.review.server.desk import DISPUTE_IMAGE, Reviewer, desk_of, problems
from unface.review.server.messages import (
    Decided,
    DecisionIn,
    Dispute,
    DisputeAnswer,
    Disputes,
    Number,
    boxes_of,
    faces_of,
)
from unface.review.submission import Refused
from unface.review.tables import Image

router = APIRouter(prefix="/api")


@router.get("/disputes", responses=problems())
def disputes(request: Request, account: Reviewer, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Disputes:
    """The images that a reviewer must decide, least agreement first."""
    desk = desk_of(request)
    waiting = Image.decision == "adjudicate"
    with desk.store.read() as session:
        total = session.scalar(select(func.count(Image.id)).where(waiting)) or 0
        images = list(session.scalars(select(Image).where(waiting).order_by(Image.agreement, Image.id).limit(limit)))
        answers = answers_on(session, [image.id for image in images])
        listed = [
            Dispute(
                id=image.id,
                image_id=image.image_id,
                width=image.width,
                height=image.height,
                agreement=image.agreement,
                answers=[DisputeAnswer(boxes=boxes_of(given.faces)) for given in answers[image.id]],
                proposal=boxes_of(merged([given.faces for given in answers[image.id]])),
                url=desk.image_url(DISPUTE_IMAGE, account.id, image.id),
            )
            for image in images
        ]
    return Disputes(total=total, images=listed)


@router.put("/disputes/{image}", responses=problems(404, 409))
def decide_dispute(
    request: Request,
    account: Reviewer,
    image: Annotated[Number, Path(description="The dispute's `id`.")],
    given: DecisionIn,
) -> Decided:
    """Decide an image in dispute, or one that was adjudicated before; all decisions are kept, the latest counts."""
    desk = desk_of(request)
    faces = faces_of(given.boxes)
    with desk.store.write() as session:
        found = session.scalar(select(Image).where(Image.id == image).with_for_update())
        if found is None or found.decision not in ("adjudicate", "adjudicated"):
            raise Refused("unknown", "expected an image in dispute, got another number")
        adjudicate(session, account, found, faces, given.key, desk.now())
    return Decided(decision="adjudicated")
