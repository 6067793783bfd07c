"""Amazon Rekognition's DetectFaces, the detector of the paper; every image costs money and leaves this machine."""

import math
from typing import Any

import numpy as np

from unface.boxes import size_wh
from unface.detect.detector import Image
from unface.errors import ImageError, InputError, one_line
from unface.faces import Faces
from unface.faces.formats.rekognition import boxes_of

MAX_BYTES = 5_000_000
"""Of an image in a request."""
MAX_SIDE_PX, MIN_SIDE_PX = 4096, 80

PRICES_USD = ((1_000_000, 0.001), (5_000_000, 0.0008), (40_000_000, 0.0006), (math.inf, 0.0004))
"""Up to how many images of a month, and what each costs (us-east-1, as listed in 2024)."""

_ATTEMPTS = 10
_QUALITIES = (95, 90, 80)
_REDUCTION = 0.8


class Rekognition:
    """Asks the service, one request an image; as many at once as there are workers.

    Region, credentials and endpoint are those of boto3: its configuration files and `AWS_…` variables. Requests that
    are throttled or lost are made again, each time after a longer and partly random pause (botocore's adaptive mode).
    """

    name = "rekognition"
    threshold = 0.5
    floor = 0.0

    def __init__(self, threads: int = 1, device: str = "auto") -> None:
        """Make a client; asks for nothing yet.

        Raises:
            InputError: No boto3, region or credentials.
        """
        try:
            import boto3  # type: ignore[import-untyped]
            from botocore.config import Config  # type: ignore[import-untyped]
            from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
        except ModuleNotFoundError:
            raise InputError(
                "detector 'rekognition': expected boto3, found none; run: pip install 'unface[rekognition]'"
            ) from None
        self.models: dict[str, str] = {}
        try:
            session = boto3.Session()
            config = Config(retries={"mode": "adaptive", "total_max_attempts": _ATTEMPTS})
            self._client: Any = session.client("rekognition", config=config)
            credentials = session.get_credentials()
        except BotoCoreError as error:
            raise InputError(f"detector 'rekognition': {one_line(error)[:200]}") from None
        if credentials is None:
            raise InputError("detector 'rekognition': expected AWS credentials, found none; see: aws configure")

    def cost_usd(self, images: int) -> float:
        """See `Paid`; as if they were the first images of the month."""
        cost, done = 0.0, 0
        for limit, price in PRICES_USD:
            part = int(max(0, min(images, limit) - done))
            cost, done = cost + part * price, done + part
        return cost

    def detect(self, image_rgb: Image) -> Faces:
        """All faces that the service reports, at most 100 of an image; see `Detector`.

        Raises:
            ImageError: The service refuses, or its answer is none.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        data, filled_wh = as_jpeg(image_rgb)
        try:
            response = self._client.detect_faces(Image={"Bytes": data}, Attributes=["DEFAULT"])
            boxes = boxes_of(response)
        except (ClientError, BotoCoreError, ValueError) as error:
            raise ImageError(f"rekognition: {one_line(error)[:300]}") from None
        height, width = image_rgb.shape[:2]
        # The answer is in fractions of the picture that was sent, of which the image fills the upper left.
        scale = np.tile(np.array([width, height]) / filled_wh, 2)
        corners = np.array([box[:4] for box in boxes], np.float32).reshape(-1, 4) * scale.astype(np.float32)
        scores = np.clip(np.array([box.score for box in boxes], np.float32), 0, 1)
        if not np.isfinite(corners).all():
            raise ImageError("rekognition: expected finite boxes, got others")
        whole = (size_wh(corners) > 0).all(axis=1)
        faces = Faces.make(corners[whole], scores[whole], source=self.name).clipped(width, height)
        return faces[np.argsort(-faces.scores, kind="stable")]


def as_jpeg(image_rgb: Image) -> tuple[bytes, tuple[float, float]]:
    """An image as the service takes it: JPEG, at most `MAX_BYTES`, sides from `MIN_SIDE_PX` to `MAX_SIDE_PX`.

    Returns:
        The file, and which fraction of its width and height the image fills: all, unless it was too narrow and has
        black beside it.
    """
    import cv2

    scale = min(1.0, MAX_SIDE_PX / max(image_rgb.shape[:2]))
    while True:
        height, width = (max(1, round(side * scale)) for side in image_rgb.shape[:2])
        shown = image_rgb if scale == 1 else cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA)
        canvas = np.zeros((max(height, MIN_SIDE_PX), max(width, MIN_SIDE_PX), 3), np.uint8)
        canvas[:height, :width] = shown
        for quality in _QUALITIES:
            done, data = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done and len(data) <= MAX_BYTES:
                return data.tobytes(), (width / canvas.shape[1], height / canvas.shape[0])
        scale *= _REDUCTION
