import html.parser
import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders import make_faces
from unface.errors import InputError
from unface.faces import FACES_SCHEMA
from unface.report import write_report

VOID = {"meta", "link", "img", "input", "br", "rect", "line", "path"}
HOSTILE = [
    "<script>alert(1)</script>.png",
    "\"'><img src=x onerror=alert(1)>.png",
    "a\nb\tc\x1b[31m.png",
    "pay\u202egpj.exe\u2066.png",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "]]>--><!--",
    "&lt;b&gt;",
    "n" * 300 + ".png",
    "https://example.org/x.png",
    "../../outside.png",
    "/etc/passwd",
    "with\0nul.png",
    "אבג.png",
]


class Page(html.parser.HTMLParser):
    """A page's elements, its visible text, and its tables as lists of rows of cell texts."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text, self.tables, self.style = [], [], "", [], ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, heading: str) -> list[list[str]]:
        """The rows below the first table whose head holds the text."""
        return next(rows[1:] for rows in self.tables if heading in rows[0])

    def key_numbers(self) -> dict[str, str]:
        return dict(
            re.findall(
                r"(Images|With faces|Faces|Published|Not published|Time|Images per second)\n?([\d,.–]+)", self.text
            )
        )


def read_page(output, gallery: int = 60) -> Page:
    path = write_report(output.path, gallery)
    assert path == output.path / "report.html"
    assert not list(output.path.glob("*.part"))
    page = Page(path.read_text("utf-8"))
    assert_inert(page)
    return page


def assert_inert(page: Page) -> None:
    """Nothing on the page runs, and nothing is loaded from anywhere."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "video",
        "audio",
        "use",
        "image",
        "a:href",
    }
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("src", "href", "srcset", "action", "xlink:href", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")) or value == "data:,", (
                tag,
                value,
            )
        assert set(attributes.get("style", "")) <= set("-ratio:0123456789.")
    assert "url(" not in page.style
    assert "@import" not in page.style
    policies = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policies == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_key_numbers_are_those_of_the_tables(whole):
    page = read_page(whole)
    faces = pd.read_parquet(whole.path / "faces.parquet")
    counts = faces["boxes"].map(len)
    numbers = page.key_numbers()
    assert numbers["Images"] == str(len(faces))
    assert numbers["With faces"] == str((counts > 0).sum())
    assert numbers["Faces"] == str(counts.sum())
    assert (numbers["Published"], numbers["Not published"]) == ("9", "1")
    assert (numbers["Time"], numbers["Images per second"]) == ("5.0", "2.00")


def test_what_an_earlier_run_did_is_in_no_rate(output):
    stages = {"detect": {"images": 10, "resumed": 4, "failures": {}, "seconds": 2.0, "images_per_second": 3.0}}
    numbers = read_page(output.run(stages=stages)).key_numbers()
    assert (numbers["Time"], numbers["Images per second"]) == ("2.0", "–")


def test_histograms_are_those_of_the_tables(whole):
    page = read_page(whole)
    faces = pd.read_parquet(whole.path / "faces.parquet")
    counts = faces.loc[faces["status"] != "failed", "boxes"].map(len).value_counts()
    shown = {row[0]: int(row[1]) for row in page.table("Faces")}
    assert {int(label): n for label, n in shown.items() if n} == counts.to_dict()
    boxes = pd.DataFrame(box for row in faces["boxes"] for box in row)
    heights = pd.cut(boxes["y1"] - boxes["y0"], [0, 16, 32, 96, 256, np.inf], right=False).value_counts(sort=False)
    assert [int(row[1]) for row in page.table("Height, px")] == heights.tolist()
    candidates = pd.DataFrame(box for row in faces["candidates"] if row is not None for box in row)
    edges = np.arange(21) / 20
    assert [int(row[1]) for row in page.table("Candidates")] == np.histogram(boxes["score"], edges)[0].tolist()
    assert [int(row[2]) for row in page.table("Candidates")] == np.histogram(candidates["score"], edges)[0].tolist()


