"""A small dataset to browse, with every kind of image that must not be shown, and its server in this process."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from builders import encode_image, make_image
from unface.datasets import open_dataset
from unface.faces import FaceRow, Faces, faces_table
from unface.review.browsing.app import create_browser
from unface.review.browsing.catalogue import Catalogue
from unface.review.server import Settings

URL = "http://127.0.0.1:8000"
WIDTH, HEIGHT = 640, 480
FACE, MAYBE = (60.0, 80.0, 260.0, 300.0), (380.0, 200.0, 560.0, 420.0)
BOXES = (FACE, MAYBE)


def textured(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Squares of 8 px in random colours: detail that survives being made smaller and JPEG, and that a blur removes."""
    colors = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(colors.repeat(8, axis=0).repeat(8, axis=1))


def row(image_id: str, status: str = "detected", **how) -> FaceRow:
    found = Faces.make([FACE], [0.75], source="yunet")
    return replace(FaceRow(image_id, WIDTH, HEIGHT, status, found, Faces.make([MAYBE], [0.2], source="yunet")), **how)


def turned(image: Image.Image) -> bytes:
    """A JPEG stored on its side, with an orientation that puts it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode_image(image.rotate(90, expand=True), ".jpg", exif=exif, quality=95)


SHOWN = ("cat/0.jpg", "cat/1.png", "dog/2.jpg", "dog/3.webp", "4.jpg")
"""Images that may be shown; 2 is stored on its side."""
NOT_SHOWN = {
    "dog/failed.jpg": "detection failed",
    "dog/corrupt.jpg": "",
    "dog/gone.jpg": "expected a readable file",
    "dog/other.jpg": "expected the 640x480 px of faces.parquet, got 64x48 px",
    "dog/outside.jpg": "expected every box inside",
}


def write_images(root: Path) -> list[FaceRow]:
    files = {name: encode_image(textured(i), Path(name).suffix, quality=95) for i, name in enumerate(SHOWN)}
    files["dog/2.jpg"] = turned(textured(2))
    files |= {name: encode_image(textured(9), ".jpg") for name in NOT_SHOWN}
    files["dog/corrupt.jpg"] = files["dog/corrupt.jpg"][:4000]
    files["dog/other.jpg"] = encode_image(make_image(), ".jpg")
    del files["dog/gone.jpg"]
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    rows = [row(name) for name in SHOWN]
    rows[4] = row("4.jpg", "reviewed", faces=Faces.make([FACE, MAYBE], source="human"), candidates=None)
    rows += [row(name, "failed" if "failed" in name else "detected") for name in NOT_SHOWN]
    rows[-1] = row("dog/outside.jpg", faces=Faces.make([FACE, (650, 10, 700, 60)]))
    return rows


def client_of(root: Path, rows: list[FaceRow], originals: bool = False) -> TestClient:
    """A client with the token; the browser is `client.app.state.browser`."""
    catalogue = Catalogue(faces_table(rows), lambda name: f"the {name}" if name else "")
    app = create_browser("faces.parquet", catalogue, open_dataset(root), Settings(URL), originals)
    client = TestClient(app, base_url=URL, raise_server_exceptions=False)
    client.headers["Authorization"] = f"Bearer {app.state.browser.token}"
    return client


def pixels_of(data: bytes) -> np.ndarray:
    """A picture that was sent, float32, shape (H, W, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def original_of(seed: int, size_wh: tuple[int, int]) -> np.ndarray:
    """The original at the size of a picture."""
    return np.asarray(textured(seed).resize(size_wh, Image.Resampling.BOX), np.float32)


def likeness(sent: np.ndarray, original: np.ndarray, box: tuple[float, ...]) -> float:
    """Correlation of a picture and the original inside a box, 1 where they are the same."""
    scale = sent.shape[1] / WIDTH
    x0, y0, x1, y1 = (round(side * scale) for side in box)
    return float(np.corrcoef(sent[y0:y1, x0:x1].ravel(), original[y0:y1, x0:x1].ravel())[0, 1])
