"""Datasets in archives, made by the libraries that people make them with."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from builders import encode_image, make_image
from unface.datasets import open_dataset

FACE = (20, 16, 80, 80)
SIZE = (120, 100)


def picture(number: int, suffix: str = ".jpg") -> bytes:
    return encode_image(make_image(*SIZE, seed=number), suffix)


def write_webdataset(root: Path, shards: int = 2, samples: int = 5) -> list[str]:
    """By webdataset's own writer: an image, a caption, a class and JSON a sample; returns the image ids."""
    import webdataset

    root.mkdir(parents=True, exist_ok=True)
    ids = []
    for shard in range(shards):
        name = f"set-{shard:06d}.tar"
        with webdataset.TarWriter(str(root / name), mtime=1.0) as writer:
            for number in range(shard * samples, (shard + 1) * samples):
                suffix = "png" if number % 5 == 4 else "jpg"
                writer.write(
                    {
                        "__key__": f"sample{number:04d}",
                        "cls": str(number % 3).encode(),
                        suffix: picture(number, f".{suffix}"),
                        "json": json.dumps({"caption": f"ein Bild, Nummer {number} – ünï"}).encode(),
                    }
                )
                ids.append(f"{name}/sample{number:04d}.{suffix}")
    return ids


def write_tar(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read_tar(path: Path) -> dict[str, bytes]:
    """Members in order."""
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}


def write_hugging_face(path: Path, rows: int = 10, empty: Iterable[int] = ()) -> list[str]:
    """By the library `datasets`: an image, a label, a caption; returns the image ids."""
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    skipped = set(empty)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"]), "caption": datasets.Value("string")}
    )
    images = [None if i in skipped else {"bytes": picture(i), "path": f"{i}.jpg"} for i in range(rows)]
    captions = [f"Nummer {i} – ünï" for i in range(rows)]
    made = datasets.Dataset.from_dict(
        {"image": images, "label": [i % 2 for i in range(rows)], "caption": captions}, features=features
    )
    made.to_parquet(str(path), batch_size=4)
    return [f"{path.name}/{i:08d}" for i in range(rows) if i not in skipped]


def write_plain(path: Path, columns: Mapping[str, list], row_group: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, row_group_size=row_group, compression="gzip")
    return path


def listed(place) -> dict[str, str]:
    """Ids, and why they are refused."""
    dataset = open_dataset(place)
    return {e.image_id: e.refused for part in dataset.survey().parts for e in dataset.entries(part)}


def rewrite(source, folder, images=None):
    """Publish every image as given by `images`, else as it is; None fails."""
    dataset = open_dataset(source)
    sink = dataset.sink(folder / "out", folder / "parts")
    sink.open()
    for part in dataset.survey().parts:
        sink.begin(part)
        for entry in dataset.entries(part):
            if entry.refused:
                continue
            data = dataset.read(entry.image_id)
            if images is not None:
                data = images.get(entry.image_id, data)
            if data is not None:
                sink.write(entry.image_id, data)
        sink.finish()
    sink.close()
    return folder / "out"
