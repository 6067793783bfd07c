"""The rules of one review: fixed when it is created, kept in its store."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]

LABELS = ("face", "nsfw")
"""What a box may show: App. A of the paper asks for both, and does not tell them apart afterwards."""


class Policy(BaseModel):
    """How images are cut into tasks, and how answers are judged and joined.

    The defaults are the paper's (App. A), but for what it does not say.

    Attributes:
        images_per_task: Images of a task, gold ones included.
        gold_per_task: Gold images among them.
        replicas: Workers who answer each task.
        most_replicas: Workers asked at most about an image on which the first ones disagree.
        order: Which images come first: `random`, or `uncertain` (the most errors to be expected from the scores).
        sample_without: Share of the images without boxes that is reviewed too.
        lives: Wrong answers on gold images until a task starts again.
        rule: How a gold answer is judged: `union` (the paper's) or `faces` (each true face by itself).
        min_iou: Of `union`: least intersection over union of the areas that all boxes cover.
        min_coverage: Of `faces`: least part of each true face that the answer covers.
        max_excess: Of `faces`: most area outside the true faces, as a share of their area.
        min_agreement: Least mean agreement (0 to 1) of the answers on an image that needs nobody else.
        idle_minutes: Time without an answer after which a task may go to somebody else.
        price: What one answered task costs, in US dollars.
        seed: Of every random choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images_per_task: Annotated[int, Field(ge=1, le=500)] = 50
    gold_per_task: Annotated[int, Field(ge=0, le=100)] = 3
    replicas: Annotated[int, Field(ge=1, le=9)] = 1
    most_replicas: Annotated[int, Field(ge=1, le=9)] = 3
    order: Literal["random", "uncertain"] = "random"
    sample_without: Share = 1.0
    lives: Annotated[int, Field(ge=1, le=100)] = 2
    rule: Literal["union", "faces"] = "union"
    min_iou: Share = 0.72
    min_coverage: Share = 0.9
    max_excess: Annotated[float, Field(ge=0, le=100)] = 0.5
    min_agreement: Share = 0.7
    idle_minutes: Annotated[float, Field(gt=0, le=24 * 60)] = 30
    price: Annotated[float, Field(ge=0, le=1000)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.gold_per_task >= self.images_per_task:
            raise ValueError(f"gold_per_task: expected fewer than images_per_task ({self.images_per_task})")
        if self.most_replicas < self.replicas:
            raise ValueError(f"most_replicas: expected at least replicas ({self.replicas})")
        return self
