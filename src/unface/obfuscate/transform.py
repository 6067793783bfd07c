"""Hide faces on the fly, for torchvision: a transform, and a dataset. Needs the extra `study`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import convert_bounding_box_format

from unface.datasets import open_dataset
from unface.errors import ImageError, InputError, naming, one_line
from unface.faces import FaceRow, Faces, face_rows, read_faces
from unface.images import decode
from unface.obfuscate.methods import Obfuscation, obfuscate
from unface.obfuscate.photo import obfuscate_photo

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_PIL_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
SAFE = Obfuscation()


class Obfuscate(v2.Transform):
    """Hide the faces of an image: `Obfuscate()(image, boxes)`, or any structure that holds both.

    The structure holds the face boxes of one image, as one `tv_tensors.BoundingBoxes` of any format that is not
    rotated, and that image, once or more: a PIL image (L, LA, RGB, RGBA, CMYK), a `tv_tensors.Image`, or a plain
    tensor where torchvision takes it for the image; uint8 or uint16, shape (C, H, W), on any device. Everything else
    passes as it is. Boxes without area, which a crop leaves of faces outside it, are skipped.

    Put it before what rescales values (`ToDtype`); where images are resized, before that: then it hides what
    `unface obfuscate` hides.

    Args:
        obfuscation: How faces are hidden.

    Raises:
        ImageError: When called: no boxes or several sets of them, no image or one of another size than the boxes'
            canvas, a batch, a video, or a dtype or mode that cannot be obfuscated.
    """

    def __init__(self, obfuscation: Obfuscation = SAFE) -> None:
        super().__init__()
        self.obfuscation = obfuscation

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Refuse what is not one image and its boxes."""
        found = sum(isinstance(each, tv_tensors.BoundingBoxes) for each in flat_inputs)
        if found != 1:
            raise ImageError(f"Obfuscate: expected the BoundingBoxes of one image, got {found} sets of them")
        if any(isinstance(each, tv_tensors.Video) for each in flat_inputs):
            raise ImageError("Obfuscate: expected an image, got a video")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The boxes as `boxes_xyxy`, float32, shape (N, 4), and the size of their image."""
        (boxes,) = (each for each in flat_inputs if isinstance(each, tv_tensors.BoundingBoxes))
        if not any(_is_image(each) for each in flat_inputs):
            raise ImageError("Obfuscate: expected an image with its boxes, got no image")
        if boxes.format not in _FORMATS:
            raise ImageError(f"Obfuscate: expected boxes that are not rotated, got {boxes.format.value}")
        corners = convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
        boxes_xyxy = torch.as_tensor(corners).detach().cpu().reshape(-1, 4).to(torch.float32).numpy()
        empty = (boxes_xyxy[:, 2] <= boxes_xyxy[:, 0]) | (boxes_xyxy[:, 3] <= boxes_xyxy[:, 1])
        return {"boxes_xyxy": boxes_xyxy[~empty], "canvas_size": tuple(boxes.canvas_size)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image with its faces hidden; other inputs as they are."""
        if not _is_image(inpt):
            return inpt
        size = (inpt.height, inpt.width) if isinstance(inpt, Image.Image) else tuple(inpt.shape[-2:])
        if size != params["canvas_size"]:
            raise ImageError(
                f"Obfuscate: expected the (height, width) {params['canvas_size']} of the boxes, got {size}"
            )
        if isinstance(inpt, Image.Image):
            return self._pil(inpt, params["boxes_xyxy"])
        return self._tensor(inpt, params["boxes_xyxy"])

    def _pil(self, image: Image.Image, boxes_xyxy: NDArray[np.float32]) -> Image.Image:
        if image.mode not in _PIL_MODES:
            raise ImageError(f"Obfuscate: expected a PIL image of {', '.join(_PIL_MODES)}, got {image.mode}")
        mode = image.mode
        hidden = obfuscate(np.asarray(image), boxes_xyxy, self.obfuscation, mode)
        return Image.frombytes(mode, image.size, np.ascontiguousarray(hidden.pixels).tobytes())

    def _tensor(self, image: torch.Tensor, boxes_xyxy: NDArray[np.float32]) -> torch.Tensor:
        channels = image.shape[0] if image.ndim == 3 else 0
        if channels not in _MODES or image.dtype not in (torch.uint8, torch.uint16):
            raise ImageError(
                "Obfuscate: expected uint8 or uint16 of shape (C, H, W) with 1 to 4 channels, "
                f"got {image.dtype} of shape {tuple(image.shape)}"
            )
        pixels = torch.as_tensor(image).detach().cpu().movedim(0, 2).contiguous().numpy()
        pixels = pixels[:, :, 0] if channels == 1 else pixels
        hidden = obfuscate(pixels, boxes_xyxy, self.obfuscation, _MODES[channels]).pixels
        planes = np.ascontiguousarray(hidden.reshape(*hidden.shape[:2], channels).transpose(2, 0, 1))
        result = torch.from_numpy(planes).to(image.device)
        return tv_tensors.wrap(result, like=image) if isinstance(image, tv_tensors.TVTensor) else result


