"""The torchvision transform and dataset, against `unface obfuscate`'s own files and torchvision's ImageFolder."""

import shutil

import numpy as np
import pytest
from PIL import Image

from builders import EXAMPLES, encode_image, make_faces, make_image
from unface.errors import ImageError, InputError
from unface.faces import faces_table, write_faces
from unface.images import decode
from unface.obfuscate import Obfuscation, obfuscate

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from torchvision import tv_tensors  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from unface.obfuscate.stage import Writing  # noqa: E402
from unface.obfuscate.transform import Obfuscate, ObfuscatedFolder  # noqa: E402

EVERY = [Obfuscation(), Obfuscation(preset="paper"), Obfuscation("overlay"), Obfuscation("mosaic"), Obfuscation("none")]
BOXES = [[10, 8, 40, 40], [44, 4, 60, 20]]


def make_boxes(rows=BOXES, format="XYXY", size=(48, 64)):
    return tv_tensors.BoundingBoxes(torch.tensor(rows, dtype=torch.float32), format=format, canvas_size=size)


def as_tensor(image):
    return tv_tensors.Image(torch.from_numpy(np.array(image)).movedim(2, 0).contiguous())


@pytest.mark.parametrize("obfuscation", EVERY)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK"])
def test_a_pil_image(obfuscation, mode):
    image = make_image(mode=mode)
    before = image.tobytes()
    hidden, boxes = Obfuscate(obfuscation)(image, make_boxes())
    assert hidden.mode == mode
    np.testing.assert_array_equal(np.asarray(hidden), obfuscate(np.asarray(image), BOXES, obfuscation, mode).pixels)
    assert image.tobytes() == before
    np.testing.assert_array_equal(boxes, BOXES)


@pytest.mark.parametrize("obfuscation", EVERY)
@pytest.mark.parametrize("kind", [tv_tensors.Image, torch.Tensor])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tensor(obfuscation, kind, dtype):
    pixels = np.array(make_image()).astype(dtype)
    tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    given = tv_tensors.Image(tensor) if kind is tv_tensors.Image else tensor
    sample = Obfuscate(obfuscation)({"image": given, "boxes": make_boxes(), "label": 3})
    assert type(sample["image"]) is kind
    assert sample["label"] == 3
    wanted = obfuscate(pixels, BOXES, obfuscation).pixels
    np.testing.assert_array_equal(sample["image"].numpy().transpose(1, 2, 0), wanted)


def test_a_grey_tensor():
    pixels = np.array(make_image(mode="L"))
    hidden, _ = Obfuscate()(tv_tensors.Image(torch.from_numpy(pixels[None])), make_boxes())
    np.testing.assert_array_equal(hidden[0].numpy(), obfuscate(pixels, BOXES, Obfuscation(), "L").pixels)


@pytest.mark.parametrize("format", ["XYWH", "CXCYWH"])
def test_every_format_of_boxes(format):
    image = make_image()
    boxes = v2.functional.convert_bounding_box_format(make_boxes(), new_format=tv_tensors.BoundingBoxFormat[format])
    hidden, same = Obfuscate()(image, boxes)
    np.testing.assert_array_equal(hidden, Obfuscate()(image, make_boxes())[0])
    assert same.format.value == format


def test_in_a_pipeline_of_torchvision():
    """Boxes move with the image, those cropped away are skipped, and several images share their boxes."""
    pipeline = v2.Compose([v2.CenterCrop(20), Obfuscate(Obfuscation("overlay", color="red")), v2.Resize(10)])
    image, mask = as_tensor(make_image()), tv_tensors.Mask(torch.zeros(1, 48, 64, dtype=torch.uint8))
    hidden, boxes, _ = pipeline(image, make_boxes([[22, 14, 42, 34], [0, 0, 4, 4]]), mask)
    assert (hidden == torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]).all()
    assert boxes.shape == (2, 4)
    first, second, _ = Obfuscate()(image, make_image(seed=3), make_boxes())
    np.testing.assert_array_equal(second, obfuscate(np.asarray(make_image(seed=3)), BOXES, Obfuscation()).pixels)
    assert (first != image).any()


