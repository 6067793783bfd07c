import hashlib
import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from transfer_sets import make_celeba, make_cifar10, make_parquet, make_sun397, make_voc, write_pickle
from unface.errors import ImageError, InputError
from unface.study.architectures import ARCHITECTURES, build
from unface.study.checkpoints import Network
from unface.study.tasks import open_task, results_name
from unface.study.tasks import task as module
from unface.study.tasks.celeba import NAMES
from unface.study.tasks.cifar10 import CifarImages
from unface.study.tasks.task import NewHead, draw_order, head_names, held_out

torch = pytest.importorskip("torch")


def ids_of(reader):
    return reader.images.image_ids.to_pylist()


def test_cifar10_is_what_torchvision_reads(tmp_path):
    from torchvision.datasets import CIFAR10

    make_cifar10(tmp_path)
    task = open_task(f"cifar10:{tmp_path}", altered=True)
    assert task.name == "cifar10-altered"
    splits = task.splits
    assert [len(each.images) for each in (splits.train, splits.test, splits.search, splits.validation)] == [
        40,
        20,
        36,
        4,
    ]
    assert set(ids_of(splits.search)) | set(ids_of(splits.validation)) == set(ids_of(splits.train))
    assert not set(ids_of(splits.search)) & set(ids_of(splits.validation))
    batch = pickle.loads((tmp_path / "cifar-10-batches-py/data_batch_2").read_bytes())
    wanted = batch["data"][3].reshape(3, 32, 32).transpose(1, 2, 0)
    assert ids_of(splits.train)[23] == "train/00023"
    np.testing.assert_array_equal(splits.train.read(23)[0][0], wanted)
    assert splits.train.images.labels[23] == batch["labels"][3]
    assert splits.train.images.classes[3] == "cat"
    assert pickle.loads(pickle.dumps(splits.train)).read(23)[0][0].shape == (32, 32, 3)  # as workers get it
    assert CIFAR10.train_list[0][1]  # torchvision's own class is left as it was


def test_cifar10_needs_its_hashes(tmp_path):
    make_cifar10(tmp_path)
    with pytest.raises(InputError, match=r"expected the published files in cifar-10-batches-py: .*; download https://"):
        open_task(f"cifar10:{tmp_path}")