class ObfuscatedFolder(VisionDataset):
    """A folder of classes whose faces are hidden while it is read: one copy of the data for every setting of a study.

    Like `torchvision.datasets.ImageFolder`, and in its order: `root/class/…/image`. An item is an upright RGB
    image (`PIL.Image`, through `transform`) and its class number. Pixels are those of `unface obfuscate` before it
    encodes them. Images without a row in `faces.parquet`, or whose row says failed, are left out, as they are there.

    Args:
        root: Folder of class folders.
        faces: `faces.parquet`, or rows of it.
        obfuscation: How faces are hidden; `Obfuscation("none")` gives the originals, by the same decoder.
        transform: Of the image.
        target_transform: Of the class number.

    Attributes:
        classes: Names of the classes, sorted.
        class_to_idx: Number of each class.
        samples: Path and class number of each image.
        targets: Class number of each image.
        left_out: Ids of images that are left out.

    Raises:
        InputError: No classes or images there, or `faces` is unreadable.
    """

    def __init__(
        self,
        root: str | Path,
        faces: str | Path | Sequence[FaceRow],
        obfuscation: Obfuscation = SAFE,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(str(root), transform=transform, target_transform=target_transform)
        self.obfuscation = obfuscation
        self._dataset = open_dataset(Path(root))
        rows = face_rows(read_faces(Path(faces))) if isinstance(faces, str | Path) else faces
        known = {row.image_id: row for row in rows if row.status != "failed"}
        parts = self._dataset.survey().parts
        ids = [image_id for part in parts for image_id in part.images or () if "/" in image_id]
        if not ids:
            raise InputError(f"{one_line(str(root))}: expected folders of images, one a class, found none")
        ids.sort(key=_torchvision_order)
        self.classes = sorted({image_id.split("/", 1)[0] for image_id in ids})
        self.class_to_idx = {name: number for number, name in enumerate(self.classes)}
        self.left_out = [image_id for image_id in ids if image_id not in known]
        self._ids = [image_id for image_id in ids if image_id in known]
        self.targets = [self.class_to_idx[image_id.split("/", 1)[0]] for image_id in self._ids]
        self.samples = [
            (str(self._dataset.path_of(image_id)), target)
            for image_id, target in zip(self._ids, self.targets, strict=True)
        ]
        self._sizes = np.array([(known[i].width, known[i].height) for i in self._ids], np.int32).reshape(-1, 2)
        counts = [len(known[image_id].faces) for image_id in self._ids]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._boxes = np.concatenate([np.zeros((0, 4), np.float32), *(known[i].faces.boxes_xyxy for i in self._ids)])

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Image and class number; ImageError, with the image's id, where it cannot be read or does not fit its row."""
        image_id, target = self._ids[index], self.targets[index]
        with naming(image_id):
            photo = decode(self._dataset.read(image_id))
            hidden = obfuscate_photo(photo, self._row(index), self.obfuscation)
        sample: Any = Image.fromarray(replace(photo, pixels=hidden.pixels, orientation=1).rgb())
        if self.transform is not None:
            sample = self.transform(sample)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return sample, target

    def _row(self, index: int) -> FaceRow:
        index = range(len(self))[index]
        start = int(self._ends[index - 1]) if index else 0
        faces = Faces.make(self._boxes[start : int(self._ends[index])])
        width, height = self._sizes[index].tolist()
        return FaceRow(self._ids[index], width, height, "detected", faces)


_FORMATS = (
    tv_tensors.BoundingBoxFormat.XYXY,
    tv_tensors.BoundingBoxFormat.XYWH,
    tv_tensors.BoundingBoxFormat.CXCYWH,
)


def _is_image(each: Any) -> bool:
    """Whether torchvision calls this an image, given that it asks for it to be transformed."""
    if isinstance(each, tv_tensors.TVTensor):
        return isinstance(each, tv_tensors.Image)
    return isinstance(each, Image.Image | torch.Tensor)


def _torchvision_order(image_id: str) -> tuple[str, str, str]:
    path = PurePosixPath(image_id)
    return path.parts[0], path.parent.as_posix(), path.name
