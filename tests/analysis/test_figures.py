import sys
from xml.etree import ElementTree

import pytest
from PIL import Image

from unface.analysis.figures import figure2, save
from unface.analysis.statistics import summarize
from unface.errors import InputError
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.table import FACES_SCHEMA


def classed(classes=8):
    """Class k has k images with faces out of 8: 5, 6, 7 are over a half, and 3 to 7 over a quarter."""
    return faces_table(
        FaceRow(f"c{k}/{n}.jpg", 64, 48, "detected", Faces.make([[0, 0, 9, 9]] * 3 if n < k else []))
        for k in range(classes)
        for n in range(8)
    )


def texts(path):
    return " ".join(ElementTree.parse(path).getroot().itertext())


def test_both_sides_say_what_was_counted(tmp_path):
    svg, png = save(figure2(summarize(classed())), tmp_path, "figure2")
    shown = texts(svg)
    assert "3 classes over 50%" in shown
    assert "5 classes over 25%" in shown
    assert "100.0% of images with faces have fewer than five" in shown
    with Image.open(png) as picture:
        assert picture.size == (1500, 600)


def test_the_line_and_the_columns_are_the_counts():
    left, right = figure2(summarize(classed())).axes
    assert left.patches[0].get_data().values.tolist() == [k / 8 for k in range(7, -1, -1)]
    assert [bar.get_height() for bar in right.patches] == [0, 0, 28, 0, 0, 0, 0, 0, 0, 0]


def test_without_classes_the_left_side_shows_heights(tmp_path):
    figure = figure2(summarize(faces_table([FaceRow("1.jpg", 64, 48, "detected", Faces.make([[0, 0, 9, 20]]))])))
    assert "height of a face" in texts(save(figure, tmp_path, "f")[0])
    assert {bar.get_width() for bar in figure.axes[0].patches} == {20}


def test_nothing_at_all_can_be_drawn(tmp_path):
    save(figure2(summarize(FACES_SCHEMA.empty_table())), tmp_path, "f")


def test_the_same_figure_is_the_same_bytes(tmp_path):
    first = [path.read_bytes() for path in save(figure2(summarize(classed())), tmp_path, "f")]
    assert [path.read_bytes() for path in save(figure2(summarize(classed())), tmp_path, "f")] == first


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"expected matplotlib, found none; run: pip install 'unface\[figures\]'"):
        figure2(summarize(classed()))