def test_pickles_that_would_run_something_are_not_opened(tmp_path):
    make_cifar10(tmp_path)

    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    write_pickle(tmp_path / "cifar-10-batches-py/test_batch", {"data": Hostile()})
    with pytest.raises(InputError, match=r"expected arrays of numbers, got (posix|nt)\.mkdir"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    assert not (tmp_path / "ran").exists()


def test_cifar10_that_contradicts_itself(tmp_path):
    make_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py/test_batch"
    batch = pickle.loads(path.read_bytes())
    write_pickle(path, batch | {"labels": batch["labels"][:-1]})
    with pytest.raises(InputError, match="test: 20 pictures but 19 labels"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    write_pickle(path, batch | {"labels": [10] * 20})
    with pytest.raises(InputError, match="labels: expected 0 to 9, got 10 to 10"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    write_pickle(path, batch | {"labels": [0.5] * 20})
    with pytest.raises(InputError, match="test: expected whole numbers, of 8 bits for pictures, got float64 and uint8"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    write_pickle(path, batch | {"data": batch["data"] / 255})
    with pytest.raises(InputError, match="got int64 and float64"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    path.write_bytes(b"torn")
    with pytest.raises(InputError, match="expected the published files"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    path.unlink()
    with pytest.raises(InputError, match="expected the published files"):
        open_task(f"cifar10:{tmp_path}", altered=True)
    with pytest.raises(ImageError, match="expected a picture of CIFAR-10, got elsewhere/1"):
        CifarImages(tmp_path, True).read("elsewhere/1")


def test_sun397_is_read_by_its_partition(tmp_path):
    make_sun397(tmp_path)
    task = open_task(f"sun397:{tmp_path}", altered=True)
    train, test = task.splits.train, task.splits.test
    assert (len(train.images), len(test.images)) == (12, 12)
    assert train.images.classes == ("abbey", "apartment_building/outdoor", "bar")
    place = ids_of(test).index("SUN397/a/apartment_building/outdoor/sun_1005.jpg")
    assert test.images.labels[place] == 1
    wanted = Image.open(tmp_path / ids_of(test)[place]).convert("RGB")
    np.testing.assert_allclose(test.read(place)[0][0], wanted, atol=1)
    assert len(task.splits.validation.images) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: shutil.rmtree(root / "SUN397"), "expected the folder SUN397: .*; download https://"),
        (lambda root: shutil.rmtree(root / "Partitions"), "expected the partition's file Training_01.txt, found none"),
        (
            lambda root: next(root.rglob("sun_0000.jpg")).unlink(),
            "train: expected the images of the partition, found no",
        ),
        (
            lambda root: shutil.copy(root / "Partitions/Training_01.txt", root / "Partitions/Testing_01.txt"),
            "expected partitions that share nothing",
        ),
        (lambda root: (root / "Partitions/Testing_01.txt").write_text(""), "expected different images, got 0 lines"),
        (
            lambda root: (root / "SUN397/ClassName.txt").write_text("/a/abbey\n"),
            "expected the classes of ClassName.txt",
        ),
    ],
)
def test_sun397_partial(tmp_path, change, said):
    make_sun397(tmp_path)
    change(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        open_task(f"sun397:{tmp_path}", altered=True)
    assert "\n" not in str(caught.value)


def test_sun397_whole_is_counted(tmp_path):
    make_sun397(tmp_path)
    with pytest.raises(InputError, match="expected 108,754 images of 397 classes, got 24 of 3"):
        open_task(f"sun397:{tmp_path}")
    with pytest.raises(InputError, match=r"Training_02\.txt, found none"):
        open_task(f"sun397-2:{tmp_path}", altered=True)
    with pytest.raises(InputError, match="expected sun397, or sun397-2 to sun397-10"):
        open_task(f"sun397-11:{tmp_path}", altered=True)


def test_celeba_has_its_attributes(tmp_path, monkeypatch):
    make_celeba(tmp_path, NAMES)
    task = open_task(f"celeba:{tmp_path}", altered=True)
    splits = task.splits
    assert [len(each.images) for each in (splits.train, splits.validation, splits.test)] == [24, 8, 12]
    assert splits.test.images.labels.shape == (12, 40)
    lines = (tmp_path / "celeba/list_attr_celeba.txt").read_text().splitlines()[2:]
    for image_id, labels in zip(ids_of(splits.test), splits.test.images.labels, strict=True):
        line = next(line for line in lines if line.startswith(Path(image_id).name))
        assert labels.tolist() == [int(word == "1") for word in line.split()[1:]]
    monkeypatch.setattr("unface.study.tasks.celeba.TRAINING_IMAGES", 10)
    ten = ids_of(open_task(f"celeba:{tmp_path}", altered=True).splits.train)
    assert len(ten) == 10
    assert ten == ids_of(open_task(f"celeba:{tmp_path}", altered=True).splits.train)
    assert ten != ids_of(splits.train)[:10]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda root: (root / "list_eval_partition.txt").unlink(),
            "expected the published files in celeba/: .*download",
        ),
        (
            lambda root: (root / "img_align_celeba/000030.jpg").unlink(),
            "expected each image of the lists, found no 000030",
        ),
        (lambda root: cut(root / "list_attr_celeba.txt"), "name different images|expected the published files"),
        (
            lambda root: replace(root / "list_attr_celeba.txt", "5_o_Clock_Shadow", "Beard"),
            "expected 40 attributes, 5_o_Clock_Shadow first, got 40: Beard",
        ),
        (
            lambda root: replace(root / "list_eval_partition.txt", " 1\n", " 0\n"),
            "validation: expected images, found none",
        ),
        (
            lambda root: replace(root / "list_attr_celeba.txt", " 1 ", " 2 "),
            r"list_attr_celeba.txt: expected \(-1, 1\), got 2",
        ),
        (
            lambda root: replace(root / "list_eval_partition.txt", " 0\n", " 7\n"),
            r"list_eval_partition.txt: expected \(0, 1, 2\), got 7",
        ),
        (
            lambda root: [
                replace(root / f"list_{name}.txt", "000002.jpg", "000001.jpg")
                for name in ("attr_celeba", "eval_partition")
            ],
            "list_eval_partition.txt: expected each image once",
        ),
        (lambda root: shutil.rmtree(root / "img_align_celeba"), "expected the published files in celeba/"),
    ],
)
def test_celeba_partial(tmp_path, change, said):
    make_celeba(tmp_path, NAMES)
    change(tmp_path / "celeba")
    with pytest.raises(InputError, match=said):
        open_task(f"celeba:{tmp_path}", altered=True)


def test_celeba_needs_its_hashes(tmp_path):
    make_celeba(tmp_path, NAMES)
    with pytest.raises(InputError, match="Dataset not found or corrupted"):
        open_task(f"celeba:{tmp_path}")


def cut(path):
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_parquet_of_hugging_face(tmp_path):
    place = make_parquet(tmp_path / "hub")
    task = open_task(f"cifar10:{place}", altered=True)
    assert len(task.splits.train.images) == 40
    assert task.splits.train.images.classes[9] == "truck"
    from datasets import load_dataset

    theirs = load_dataset("parquet", data_files=str(place / "test-*.parquet"), cache_dir=str(tmp_path / "cache"))[
        "train"
    ]
    for row in (0, 7, 19):
        with io.BytesIO(theirs[row]["img"]["bytes"] if isinstance(theirs[row]["img"], dict) else b"") as cell:
            wanted = Image.open(cell) if cell.getvalue() else theirs[row]["img"]
            np.testing.assert_array_equal(task.splits.test.read(row)[0][0], np.asarray(wanted.convert("RGB")))
        assert task.splits.test.images.labels[row] == theirs[row]["label"]
    with pytest.raises(InputError, match="train: expected 50,000 images, got 40"):
        open_task(f"cifar10:{place}")
    with pytest.raises(InputError, match="expected a column 5_o_Clock_Shadow, got img, label"):
        open_task(f"celeba:{place}", altered=True)
    assert open_task(f"folder:{place}").name == "hub"
    with pytest.raises(InputError, match="expected the folder VOCdevkit, got Parquet files"):
        open_task(f"voc:{place}", altered=True)
    (place / "test-00000-of-00001.parquet").rename(place / "rest.parquet")
    with pytest.raises(InputError, match=r"rest.parquet: expected a name that begins with train"):
        open_task(f"cifar10:{place}", altered=True)


def test_celeba_in_parquet(tmp_path):
    place = make_parquet(tmp_path / "hub")
    rng = np.random.default_rng(0)
    for path in place.iterdir():
        table = pq.read_table(path)
        for name in NAMES:
            table = table.append_column(name, [rng.random(len(table)) < 0.5])
        pq.write_table(table, path)
    shutil.copy(place / "test-00000-of-00001.parquet", place / "valid-00000-of-00001.parquet")
    splits = open_task(f"celeba:{place}", altered=True).splits
    assert splits.validation.images.labels.shape == (20, 40)
    column = pq.read_table(place / "test-00000-of-00001.parquet")["Bald"].to_pylist()
    assert splits.test.images.labels[:, NAMES.index("Bald")].tolist() == column


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.slice(0, 0), "test: expected images, found none"),
        (lambda table: table.drop(["label"]), "expected a column label, got img"),
        (lambda table: table.drop(["img"]), "expected a column of images"),
        (lambda table: table.append_column("more", table["img"]), "expected one column of images, got 2"),
        (lambda table: relabelled(table, ["a"] * 20), "expected numbers for labels"),
        (lambda table: relabelled(table, pa.nulls(20, pa.int64())), "expected a label in each row, got empty ones"),
        (lambda table: relabelled(table, [-1] * 20), "label: expected 0 to 9, got -1 to -1"),
        (lambda table: relabelled(table, [10] * 20), "label: expected 0 to 9, got 10 to 10"),
        (
            lambda table: table.replace_schema_metadata({"huggingface": b"\xff"}),
            "expected the same classes in all files",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["cifar10", "folder"])
