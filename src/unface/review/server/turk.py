"""Route of Mechanical Turk's workers: the way in from a HIT."""

from datetime import timedelta

from fastapi import APIRouter, Request

from unface.review.accounts import issue_token
from unface.review.mturk import enter
from unface.review.server.desk import desk_of, problems
from unface.review.server.messages import Entered, EnterIn

router = APIRouter(prefix="/api")

_TOKEN_LASTS = timedelta(hours=8)


@router.post("/mturk/enter", responses=problems(404, 409))
def enter_from_hit(request: Request, given: EnterIn) -> Entered:
    """Let a worker in who accepted a HIT; needs no token but the HIT's own link. Again after a reload."""
    desk = desk_of(request)
    desk.count("hit", given.worker_id)
    with desk.store.write() as session:
        account, task_id = enter(session, given.hit, given.assignment_id, given.worker_id, desk.now(), desk.policy)
        return Entered(token=issue_token(session, account, desk.now(), _TOKEN_LASTS), task=task_id)