def test_no_boxes():
    image = make_image()
    hidden, _ = Obfuscate()(image, make_boxes(np.zeros((0, 4))))
    assert hidden.tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ((make_image(),), "BoundingBoxes of one image, got 0"),
        ((make_image(), make_boxes(), make_boxes()), "got 2 sets"),
        ((make_boxes(),), "got no image"),
        ((make_image(), make_boxes(size=(64, 48))), r"\(64, 48\) of the boxes, got \(48, 64\)"),
        ((make_image(mode="P"), make_boxes()), "PIL image of L, LA, RGB, RGBA, CMYK, got P"),
        ((torch.zeros(3, 48, 64), make_boxes()), "got torch.float32"),
        ((torch.zeros(2, 3, 48, 64, dtype=torch.uint8), make_boxes()), r"got torch.uint8 of shape \(2, 3, 48, 64\)"),
        ((tv_tensors.Video(torch.zeros(2, 3, 48, 64, dtype=torch.uint8)), make_boxes()), "got a video"),
        ((make_image(), make_boxes([[0, 0, float("nan"), 4]])), "finite"),
    ],
)
def test_what_is_refused(sample, said):
    with pytest.raises(ImageError, match=said):
        Obfuscate()(*sample)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes: a JPEG with EXIF orientation, PNGs, a photo; one image without a row, one that failed."""
    root = tmp_path_factory.mktemp("classes") / "images"
    for name in ("b", "a", "a/deep", "c"):
        (root / name).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "a/turned.jpg").write_bytes(encode_image(make_image(), ".jpg", exif=exif))
    (root / "a/deep/1.png").write_bytes(encode_image(make_image(seed=1), ".png"))
    (root / "b/grey.png").write_bytes(encode_image(make_image(mode="L", seed=2), ".png"))
    (root / "b/unknown.png").write_bytes(encode_image(make_image(seed=3), ".png"))
    (root / "b/failed.png").write_bytes(encode_image(make_image(seed=4), ".png"))
    photo = next((EXAMPLES / "astronaut").glob("*.png"))
    shutil.copy(photo, root / "c")
    with Image.open(photo) as image:
        astronaut = make_faces(f"c/{photo.name}", [(170, 60, 280, 200)], *image.size)
    rows = [
        make_faces("a/turned.jpg", [(5, 10, 30, 50)], 48, 64),
        make_faces("a/deep/1.png"),
        make_faces("b/grey.png", []),
        make_faces("b/failed.png", [], status="failed"),
        astronaut,
    ]
    write_faces(root.parent / "faces.parquet", faces_table(rows))
    return root


@pytest.mark.parametrize("obfuscation", [o for o in EVERY if o.method != "none"])
def test_pixels_are_those_of_unface_obfuscate(folder, obfuscation, tmp_path):
    """The files that the command writes without loss, read by torchvision's own ImageFolder: order, classes, pixels."""
    from pipelines import obfuscate_dataset
    from unface.cli.pipeline import Session
    from unface.engine import LocalExecutor, Progress
    from unface.faces import read_faces

    src = tmp_path / "src"
    shutil.copytree(folder, src)
    turned = src / "a/turned.jpg"  # a JPEG loses by being encoded: the same pixels as PNG, upright
    turned.with_suffix(".png").write_bytes(encode_image(Image.fromarray(decode(turned.read_bytes()).rgb()), ".png"))
    table = read_faces(folder.parent / "faces.parquet")
    names = [name.replace("turned.jpg", "turned.png") for name in table["image_id"].to_pylist()]
    table = table.set_column(0, table.schema.field(0), [names])
    turned.unlink()
    with LocalExecutor(1) as executor:
        session = Session(executor, Progress(quiet=True))
        obfuscate_dataset(session, src, table, obfuscation, Writing(), tmp_path / "dst")
    files = ImageFolder(tmp_path / "dst/images")
    ours = ObfuscatedFolder(folder, folder.parent / "faces.parquet", obfuscation)
    assert (ours.classes, ours.class_to_idx, ours.targets) == (files.classes, files.class_to_idx, files.targets)
    assert len(ours) == len(files) == 4
    assert sorted(ours.left_out) == ["b/failed.png", "b/unknown.png"]
    for (image, target), (wanted, wanted_target) in zip(ours, files, strict=True):
        assert target == wanted_target
        np.testing.assert_array_equal(image, wanted)


def test_no_obfuscation_gives_the_originals(folder):
    ours = ObfuscatedFolder(folder, folder.parent / "faces.parquet", Obfuscation("none"))
    for (path, _), (image, _) in zip(ours.samples, ours, strict=True):
        with Image.open(path) as stored:
            turned = stored.transpose(Image.Transpose.ROTATE_270) if "turned" in path else stored
            np.testing.assert_array_equal(image, turned.convert("RGB"))


def test_in_a_data_loader(folder):
    """With worker processes that start from nothing, as on macOS and Windows."""
    transform = v2.Compose([v2.Resize((32, 32)), v2.ToImage()])
    ours = ObfuscatedFolder(folder, folder.parent / "faces.parquet", transform=transform, target_transform=str)
    loader = torch.utils.data.DataLoader(ours, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    (images, targets), *_ = loader
    assert images.shape == (4, 3, 32, 32)
    assert targets == ("0", "0", "1", "2")
    np.testing.assert_array_equal(images[3], ours[-1][0])


def test_what_cannot_be_read_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="expected folders of images, one a class, found none"):
        ObfuscatedFolder(folder / "a/deep", folder.parent / "faces.parquet")
    with pytest.raises(InputError, match=r"nothing\.parquet"):
        ObfuscatedFolder(folder, tmp_path / "nothing.parquet")
    rows = [make_faces("b/grey.png", [], 10, 10)]
    with pytest.raises(ImageError, match=r"b/grey\.png: expected the 10x10 px of faces.parquet, got 64x48"):
        ObfuscatedFolder(folder, rows)[0]
    with pytest.raises(IndexError):
        ObfuscatedFolder(folder, rows)[1]
