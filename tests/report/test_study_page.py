"""The page of a study: whole, self-contained, honest, and without any face."""

import html.parser
import json
import re

import numpy as np
import pytest

from builders import make_faces, write_image
from studies import MadeUp
from unface.analysis.study.categories import relate
from unface.analysis.study.story import Choices, read_story
from unface.analysis.study.uncertainty import Interval
from unface.report.study import render_study, write_study_report
from unface.report.study_charts import Line, Scale, bin_rows, intervals, scatter

ORIGINAL, BLURRED, REENCODED = "original", "blurred", "reencoded"
CELLS = ((ORIGINAL, ORIGINAL), (BLURRED, BLURRED), (BLURRED, ORIGINAL), (REENCODED, REENCODED))
VOID = {"meta", "link", "img", "input", "br", "rect", "line", "path", "circle"}


class Page(html.parser.HTMLParser):
    """A page's elements and its visible text."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text = [], [], ""
        self.feed(source)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def page_of(folder, **choices):
    return Page(write_study_report(folder, read_story(folder, Choices(**choices))).read_text("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return MadeUp(classes=12, images=15, cells=CELLS).write(tmp_path_factory.mktemp("study"))


def test_the_whole_story_is_told(folder):
    page = page_of(folder)
    story = read_story(folder)
    drop = story.drops[0].of(1)
    assert f"{100 * drop.value:.2f} points of top-1 accuracy lost" in page.text
    assert f"{100 * drop.low:.2f} to {100 * drop.high:.2f} points" in page.text
    for title in ("What was done", "What it costs", "Where it hurts", "What compression explains", "What is not known"):
        assert title in page.text
    assert "Top-1 accuracy is the share of images whose class is the network’s first answer" in page.text
    assert "A control: nothing is hidden" in page.text
    assert "Figure 4 is missing" in page.text
    assert "class011" in page.text
    assert "Blurred faces cost them 0.66 points" in page.text
    for fragment in [a["href"] for tag, a in page.elements if tag == "a"]:
        assert fragment.startswith("#")
        assert fragment[1:] in {a.get("id") for _, a in page.elements}


def test_nothing_is_loaded_and_nothing_runs(folder):
    page = page_of(folder, paper=True)
    source = (folder / "report.html").read_text("utf-8")
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "base", "video", "audio"}
    for _tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "url(" not in source
    assert "@import" not in source
    assert not re.search(r"https?://", source)
    assert "default-src 'none'" in source
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source
    assert not list(folder.glob("*.part"))


def test_the_paper_stands_beside_where_asked(folder):
    assert "what the paper reports for the same networks" not in page_of(folder).text
    page = page_of(folder, paper=True)
    assert "what the paper reports for the same networks" in page.text
    assert "69.77" in page.text  # ResNet18 of Table 3


def test_a_null_study_does_not_claim_a_loss(tmp_path):
    page = page_of(MadeUp(classes=10, images=10, effects={}).write(tmp_path))
    assert "No loss of top-1 accuracy beyond chance" in page.text


def test_nothing_that_changes_at_all_is_told_too(tmp_path):
    study, same = MadeUp(classes=3, images=4, seeds=1), {}
    study.logits = lambda train, eval_, draw=study.logits: same.setdefault("once", draw(ORIGINAL, ORIGINAL))
    page = page_of(study.write(tmp_path))
    assert "No loss of top-1 accuracy beyond chance (drop: 0.00 points)" in page.text
    assert "Most affected" not in page.text
    assert "no correlation can be told" in page.text


def test_swapped_settings_are_told(tmp_path):
    study, swapped = MadeUp(classes=12), {ORIGINAL: BLURRED, BLURRED: ORIGINAL}
    study.logits = lambda train, eval_, draw=study.logits: draw(swapped[train], swapped[eval_])
    page = page_of(study.write(tmp_path))
    assert "points of top-1 accuracy gained" in page.text
    assert "were the settings swapped?" in page.text


def test_what_is_missing_is_told(tmp_path):
    study = MadeUp(classes=4, seeds=1, architectures=("vgg11",))
    page = page_of(study.write(tmp_path, faces=False))
    assert "no faces.parquet" in page.text
    assert "no control" in page.text
    assert "With one seed per network" in page.text
    assert "cannot be told from luck" in page.text


HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "a\nb\u202e", "{{ 7*7 }}{% raw %}", "&lt;b")


def test_hostile_names_are_only_text(tmp_path):
    study = MadeUp(classes=5, names=HOSTILE)
    study.ids = [f"{n}.JPEG" for n in range(len(study.labels))]
    study.write(tmp_path)
    (tmp_path / "study.json").write_text(
        json.dumps(
            {"name": HOSTILE[0], "config": {HOSTILE[1]: HOSTILE[2]}, "settings": {BLURRED: {"preset": HOSTILE[3]}}}
        )
    )
    page = page_of(tmp_path)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "img"})
    assert HOSTILE[0] in page.text
    assert "a\\nb\\u202e" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "&lt;b" in page.text


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"settings": 5, "training": [], "name": {}}',
        '{"settings": {"evaluation": {"blurred": 3}}}',
        "null",
        "\x00",
    ],
)
def test_a_damaged_study_json_is_told_of(folder, content):
    (folder / "study.json").write_text(content)
    try:
        page_of(folder)
    finally:
        (folder / "study.json").unlink()


def example(folder, output, faces, **manifest):
    """An output folder of obfuscate with one image."""
    write_image(folder / "images" / "1.png")
    type(output)(folder).faces([make_faces("1.png")]).manifest({"1.png": faces}, **manifest)


def pictures(folder, story):
    return [a["src"] for tag, a in Page(render_study(folder, story)).elements if tag == "img"]


def test_settings_are_shown_by_hidden_faces_only(folder, output, tmp_path):
    """Shown is what its own record says to be hidden; never an original, a control, or a leak."""
    story = read_story(folder)
    assert pictures(tmp_path, story) == []
    for name in (ORIGINAL, REENCODED):
        example(tmp_path / "examples" / name, output, 2)
    assert pictures(tmp_path, story) == []
    place = tmp_path / "examples" / BLURRED
    for faces, manifest in (
        (0, {}),
        (2, {"min_face_weight": 0.9}),
        (2, {"min_face_weight": None}),
        (2, {"status": "failed"}),
    ):
        example(place, output, faces, **manifest)
        assert pictures(tmp_path, story) == []
    example(place, output, 2)
    (shown,) = pictures(tmp_path, story)
    assert shown.startswith("data:image/jpeg;base64,")


def test_the_folder_that_study_json_names_is_used_and_not_told(folder, output, tmp_path):
    example(tmp_path / "out", output, 2)
    how = {"obfuscation": {"method": "blur", "preset": "safe"}, "jpeg_quality": None, "folder": str(tmp_path / "out")}
    (tmp_path / "study.json").write_text(json.dumps({"settings": {"evaluation": {BLURRED: how}}}))
    source = render_study(tmp_path, read_story(folder))
    assert "data:image/jpeg" in source
    assert "method: blur · preset: safe" in source
    assert str(tmp_path) not in source


@pytest.mark.parametrize(
    "values", [[], [0.0], [0.001], [-3.0, 7.0], [99.9], [1e-9], [-1e6, -5.0], [float("inf"), 1.0], [0.1 + 0.2]]
)
def test_scales_hold_zero_and_every_value(values):
    scale = Scale.holding(values)
    assert scale.low <= 0 <= scale.high
    assert scale.low < scale.high
    assert 1 <= len(scale.ticks) <= 9
    for value in [0.0, *(v for v in values if np.isfinite(v))]:
        assert scale.low <= value <= scale.high
        assert 0 <= scale.at(value) <= 100
    assert all(0 <= place <= 100 for place, _ in scale.labels())


def test_intervals_are_drawn_where_they_are():
    found = intervals([Line("a", "", [("top-1", Interval(0.01, -0.01, 0.03, 0.2), 2.0), ("top-5", None, None)])])
    (mark,) = found.rows[0].marks
    back = [found.scale.low + x / 100 * (found.scale.high - found.scale.low) for x in (mark.low, mark.x, mark.high)]
    np.testing.assert_allclose(back, [-1, 1, 3], atol=0.01)
    assert mark.text == "1.00 (−1.00 to 3.00)"
    assert mark.paper == pytest.approx((mark.x + mark.high) / 2, abs=0.02)


def test_bins_and_dots_are_drawn_where_they_are():
    fractions, drops = np.array([0.0, 0.05, 0.1, np.nan]), np.array([-0.1, 0.1, 0.3, 0.5])
    relation = relate(fractions, drops, (0.0, 0.04, 0.5, 1.0))
    low, middle, none = bin_rows([("top-1", relation)])
    assert (low.classes, middle.classes, none.classes) == (1, 2, 0)
    assert low.columns[0].start + low.columns[0].width == pytest.approx(middle.columns[0].start, abs=0.02)
    assert none.columns[0].text == "–"
    plot = scatter([("top-1", relation)], ["a", "b", "c", "d"])
    dots = [tuple(map(float, dot.split())) for dot in re.findall(r"M([\d.]+ [\d.]+)h0", plot.paths[0][1])]
    assert len(dots) == 3
    assert [x for x, _ in dots] == sorted(x for x, _ in dots)
    assert [y for _, y in dots] == sorted((y for _, y in dots), reverse=True)
    assert [one.name for one in plot.named] == ["c", "b"]