def test_classes_are_those_of_the_tables(whole):
    faces = pd.read_parquet(whole.path / "faces.parquet")
    faces["class"], faces["faces"] = faces["image_id"].str.split("/").str[0], faces["boxes"].map(len)
    expected = faces.groupby("class")["faces"].agg(["size", lambda n: (n > 0).sum(), "sum"])
    expected = expected.assign(share=expected.iloc[:, 1] / expected["size"]).sort_values("share", ascending=False)
    shown = read_page(whole).table("Class")
    assert {row[0]: [int(n) for n in row[1:4]] for row in shown} == {
        name: [int(n) for n in values[:3]] for name, values in zip(expected.index, expected.to_numpy(), strict=True)
    }
    assert [row[4] for row in shown] == [
        "100 %" if share == 1 else f"{100 * share:.1f} %" for share in expected["share"]
    ]


def test_every_section_tells(whole):
    page = read_page(whole)
    for words in (
        "Face obfuscation of my photos",
        "2025-03-04 10:00 UTC",
        "Verify looked at 9 published images, all of them with a second detector pass, and found no definite fault; "
        "2 weaker signs are listed to look at, no published image was left unchecked and 1 limit of the checks is "
        "named below.",
        "Files are whole.",
        "Bodies.",
        "median 2.0%",
        "threshold 0.5",
        "truncated: expected 90 bytes, got 12",
        "unface run 'my photos' out",
        "2 files that are no images (2 .txt)",
        "8f" * 32,
        "9 of 9 published images",
        "What this does not tell",
        "1.2 MB",
    ):
        assert words in " ".join(page.text.split()), words
    assert "anonym" not in page.text.lower()
    assert [row[3:5] for row in page.table("Written as")] == [["6", "66.7 %"], ["3", "33.3 %"]]


