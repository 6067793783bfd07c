import numpy as np
import pytest
import torch
from PIL import Image

from builders import encode_image, make_faces, make_image
from study_sets import make_photos
from unface.errors import ImageError, InputError
from unface.faces import faces_table, write_faces
from unface.study.computing import Computing
from unface.study.labelled import open_images
from unface.study.loading import Schedule, evaluation_runs, training_batches
from unface.study.reading import ViewReader, pixels_from
from unface.study.settings import SETTINGS


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    return open_images(root / "images", make_photos(root))


@pytest.mark.parametrize(
    ("count", "batch", "world", "steps"), [(9, 4, 1, 2), (10, 4, 1, 3), (10, 4, 2, 2), (8, 4, 2, 2)]
)
def test_an_epoch_shows_every_image_once(count, batch, world, steps):
    schedule = Schedule(count, batch, seed=3, world_size=world)
    assert schedule.steps_per_epoch == steps
    for epoch in range(3):
        of_epoch = [schedule.indices(step).tolist() for step in range(epoch * steps, (epoch + 1) * steps)]
        seen = [index for indices in of_epoch for index in indices]
        assert len(set(seen)) == len(seen) >= count - batch
        assert all(schedule.epoch_of(step) == epoch for step in range(epoch * steps, (epoch + 1) * steps))
        assert set(seen) <= set(range(count))
    assert [Schedule(count, batch, 3, world).indices(s).tolist() for s in (4, 1)] == [
        schedule.indices(s).tolist() for s in (4, 1)
    ]
    assert schedule.indices(0).tolist() != Schedule(count, batch, 4, world).indices(0).tolist()


def batches(reader, steps, rank=0, world=1, workers=0):
    schedule = Schedule(len(reader.images), 4, 7, world)
    return list(training_batches(reader, 16, schedule, steps, rank, world, workers, False))


def test_batches_are_a_function_of_the_step(images):
    reader = ViewReader(images, [SETTINGS["blurred"]])
    whole = batches(reader, range(6))
    for (views, labels), (again, same) in zip(whole[3:], batches(reader, range(3, 6)), strict=True):
        assert torch.equal(views, again)
        assert torch.equal(labels, same)
    assert whole[0][0].shape == (4, 16, 16, 3)
    assert not torch.equal(whole[0][0], whole[2][0])


def test_workers_and_ranks_change_nothing(images):
    reader = ViewReader(images, [SETTINGS["original"]])
    whole = batches(reader, range(4))
    for (views, labels), (theirs, same) in zip(whole, batches(reader, range(4), workers=2), strict=True):
        assert torch.equal(views, theirs)
        assert torch.equal(labels, same)
    shares = [batches(reader, range(4), rank, 2) for rank in range(2)]
    for (views, _), (even, _), (odd, _) in zip(whole, *shares, strict=True):
        assert torch.equal(views[0::2], even)
        assert torch.equal(views[1::2], odd)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """JPEGs of every kind and a PNG, without faces, and one image with a face."""
    root = tmp_path_factory.mktemp("kinds")
    (root / "a").mkdir()
    rotated = Image.Exif()
    rotated[0x0112] = 6
    ways = {
        "plain": ("RGB", {"quality": 80}),
        "fine": ("RGB", {"subsampling": 0}),
        "progressive": ("RGB", {"progressive": True}),
        "rgb": ("RGB", {"keep_rgb": True}),
        "grey": ("L", {}),
        "cmyk": ("CMYK", {}),
        "rotated": ("RGB", {"exif": rotated}),
        "face": ("RGB", {}),
    }
    for seed, (name, (mode, options)) in enumerate(ways.items()):
        make_image(64, 48, seed=seed).convert(mode).save(root / "a" / f"{name}.jpg", **options)
    make_image(64, 48, seed=9).save(root / "a" / "lossless.png")
    sizes = {name: (48, 64) if name == "rotated" else (64, 48) for name in ways}
    rows = [make_faces(f"a/{name}.jpg", [(9, 9, 30, 30)] if name == "face" else [], *sizes[name]) for name in ways]
    write_faces(root / "faces.parquet", faces_table([*rows, make_faces("a/lossless.png", [], 64, 48)]))
    return root