def test_parquet_partial(tmp_path, kind, change, said):
    place = make_parquet(tmp_path / "hub")
    path = place / "test-00000-of-00001.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(InputError, match=said) as caught:
        open_task(f"{kind}:{place}", altered=True)
    assert "\n" not in str(caught.value)


def relabelled(table, labels):
    return table.set_column(1, "label", pa.array(labels) if isinstance(labels, list) else labels)


def test_parquet_with_missing_or_torn_files(tmp_path):
    place = make_parquet(tmp_path / "hub")
    test = place / "test-00000-of-00001.parquet"
    test.write_bytes(b"PAR1 torn")
    with pytest.raises(InputError, match="expected a Parquet file"):
        open_task(f"cifar10:{place}", altered=True)
    test.unlink()
    with pytest.raises(InputError, match="test: expected images, found none"):
        open_task(f"cifar10:{place}", altered=True)
    with pytest.raises(InputError, match="found no test/"):
        open_task(f"folder:{place}")


def test_results_are_called_as_their_dataset(tmp_path, monkeypatch):
    """Never as a published one, and never as a folder above."""
    assert results_name("sun397-3:x", False) == "sun397-3"
    assert results_name("voc:x", True) == "voc-altered"
    assert results_name("folder:data/pets", True) == "pets"
    assert results_name("folder:data/cifar10", False) == "folder-cifar10"
    monkeypatch.chdir(tmp_path)
    assert results_name("folder:.", False) == tmp_path.name
    assert results_name("folder:..", False) == tmp_path.parent.name


