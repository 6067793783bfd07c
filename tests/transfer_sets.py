"""Small datasets in the official layouts of the transfer tasks, made of generated pictures."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from builders import encode_image, make_image

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def bright_and_dark(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, dark in class 0 and light in class 1: uint8, shape (N, size, size, 3), and classes, shape (N,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    noise = rng.integers(0, 256, (count, size, size, 3))
    return (0.3 * noise + 0.7 * np.where(labels, 200, 50)[:, None, None, None]).astype(np.uint8), labels


def make_cifar10(root: Path, train: int = 40, test: int = 20) -> Path:
    """Two batches of training pictures and one of tests, as pickles like the published ones."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels, labels = bright_and_dark(train, 32, 0)
    others, their_labels = bright_and_dark(test, 32, 1)
    half = train // 2
    batches = {"data_batch_1": (pixels[:half], labels[:half]), "data_batch_2": (pixels[half:], labels[half:])}
    for name, (some, classes) in {**batches, "test_batch": (others, their_labels)}.items():
        data = some.transpose(0, 3, 1, 2).reshape(len(some), -1)
        write_pickle(folder / name, {"data": data, "labels": classes.tolist()})
    write_pickle(folder / "batches.meta", {"label_names": CIFAR_CLASSES})
    return root


def write_pickle(path: Path, what: object) -> None:
    path.write_bytes(pickle.dumps(what, protocol=2))


def make_sun397(root: Path, each: int = 4) -> Path:
    """Three classes, one below another, in partition 1: the first half of each class trains."""
    classes = ["/a/abbey", "/a/apartment_building/outdoor", "/b/bar"]
    (root / "SUN397").mkdir(parents=True)
    (root / "SUN397" / "ClassName.txt").write_text("".join(f"{name}\n" for name in classes))
    train, test = [], []
    for number, name in enumerate(classes):
        folder = root / "SUN397" / name.lstrip("/")
        folder.mkdir(parents=True)
        for place in range(2 * each):
            file = f"sun_{number}{place:03d}.jpg"
            image = make_image(48, 36, seed=100 * number + place)
            (folder / file).write_bytes(encode_image(image, ".jpg"))
            (train if place < each else test).append(f"{name}/{file}")
    (root / "Partitions").mkdir()
    for file, names in (("Training_01.txt", train), ("Testing_01.txt", test)):
        (root / "Partitions" / file).write_text("".join(f"{name}\n" for name in names))
    return root


def make_celeba(root: Path, names: tuple[str, ...], counts: tuple[int, int, int] = (24, 8, 12)) -> Path:
    """Portraits that are light where they are `Male`; all other attributes are random."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    total = sum(counts)
    pixels, light = bright_and_dark(total, 32, 2)
    attributes = np.random.default_rng(0).choice([-1, 1], (total, len(names)))
    attributes[:, names.index("Male")] = 2 * light - 1
    files = [f"{number + 1:06d}.jpg" for number in range(total)]
    for file, picture in zip(files, pixels, strict=True):
        (folder / "img_align_celeba" / file).write_bytes(encode_image(Image.fromarray(picture), ".jpg"))
    parts = np.repeat([0, 1, 2], counts)
    write_list(folder / "list_attr_celeba.txt", files, attributes, [str(total), " ".join(names)])
    write_list(folder / "list_eval_partition.txt", files, parts[:, None], [])
    write_list(folder / "identity_CelebA.txt", files, np.ones((total, 1), int), [])
    write_list(folder / "list_bbox_celeba.txt", files, np.ones((total, 4), int), [str(total), "image_id x_1 y_1 w h"])
    write_list(folder / "list_landmarks_align_celeba.txt", files, np.ones((total, 10), int), [str(total), "l"])
    return root


def write_list(path: Path, files: list[str], numbers: np.ndarray, head: list[str]) -> None:
    rows = [f"{file} {' '.join(map(str, row))}" for file, row in zip(files, numbers.tolist(), strict=True)]
    path.write_text("".join(f"{line}\n" for line in [*head, *rows]))


def make_parquet(root: Path, train: int = 40, test: int = 20) -> Path:
    """Files as Hugging Face has them, with its note on names of classes."""
    root.mkdir(parents=True)
    for part, count, seed in (("train", train, 0), ("test", test, 1)):
        pixels, labels = bright_and_dark(count, 32, seed)
        cells = [
            {"bytes": encode_image(Image.fromarray(each), ".png"), "path": f"{place}.png"}
            for place, each in enumerate(pixels)
        ]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CIFAR_CLASSES}}
        note = json.dumps({"info": {"features": features}})
        table = pa.table({"img": pa.array(cells, kind), "label": pa.array(labels, pa.int64())})
        pq.write_table(table.replace_schema_metadata({"huggingface": note}), root / f"{part}-00000-of-00001.parquet")
    return root


ANNOTATION = """<annotation><folder>VOC</folder><filename>{file}</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def make_voc(root: Path, each: int = 4) -> Path:
    """Squares of one colour, the light ones `cat`, the dark ones `dog`, on noise; the last one of each is difficult."""
    rng = np.random.default_rng(0)
    for year, part in (("2007", "trainval"), ("2012", "trainval"), ("2007", "test")):
        photos = []
        for place in range(each):
            pixels = rng.integers(100, 150, (60, 80, 3)).astype(np.uint8)
            objects = []
            for number in range(2):
                x, y = int(rng.integers(0, 20)) + 40 * number, int(rng.integers(0, 30))
                pixels[y : y + 28, x : x + 20] = 250 if number else 10
                difficult = int(number == 0 and place == each - 1)
                objects.append(("cat" if number else "dog", difficult, (x + 1, y + 1, x + 20, y + 28)))
            photos.append(
                (f"{year}_{part}{place:03d}", encode_image(Image.fromarray(pixels), ".jpg"), (80, 60), objects)
            )
        write_voc(root, year, part, photos)
    return root


def write_voc(root: Path, year: str, part: str, photos: list) -> None:
    """Photos as (name, JPEG, size, objects), objects as (class, difficult, box of whole pixels counted from 1)."""
    folder = root / "VOCdevkit" / f"VOC{year}"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, data, (width, height), objects in photos:
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(data)
        told = "".join(OBJECT.format(*box, name=kind, difficult=difficult) for kind, difficult, box in objects)
        text = ANNOTATION.format(file=f"{name}.jpg", width=width, height=height, objects=told)
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{photo[0]}\n" for photo in photos))