def test_same_folder_same_page(whole):
    first = write_report(whole.path).read_bytes()
    assert write_report(whole.path).read_bytes() == first


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped_and_inert(output, name):
    ids = [name, f"folder/{name}"]
    output.faces([make_faces(image_id) for image_id in ids], **{"detector": name})
    output.manifest(dict.fromkeys(ids, 1), mode=name, method=name, preset=name, min_face_weight=0.5)
    place = {"x0": 1, "y0": 1, "x1": 9, "y1": 9, "score": 0.5, "coverage": None}
    found = {"definite": False, "message": name, **place}
    output.verify({ids[0]: [{"check": name, **found}], ids[1]: [{"check": name, **found, "definite": True}]})
    output.table("failures", [dict.fromkeys(("image_id", "stage", "error_class", "message"), name)])
    output.run(
        unface_version=name,
        command=["unface", name],
        source=name,
        config={name: name, "nested": {name: [name]}},
        started=name,
        dataset={"other_files": 1, "other_suffixes": {name: 1}},
        stages={name: {"images": name, "failures": {name: name}, "seconds": 1}},
        verdict={"passed": False, "checked": [name, None], "not_checked": [name]},
        models=[{"name": name, "sha256": name, "licence": name}, name],
        versions={name: name},
    )
    page = read_page(output)
    plain = read_page(whole_of_the_same_shape(output))
    assert Counter(tag for tag, _ in page.elements) == Counter(tag for tag, _ in plain.elements)
    assert all(character.isprintable() or character == "\n" for character in page.text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    assert (shown if len(shown) < 160 else "n" * 70) in page.text


def whole_of_the_same_shape(output):
    """The same folder with each hostile text made harmless."""
    faces = pq.read_table(output.path / "faces.parquet")
    ids = faces["image_id"].to_pylist()
    plain = re.sub("[^/]+", "plain", ids[0])
    harmless = {ids[0]: plain, ids[1]: f"folder/{plain}"}

    def clean(value):
        if isinstance(value, dict):
            return {clean(k): clean(v) for k, v in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return harmless.get(value, value) if isinstance(value, str) else value

    for name in ("faces", "manifest", "verify", "failures"):
        path = output.path / f"{name}.parquet"
        table = pq.read_table(path)
        pq.write_table(pa.Table.from_pylist(clean(table.to_pylist()), schema=table.schema), path)
    run = output.path / "run.json"
    run.write_text(json.dumps(clean(json.loads(run.read_text()))))
    return output


@pytest.mark.parametrize("missing", ["faces", "manifest", "failures", "verify", "run"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_missing_or_damaged_file_leaves_the_rest(whole, missing, damaged):
    path = next(whole.path.glob(f"{missing}.*"))
    path.unlink()
    if damaged:
        path.write_bytes(b"PAR1 damaged")
    page = read_page(whole)
    assert (f"{path.name} could not be read" in page.text) == damaged
    state = next(a["class"] for tag, a in page.elements if a.get("class", "").startswith("verdict"))
    assert state == ("verdict unchecked" if missing == "verify" else "verdict passed")
    assert page.key_numbers()["Images"] == ("9" if missing == "faces" else "10")


def test_an_empty_folder(output):
    page = read_page(output)
    assert "Nothing was verified" in page.text
    assert page.key_numbers()["Images"] == "–"


def test_no_images(output):
    output.faces([]).run(stages={})
    pq.write_table(pa.table({"image_id": pa.array([], pa.string())}), output.path / "manifest.parquet")
    output.verify({})
    page = read_page(output)
    assert "No image was published" in page.text
    assert page.key_numbers()["Images"] == "0"


def test_no_faces(output):
    ids = {f"{i}.png": 0 for i in range(3)}
    output.faces([make_faces(image_id, []) for image_id in ids]).images(*ids).manifest(ids).verify(
        {image_id: [] for image_id in ids}, residual_weight=None
    )
    page = read_page(output)
    assert page.key_numbers()["Faces"] == "0"
    assert sum(tag == "img" for tag, _ in page.elements) == 3
    assert "No face found" in page.text


def test_failures_only(output):
    names = [f"{i}.jpg" for i in range(130)]
    output.faces([make_faces(name, [], status="failed") for name in names])
    row = {"stage": "detect", "error_class": "ImageError", "message": "no image"}
    output.table("failures", [{"image_id": name, **row} for name in names])
    page = read_page(output)
    assert page.key_numbers()["Not published"] == "130"
    assert page.table("Error") == [["detect", "ImageError", "130"]]
    assert len(page.table("Message")) == 100
    assert "The first 100 of 130" in page.text


def test_run_json_of_other_types(output):
    output.run(
        command="x",
        config=[],
        stages=[1],
        dataset=3,
        verdict="no",
        models={"a": 1},
        versions=None,
        source=["s"],
        started=5,
    )
    read_page(output)
    (output.path / "run.json").write_text('{"stages": {"detect": {"seconds": NaN, "images": -1, "failures": 7}}}')
    read_page(output)
    (output.path / "run.json").write_text("[" * 100_000)
    assert "run.json could not be read" in read_page(output).text


def test_hundred_thousand_rows(output):
    rng = np.random.default_rng(0)
    count = 100_000
    per_image = rng.poisson(0.4, count)
    offsets = pa.array(np.concatenate([[0], np.cumsum(per_image)]), pa.int32())
    total = int(per_image.sum())
    low, side = rng.uniform(0, 300, (total, 2)), rng.uniform(4, 200, (total, 2))
    sides = np.concatenate([low, low + side], axis=1).astype(np.float32).T
    struct = pa.StructArray.from_arrays(
        [*map(pa.array, sides), pa.array(rng.random(total, np.float32)), *[pa.array(["face"] * total)] * 2],
        fields=list(FACES_SCHEMA.field("boxes").type.value_type),
    )
    ids = [f"n{i % 1000:08d}/{i}.jpg" for i in range(count)]
    boxes = pa.ListArray.from_arrays(offsets, struct)
    same = {"width": pa.array([500] * count, pa.int32()), "height": pa.array([375] * count, pa.int32())}
    columns = {"image_id": ids, **same, "status": ["detected"] * count, "boxes": boxes, "candidates": boxes}
    pq.write_table(pa.table(columns), output.path / "faces.parquet")
    output.manifest(dict(zip(ids, per_image.tolist(), strict=True)))
    page = read_page(output)
    assert page.key_numbers()["Faces"] == f"{total:,}"
    assert len(page.table("Class")) == 15
    assert "900 classes with smaller shares are not listed" in page.text
    assert "60 of 100,000 published images" in page.text


def test_not_a_folder(tmp_path):
    with pytest.raises(InputError, match="expected an output folder"):
        write_report(tmp_path / "none")
    with pytest.raises(InputError, match="0 or more"):
        write_report(tmp_path, -1)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_aa_in_light_dark_and_print(output):
    style = read_page(output).style
    palettes = [
        dict(re.findall(r"--(\w+): (#\w{6})\b", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(palettes) == 3
    for palette in palettes:
        for name, least in {**dict.fromkeys(("soft", "good", "bad", "open"), 4.5), "ink": 3, "pale": 3}.items():
            low, high = sorted((luminance(palette[name]), luminance(palette.get("page", "#ffffff"))))
            assert (high + 0.05) / (low + 0.05) >= least, (name, palette[name])