def test_own_folders(tmp_path):
    rng = np.random.default_rng(0)
    for part, classes in (("train", "abc"), ("val", "ab"), ("test", "c")):
        for name in classes:
            (tmp_path / part / name).mkdir(parents=True)
            for place in range(3):
                pixels = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{place}.png")
    splits = open_task(f"folder:{tmp_path}").splits
    assert splits.validation.images.classes == ("a", "b", "c")
    assert set(splits.test.images.labels) == {2}
    shutil.rmtree(tmp_path / "test")
    splits = open_task(f"folder:{tmp_path}").splits
    assert (len(splits.test.images), len(splits.validation.images)) == (6, 3)
    for name in "bc":
        shutil.rmtree(tmp_path / "train" / name)
    shutil.rmtree(tmp_path / "val" / "b")
    with pytest.raises(InputError, match="classes: expected at least two, got a"):
        open_task(f"folder:{tmp_path}")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(InputError, match=r"expected train/ and test/ \(or val/\), found no train/"):
        open_task(f"folder:{tmp_path}")


@pytest.mark.parametrize("named", ["cifar10", "mnist:data", "cifar10-2:data", ":data", "voc:"])
def test_tasks_that_are_none(named):
    with pytest.raises(InputError, match="task: expected cifar10:PATH, sun397:PATH"):
        open_task(named)


def test_a_folder_that_is_none():
    with pytest.raises(InputError, match="voc: expected the dataset's folder, found none at nowhere"):
        open_task("voc:nowhere")


def test_draws_depend_on_names_alone():
    names = [f"{number}.jpg" for number in range(200)]
    order = draw_order(names)
    assert sorted(order.tolist()) == list(range(200))
    first = min(names, key=lambda name: hashlib.blake2b(f"0/{name}".encode(), digest_size=8).digest())
    assert names[order[0]] == first
    assert [names[::-1][place] for place in draw_order(names[::-1])] == [names[place] for place in order]
    assert draw_order(names, seed=1).tolist() != order.tolist()


def test_a_tenth_of_each_class_is_held_out(tmp_path):
    labels = np.array([0] * 100 + [1] * 25 + [2] * 2 + [3])
    images = module.labelled(CifarImages(tmp_path, True), [f"{n:03}" for n in range(128)], labels, "abcd")
    held = held_out(images)
    assert np.bincount(labels[held], minlength=4).tolist() == [10, 2, 1, 0]


@pytest.mark.parametrize("architecture", ["alexnet", "squeezenet1_0", "googlenet", "densenet121", "mobilenet_v2"])
def test_all_but_the_head_is_taken_over(architecture):
    torch.manual_seed(0)
    old = build(architecture, 7)
    network = NewHead(Network(old, architecture, "blurred", 1, None, ""))(architecture, 7)
    heads = head_names(architecture)
    theirs = old.state_dict()
    for name, value in network.state_dict().items():
        if "num_batches" not in name and value.float().std() > 0:
            assert torch.equal(value, theirs[name]) == (name not in heads), name
    assert NewHead(None)(architecture, 3)(torch.zeros(2, 3, 224, 224)) is not None


def test_every_architecture_has_a_head():
    for name in ARCHITECTURES:
        assert 2 <= len(head_names(name)) <= 6, name


