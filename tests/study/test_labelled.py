import json

import numpy as np
import pytest
import webdataset
from torchvision.datasets import ImageFolder

from builders import encode_image, make_faces, make_image
from study_sets import make_photos
from unface.errors import InputError
from unface.faces import faces_table, write_faces
from unface.study.labelled import open_images, read_classes


@pytest.fixture
def photos(tmp_path):
    make_photos(tmp_path)
    return tmp_path


def test_classes_are_those_of_torchvision(photos):
    ours, theirs = open_images(photos / "images"), ImageFolder(photos / "images")
    assert list(ours.classes) == theirs.classes
    assert [str(photos / "images" / name) for name in ours.image_ids.to_pylist()] == [
        path for path, _ in theirs.samples
    ]
    np.testing.assert_array_equal(ours.labels, theirs.targets)
    assert not ours.has_rows


def test_faces_come_with_their_images(photos):
    images = open_images(photos / "images", photos / "faces.parquet")
    np.testing.assert_array_equal(images.face_counts, [0, 1, 1] * 3)
    np.testing.assert_array_equal(images.row(4).faces.boxes_xyxy, [[10, 8, 40, 40]])
    assert (images.row(4).image_id, images.row(4).width, images.row(4).height) == ("b/1.jpg", 64, 48)
    some = images.only(np.arange(9) % 2 == 1)
    assert some.image_ids.to_pylist() == ["a/1.jpg", "b/0.jpg", "b/2.jpg", "c/1.jpg"]
    np.testing.assert_array_equal(some.face_counts, [1, 0, 1, 1])
    assert some.left_out == 5
    assert set(some.keys) < set(images.keys)
    assert some.digest() != images.digest()


def test_images_without_a_sound_row_are_left_out(photos):
    rows = [
        make_faces("a/1.jpg"),
        make_faces("b/1.jpg", status="failed"),
        make_faces("c/0.jpg", []),
        make_faces("z.jpg"),
    ]
    write_faces(photos / "faces.parquet", faces_table(rows))
    images = open_images(photos / "images", photos / "faces.parquet")
    assert images.image_ids.to_pylist() == ["a/1.jpg", "c/0.jpg"]
    np.testing.assert_array_equal(images.labels, [0, 2])
    assert images.left_out == 7


@pytest.mark.parametrize(
    ("header", "values", "classes", "wanted"),
    [
        ("file,class_index", ["2", "0"], None, ("0", "1", "2")),
        ("image_id,class", ["dog", "cat"], None, ("cat", "dog")),
        ("file,wnid", ["n2", "n1"], ["n1", "n2", "n3"], ("n1", "n2", "n3")),
        ("file,class_index", ["1", "0"], ["x", "y"], ("x", "y")),
        ("file,class", ["7", "5"], ["5", "7"], ("5", "7")),  # names that are numbers
    ],
)
def test_labels_from_a_table(tmp_path, header, values, classes, wanted):
    folder = tmp_path / "flat"
    folder.mkdir()
    lines = [header]
    for place, value in enumerate(values):
        (folder / f"{place}.png").write_bytes(encode_image(make_image(), ".png"))
        lines.append(f"{place}.png,{value}")
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "elsewhere.png,0"]))
    images = open_images(folder, labels_path=tmp_path / "labels.csv", classes=classes)
    assert images.classes == wanted
    assert [images.classes[i] for i in images.labels] == [v if v in wanted else wanted[int(v)] for v in values]


def test_labels_in_webdataset_archives(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "shard-000.tar")) as sink:
        for place in range(4):
            sink.write({"__key__": f"a.dir/k{place}", "jpg": encode_image(make_image(seed=place)), "cls": place % 3})
    images = open_images(tmp_path, classes=["x", "y", "z", "never"])
    np.testing.assert_array_equal(images.labels, [0, 1, 2, 0])
    assert images.image_ids[0].as_py() == "shard-000.tar/a.dir/k0.jpg"
    assert len(images.dataset.read(images.image_ids[3].as_py()))


def test_class_names_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("n01440764 tench, Tinca\nn01443537 goldfish\n")
    (tmp_path / "names.json").write_text(json.dumps(["n01440764", "n01443537"]))
    assert read_classes(tmp_path / "names.txt") == read_classes(tmp_path / "names.json") == ("n01440764", "n01443537")
    for bad in ("", "a\na\n", "[1]", "[", '["a", "a"]'):
        (tmp_path / "bad").write_text(bad)
        with pytest.raises(InputError, match="bad: expected"):
            read_classes(tmp_path / "bad")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": ["a", "b"]}, r"c/0.jpg: class: expected one of 2 classes, got c"),
        ({"labels": "file,colour\n"}, "expected the columns image_id or file, and class_index or class or wnid"),
        ({"labels": "file,class\na/0.jpg,x\n"}, "got none for a/1.jpg"),
        ({"labels": "file,class\n" + "".join(f"{c}/{i}.jpg,-1\n" for c in "abc" for i in range(3))}, None),
        ({"labels": "\x00"}, "expected"),
    ],
)
def test_bad_classes_are_named(photos, options, said):
    if "labels" in options:
        (photos / "labels.csv").write_text(options.pop("labels"))
        options["labels_path"] = photos / "labels.csv"
    if said is None:  # any text is a name
        assert open_images(photos / "images", **options).classes == ("-1",)
        return
    with pytest.raises(InputError, match=said):
        open_images(photos / "images", **options)


def test_what_has_no_classes(tmp_path):
    (tmp_path / "flat.png").write_bytes(encode_image(make_image(), ".png"))
    with pytest.raises(InputError, match=r"expected folders of images, one a class, or labels; got flat\.png"):
        open_images(tmp_path)
    (tmp_path / "flat.png").unlink()
    with pytest.raises(InputError, match="expected images, found none"):
        open_images(tmp_path)
