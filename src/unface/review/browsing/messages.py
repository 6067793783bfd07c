"""What goes over the wire: the shapes of questions and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from unface.review.browsing.catalogue import Filter

Status = Literal["detected", "reviewed", "failed"]
Order = Literal["table", "faces", "largest", "smallest", "score"]

_MOST = 2**31 - 1
_Whole = Annotated[int, Field(ge=0, le=_MOST)]
_Pixels = Annotated[FiniteFloat, Field(ge=0, le=1e7)]
_Score = Annotated[FiniteFloat, Field(ge=0, le=1)]


class Question(BaseModel):
    """Which images are wanted; height and score are asked of one face at once."""

    model_config = ConfigDict(extra="forbid")

    class_: Annotated[
        list[Annotated[str, Field(max_length=1000)]],
        Field(alias="class", max_length=100, description="Any of these; empty for images without a class."),
    ] = []
    status: Annotated[list[Status], Field(max_length=3, description="Any of these.")] = []
    min_faces: _Whole | None = None
    max_faces: _Whole | None = None
    min_height: Annotated[_Pixels | None, Field(description="Of a face, in pixels.")] = None
    max_height: _Pixels | None = None
    min_score: Annotated[_Score | None, Field(description="Of a face.")] = None
    max_score: _Score | None = None

    def filter(self) -> Filter:
        """As the catalogue takes it."""
        return Filter(
            tuple(self.class_),
            tuple(self.status),
            self.min_faces,
            self.max_faces,
            self.min_height,
            self.max_height,
            self.min_score,
            self.max_score,
        )


class PageQuestion(Question):
    """Some of the images, in some order."""

    order: Order = "table"
    start: Annotated[int, Field(ge=0, le=_MOST, description="How many images lie before the page.")] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 60


class CountQuestion(Question):
    """What is counted, and which classes are told."""

    find: Annotated[str, Field(max_length=100, description="Text in a class's name or title.")] = ""


class DatasetView(BaseModel):
    """What is browsed."""

    name: str
    images: int
    faces: int
    classes: int
    most_faces: int
    tallest: float
    originals: Annotated[bool, Field(description="Whether faces are shown.")]


class RowView(BaseModel):
    """One image of a page.

    `candidates` are below the detector's threshold; `tallest` is the height of its largest face in pixels, `score` its
    lowest score; `url` leads to a small picture of it, expires, and is renewed by asking again.
    """

    number: int
    image_id: str
    status: str
    faces: int
    candidates: int
    tallest: float | None
    score: float | None
    url: str


class PageView(BaseModel):
    """A page, and how many images there are in all."""

    total: int
    rows: list[RowView]


class ClassView(BaseModel):
    """A class, its title for people, and how many of its images are wanted."""

    name: str
    title: str
    images: int


class CountsView(BaseModel):
    """What is found, and what would be found with another status or class: the question's own, and the largest."""

    images: int
    faces: int
    statuses: dict[str, int]
    classes: list[ClassView]
    classes_found: int


class BoxView(BaseModel):
    """A box in pixels of the upright image, half-open."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float | None
    label: str
    source: str


class ImageView(BaseModel):
    """One image with its faces; `candidates` are below the detector's threshold. `width` is 0 where not known."""

    number: int
    image_id: str
    class_name: str
    class_title: str
    status: str
    width: int
    height: int
    faces: list[BoxView]
    candidates: list[BoxView]
    url: str
