"""The browser's application: one person, one token, nothing that changes anything."""

import hmac
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from unface.errors import ImageError
from unface.faces import Faces
from unface.faces.table import STATUSES
from unface.review.browsing.catalogue import Catalogue
from unface.review.browsing.messages import (
    BoxView,
    ClassView,
    CountQuestion,
    CountsView,
    DatasetView,
    ImageView,
    PageQuestion,
    PageView,
    RowView,
)
from unface.review.browsing.previews import Previews
from unface.review.links import BadLink, opened, sign
from unface.review.pictures import Originals
from unface.review.server.app import Settings, make_app, mount_page
from unface.review.server.desk import NotAllowed, problems

PAGE = "browse.html"
LINKS_LAST = timedelta(hours=1)
SIDES_PX = {"small": 480, "large": 2048}
"""Longest sides of the pictures."""

_PICTURE_THREADS = 2

Size = Literal["small", "large"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Browser:
    """Everything that a route needs; one per server, in `app.state.browser`.

    Attributes:
        name: Of the table, for people.
        catalogue: Its rows.
        previews: Their pictures.
        originals: Whether faces are shown.
        token: Lets somebody in.
        now: The clock.
        painters: Threads that make pictures: few, so that questions are answered meanwhile.
    """

    name: str
    catalogue: Catalogue
    previews: Previews
    originals: bool
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    now: Callable[[], datetime] = _utc_now
    painters: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_PICTURE_THREADS))

    def url(self, size: Size, number: int) -> str:
        """A fresh link to a picture."""
        return f"/api/images/{size}/{sign(self.token, size, (number,), self.now() + LINKS_LAST)}"


def create_browser(name: str, catalogue: Catalogue, dataset: Originals, settings: Settings, originals: bool) -> FastAPI:
    """The browser's application; its token is in `app.state.browser`.

    Args:
        name: Of the table, for people.
        catalogue: Its rows.
        dataset: Their images.
        settings: How the server is reached.
        originals: Whether faces are shown.
    """
    app = make_app(
        "unface browse", "Look through a dataset. Boxes are pixels of the upright image. Nothing changes.", settings
    )
    app.state.browser = Browser(name, catalogue, Previews(dataset, originals), originals)
    app.include_router(_router)
    mount_page(app, PAGE)
    return app


_router = APIRouter(prefix="/api")
_bearer = HTTPBearer(auto_error=False, description="The token of the link that the command prints, `…/#token=TOKEN`.")
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The image."}}


async def _entered(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Browser:
    browser: Browser = request.app.state.browser
    given = credentials.credentials if credentials else ""
    if not hmac.compare_digest(given.encode(), browser.token.encode()):
        raise NotAllowed(401, "unauthorized", "token: expected that of the link that the command printed")
    return browser


Entered = Annotated[Browser, Security(_entered)]


@_router.get("/dataset", responses=problems())
def dataset(browser: Entered) -> DatasetView:
    """What is browsed."""
    catalogue = browser.catalogue
    return DatasetView(
        name=browser.name,
        images=len(catalogue),
        faces=int(catalogue.counts.sum()),
        classes=sum(map(bool, catalogue.class_names)),
        most_faces=int(catalogue.counts.max(initial=0)),
        tallest=round(float(catalogue.heights.max(initial=0)), 2),
        originals=browser.originals,
    )


@_router.get("/rows", responses=problems())
def page(browser: Entered, asked: Annotated[PageQuestion, Query()]) -> PageView:
    """Some of the images that are wanted."""
    found = browser.catalogue.find(asked.filter(), asked.order)
    numbers = found[asked.start : asked.start + asked.limit].tolist()
    return PageView(total=len(found), rows=[_row(browser, number) for number in numbers])


@_router.get("/counts", responses=problems())
def counts(browser: Entered, asked: Annotated[CountQuestion, Query()]) -> CountsView:
    """How many images are wanted, by status and class."""
    found = browser.catalogue.count(asked.filter(), asked.find)
    return CountsView(
        images=found.images,
        faces=found.faces,
        statuses=found.statuses,
        classes=[ClassView(name=each.name, title=each.title, images=each.images) for each in found.classes],
        classes_found=found.classes_found,
    )


@_router.get("/rows/{number}", responses=problems(404))
def image(browser: Entered, number: Annotated[int, Path(ge=0, le=2**31 - 1)]) -> ImageView:
    """One image with its boxes."""
    catalogue = browser.catalogue
    if number >= len(catalogue):
        raise NotAllowed(404, "unknown", f"expected a number below {len(catalogue)}")
    row, place = catalogue.row(number), catalogue.classes[number]
    width, height = browser.previews.size_wh(row)
    return ImageView(
        number=number,
        image_id=row.image_id,
        class_name=catalogue.class_names[place],
        class_title=catalogue.class_titles[place],
        status=row.status,
        width=width,
        height=height,
        faces=_boxes(row.faces),
        candidates=_boxes(row.candidates) if row.candidates else [],
        url=browser.url("large", number),
    )


@_router.get("/images/{size}/{link}", response_class=Response, responses={**problems(404), **_PICTURE})
async def picture(
    request: Request,
    size: Size,
    link: Annotated[str, Path(max_length=200, description="As in the row's `url`; needs no token.")],
) -> Response:
    """An image, its faces hidden unless the command was told to show them."""
    browser: Browser = request.app.state.browser
    try:
        (number,) = opened(browser.token, size, link, 1, browser.now())
    except BadLink as error:
        raise NotAllowed(404, "unknown", str(error)) from None
    try:
        made = await run_sync(
            browser.previews.picture, browser.catalogue.row(number), SIDES_PX[size], limiter=browser.painters
        )
    except ImageError as error:
        raise NotAllowed(404, "unreadable", str(error)) from None
    return Response(made.data, media_type=made.media_type)


def _row(browser: Browser, number: int) -> RowView:
    catalogue = browser.catalogue
    return RowView(
        number=number,
        image_id=catalogue.image_ids[number].as_py(),
        status=STATUSES[catalogue.statuses[number]],
        faces=int(catalogue.counts[number]),
        candidates=catalogue.candidates.count(number),
        tallest=_finite(catalogue.largest[number]),
        score=_finite(catalogue.lowest_score[number]),
        url=browser.url("small", number),
    )


def _boxes(faces: Faces) -> list[BoxView]:
    return [BoxView.model_validate({**box, "score": _finite(box["score"])}) for box in faces.structs()]


def _finite(value: float) -> float | None:
    """A number as JSON can hold it."""
    return round(float(value), 3) if math.isfinite(value) else None