def test_voc_is_what_torchvision_reads(tmp_path):
    from torchvision.datasets import VOCDetection

    make_voc(tmp_path)
    task = open_task(f"voc:{tmp_path}", altered=True)
    train, test = task.splits.train, task.splits.test
    assert (len(train.images), len(test.images)) == (8, 4)
    theirs = VOCDetection(str(tmp_path), "2007", "test")
    for index in range(4):
        image, told = theirs[index]
        found = told["annotation"]["object"]
        np.testing.assert_allclose(test.image(index).permute(1, 2, 0), image, atol=1)
        objects = test.objects[index]
        box = found[1]["bndbox"]
        wanted = [int(box["xmin"]) - 1, int(box["ymin"]) - 1, int(box["xmax"]), int(box["ymax"])]
        assert objects.boxes_xyxy[1].tolist() == wanted
        pixels = test.image(index)[:, wanted[1] : wanted[3], wanted[0] : wanted[2]]
        assert pixels.float().mean() > 230  # the box is exactly the light square
        assert objects.labels.tolist() == [11, 7]
        assert objects.difficult.tolist() == [each["difficult"] == "1" for each in found]
    assert task.recipe.rate_at(8, 1) == 1
    assert task.recipe.rate_at(9, 1) == pytest.approx(0.1)
    assert (task.recipe.epochs, task.recipe.batch, task.rates) == (10, 2, (1.25e-3,))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: shutil.rmtree(root / "VOC2012"), "2012 trainval: expected the folder VOCdevkit: .*; download"),
        (lambda root: (root / "VOC2007/ImageSets/Main/test.txt").unlink(), "2007 test: expected the folder VOCdevkit"),
        (lambda root: (root / "VOC2007/JPEGImages/2007_test001.jpg").unlink(), "expected each image of the list"),
        (
            lambda root: (root / "VOC2007/Annotations/2007_test001.xml").write_text("<a>"),
            "expected an annotation of VOC",
        ),
        (lambda root: replace(root / "VOC2012/Annotations/2012_trainval000.xml", "cat", "face"), "got face"),
        (
            lambda root: replace(root / "VOC2012/Annotations/2012_trainval000.xml", ">80<", ">50<"),
            "a box inside 50 x 60",
        ),
        (
            lambda root: replace(root / "VOC2012/Annotations/2012_trainval000.xml", "<xmin>", "<xmin>nan<!--"),
            "expected an annotation of VOC",
        ),
        (lambda root: replace(root / "VOC2007/Annotations/2007_test001.xml", ">0</dif", ">maybe</dif"), "got|'maybe'"),
        (
            lambda root: (root / "VOC2007/ImageSets/Main/test.txt").write_text(""),
            "expected different images, got 0 lines",
        ),
        (lambda root: (root / "VOC2007/ImageSets/Main/test.txt").write_bytes(b"\xff"), "expected the folder VOCdevkit"),
        (
            lambda root: (root / "VOC2007/ImageSets/Main/test.txt").write_text("2007_test001\n" * 2),
            "expected different images, got 2 lines of 1",
        ),
        (
            lambda root: shutil.copy(
                root / "VOC2007/ImageSets/Main/trainval.txt", root / "VOC2007/ImageSets/Main/test.txt"
            ),
            "2007: expected parts that share nothing, got VOCdevkit/VOC2007/JPEGImages/2007_trainval000.jpg in both",
        ),
        (
            lambda root: Image.new("RGB", (30, 20)).save(root / "VOC2007/JPEGImages/2007_test001.jpg"),
            "2007_test001.xml: bndbox: expected boxes inside the 30 x 20 pixels of 2007_test001.jpg",
        ),
        (
            lambda root: (root / "VOC2007/JPEGImages/2007_test001.jpg").write_bytes(b"torn"),
            "2007_test001.jpg: expected an image: ",
        ),
    ],
)
def test_voc_partial(tmp_path, change, said):
    make_voc(tmp_path)
    change(tmp_path / "VOCdevkit")
    with pytest.raises(InputError, match=said) as caught:
        open_task(f"voc:{tmp_path}", altered=True)
    assert "\n" not in str(caught.value)


def test_voc_whole_is_counted(tmp_path):
    make_voc(tmp_path)
    with pytest.raises(InputError, match="2007 trainval: expected 5,011 images, got 4"):
        open_task(f"voc:{tmp_path}")


def test_voc_whose_images_are_others(tmp_path):
    make_voc(tmp_path)
    task = open_task(f"voc:{tmp_path}", altered=True)
    path = tmp_path / "VOCdevkit/VOC2007/JPEGImages/2007_test000.jpg"
    Image.new("RGB", (30, 20)).save(path)
    with pytest.raises(ImageError, match=r"2007_test000.jpg: expected objects inside 30 x 20 pixels"):
        task.splits.test.image(0)
