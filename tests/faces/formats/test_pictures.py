import pytest

from unface.errors import ImageError, InputError
from unface.faces.formats import Pictures

IDS = ["a/1.jpg", "b/1.jpg", "b/2.jpg", "x/b/2.jpg", "3.jpg", "3.png", "c/no suffix"]


def read(_):
    raise ImageError("image: expected a file with content, got 0 bytes")


@pytest.mark.parametrize(
    ("name", "base_names", "found"),
    [
        ("a/1.jpg", False, "a/1.jpg"),
        ("/data/photos/a/1.jpg", False, "a/1.jpg"),
        ("a/1", False, "a/1.jpg"),
        ("b/2.jpg", False, "b/2.jpg"),
        ("x/b/2", False, "x/b/2.jpg"),
        ("3.png", False, "3.png"),
        ("no suffix", False, "c/no suffix"),
        ("other/3.png", True, "3.png"),
        ("other/place/2.png", True, None),
        ("4.jpg", True, None),
        ("aa/1.jpg", False, None),
        ("q/a1.jpg", False, None),
    ],
)
def test_a_name_means_one_image(name, base_names, found):
    assert Pictures(IDS, read).find(name, base_names) == found


@pytest.mark.parametrize(
    ("name", "base_names", "both"),
    [
        ("1.jpg", False, "a/1.jpg and b/1.jpg"),
        ("3", False, "3.jpg and 3.png"),
        ("q/1.jpg", True, "a/1.jpg and b/1.jpg"),
    ],
)
def test_a_name_that_means_several_is_an_error_that_names_two(name, base_names, both):
    with pytest.raises(InputError, match=both):
        Pictures(IDS, read).find(name, base_names)


def test_a_header_that_cannot_be_read_is_named():
    with pytest.raises(InputError, match=r"a/1\.jpg: size not known: image: expected a file with content"):
        Pictures(IDS, read).header("a/1.jpg")