def test_the_device_decodes_what_it_may_and_nothing_changes(kinds):
    """On a CPU TorchCodec makes the same pixels as ours."""
    images = open_images(kinds, kinds / "faces.parquet")
    for name in ("original", "blurred", "reencoded"):
        reader = ViewReader(images, [SETTINGS[name]])
        coded = {images.image_ids[index].as_py() for index in range(len(images)) if reader.jpeg(index)}
        assert coded == {"a/plain.jpg", "a/fine.jpg", "a/progressive.jpg"}
        schedule = Schedule(len(images), 9, 1)
        plain, decoded = (
            next(training_batches(reader, 32, schedule, range(1), 0, 1, workers, False, decoder))
            for workers, decoder in ((0, None), (2, torch.device("cpu")))
        )
        assert torch.equal(plain[0], decoded[0])
        assert torch.equal(plain[1], decoded[1])


def test_an_image_that_no_decoder_takes_is_named(kinds, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("plain", "fine"):
        (tmp_path / "a" / f"{name}.jpg").write_bytes((kinds / "a" / f"{name}.jpg").read_bytes())
    data = (kinds / "a" / "plain.jpg").read_bytes()
    while (start := data.find(b"\xff\xdb")) >= 0:
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    (tmp_path / "a" / "broken.jpg").write_bytes(data)
    reader = ViewReader(open_images(tmp_path), [SETTINGS["original"]])
    with pytest.raises(ImageError, match=r"^a/broken\.jpg: "):
        next(training_batches(reader, 32, Schedule(3, 3, 1), range(1), 0, 1, 0, False, torch.device("cpu")))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_decodes_nearly_the_same(kinds):
    reader = ViewReader(open_images(kinds, kinds / "faces.parquet"), [SETTINGS["original"]])
    plain, decoded = (
        next(training_batches(reader, 32, Schedule(9, 9, 1), range(1), 0, 1, 2, True, decoder))[0]
        for decoder in (None, torch.device("cuda"))
    )
    assert decoded.is_cuda
    apart = (plain.float() - decoded.cpu().float()).abs()
    assert apart.mean() < 2  # nvJPEG blends chroma samples in another way


def test_what_decides_the_pixels_is_told():
    assert pixels_from(None, "workers") == ""
    assert pixels_from(None, "device") == "decoded on the device"
    assert pixels_from(256, "workers") == "packed at 256 px"
    with pytest.raises(InputError, match="expected workers with a packed copy"):
        pixels_from(256, "device")
    with pytest.raises(InputError, match="decode: expected workers or device, got gpu"):
        Computing("cpu", decode="gpu")


def test_settings_are_paired(images):
    """The same images in the same order and crops: where no face was, nothing differs."""
    ours, theirs = (batches(ViewReader(images, [SETTINGS[name]]), range(4)) for name in ("original", "red"))
    schedule = Schedule(len(images), 4, 7)
    for step, ((views, labels), (others, same)) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(labels, same)
        equal = (views == others).flatten(1).all(dim=1).numpy()
        faceless = images.face_counts[schedule.indices(step)] == 0
        assert equal[faceless].all()
    assert any(not torch.equal(a, b) for (a, _), (b, _) in zip(ours, theirs, strict=True))


def test_runs_for_evaluation(images):
    reader = ViewReader(images, [SETTINGS[name] for name in ("original", "red", "mean")])
    runs = [range(0, 4), range(4, 8), range(8, 9)]
    found = list(evaluation_runs(reader, 20, 16, runs, 0, False))
    places = np.concatenate([places for _, places in found])
    assert places.shape == (9, 3)
    for run, (views, where) in zip(runs, found, strict=True):
        faces = int((images.face_counts[run.start : run.stop] > 0).sum())
        assert views.shape == (len(run) + 2 * faces, 16, 16, 3)
        assert set(where.flatten().tolist()) == set(range(len(views)))


def test_what_is_hidden_outside_the_middle_is_shown_once(tmp_path):
    """A wide image, of which the middle alone is looked at, with a face at its left or in its middle."""
    (tmp_path / "images/a").mkdir(parents=True)
    rows = []
    for name, box in (("left", (2, 10, 20, 30)), ("middle", (60, 10, 80, 30))):
        (tmp_path / f"images/a/{name}.png").write_bytes(encode_image(make_image(140, 40), ".png"))
        rows.append(make_faces(f"a/{name}.png", [box], 140, 40))
    write_faces(tmp_path / "faces.parquet", faces_table(rows))
    images = open_images(tmp_path / "images", tmp_path / "faces.parquet")
    reader = ViewReader(images, [SETTINGS[name] for name in ("original", "red", "blue")])
    assert [len(reader.read(index)[0]) for index in range(2)] == [3, 3]
    ((views, places),) = evaluation_runs(reader, 32, 32, [range(2)], 0, False)
    assert places.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert len(views) == 4
    assert torch.equal(views[0], views[1])  # two images are never one
