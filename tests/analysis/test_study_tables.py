"""The study's tables: their numbers recomputed with pandas from the files, and what they look like in every format."""

import csv
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from studies import MadeUp
from unface.analysis.study.figures import figure_of_relation, figures_of
from unface.analysis.study.formats import Points, condensed, latex, markdown, shown
from unface.analysis.study.output import write_tables
from unface.analysis.study.story import Choices, read_story
from unface.analysis.study.tables import accuracies, headline, tables_of
from unface.analysis.tables import Share, Table
from unface.cli import main
from unface.errors import InputError

ORIGINAL, BLURRED, REENCODED = "original", "blurred", "reencoded"
WNIDS = tuple(f"n{10000000 + k:08d}" for k in range(1000))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    cells = [(ORIGINAL, ORIGINAL), (BLURRED, BLURRED), (BLURRED, ORIGINAL), (REENCODED, REENCODED)]
    cells += [("pretrained", ORIGINAL), ("pretrained", "red"), ("pretrained", BLURRED)]
    study = MadeUp(classes=12, images=15, cells=tuple(cells), effects={BLURRED: 12.0, "red": 16.0})
    return study.write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def story(folder):
    return read_story(folder, Choices(paper=True))


@pytest.fixture(scope="module")
def frame(folder):
    """Every run's accuracy, by pandas alone."""
    rows = []
    for path in sorted((folder / "predictions").iterdir()):
        one = pd.read_parquet(path)
        said = json.loads(pq.read_schema(path).metadata[b"unface.predictions"])
        top5 = np.stack(one.top5.to_list())
        logits = np.stack(one.logits.to_list())
        assert (logits.argmax(axis=1) == top5[:, 0]).mean() > 0.99
        right = top5 == one.label.to_numpy()[:, None]
        key = (said["architecture"], said["train"], said["eval"], said["seed"])
        rows.append([*key, 100 * right[:, 0].mean(), 100 * right.any(axis=1).mean()])
    return pd.DataFrame(rows, columns=["architecture", "train", "eval", "seed", "top1", "top5"])


def named(table):
    """The rows by their first cell, as dicts of the header's names."""
    return {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize(("kind", "other"), [("trained", (BLURRED, BLURRED)), ("transferred", (BLURRED, ORIGINAL))])
def test_tables_3_and_8_are_pandas(story, frame, kind, other, top):
    rows = named(accuracies(story, kind, top))
    cells = frame.groupby(["train", "eval", "architecture"])[f"top{top}"]
    for setting, sides in ((ORIGINAL, (ORIGINAL, ORIGINAL)), (BLURRED, other)):
        for architecture in ("resnet18", "vgg11"):
            values = cells.get_group((*sides, architecture))
            assert rows[architecture][setting] == pytest.approx(values.mean())
            assert rows[architecture][f"{setting} SEM"] == pytest.approx(values.sem())
        mean = np.mean([rows[name][setting] for name in ("resnet18", "vgg11")])
        assert rows["average"][setting] == pytest.approx(mean)
    for name, row in rows.items():
        assert row["blurred drop"] == pytest.approx(row[ORIGINAL] - row[BLURRED]), name
        assert row["blurred drop from"] < row["blurred drop"] < row["blurred drop to"]


def test_table_7_has_every_variant(story, frame):
    rows = named(accuracies(story, "pretrained", 5))
    chosen = frame[(frame.train == "pretrained") & (frame.architecture == "vgg11")].set_index("eval").top5
    assert {name: rows["vgg11"][name] for name in (ORIGINAL, "red", BLURRED)} == pytest.approx(chosen.to_dict())
    assert rows["vgg11"]["original paper"] == 88.6
    assert rows["vgg11"]["red paper"] is None  # its decimal is lost
    assert rows["resnet18"]["red drop paper"] == pytest.approx(1.6)
    assert rows["average"]["red paper"] is None


def test_the_papers_numbers_stand_beside_ours(story):
    rows = named(accuracies(story, "trained", 1))
    row = rows["resnet18"]
    assert row["blurred paper"] == 69.012
    assert row["blurred minus paper"] == pytest.approx(row[BLURRED] - 69.012)
    assert row["blurred drop minus paper"] == pytest.approx(row["blurred drop"] - 0.755)
    assert rows["average"]["blurred drop paper"] == pytest.approx((0.755 + 0.695) / 2)
    assert "reencoded paper" not in named(next(t for t in tables_of(story) if t.name == "table3_top1"))["resnet18"]


def test_the_matrix_has_every_cell_and_the_papers(story, frame):
    tables = {table.name: table for table in tables_of(story)}
    rows = {tuple(row[:3]): dict(zip(tables["matrix"].header, row, strict=True)) for row in tables["matrix"].rows}
    assert len(rows) == 14
    for key, values in frame.groupby(["architecture", "train", "eval"]).top5:
        assert rows[key]["top-5"] == pytest.approx(values.mean())
    assert rows["vgg11", "blurred", "original"]["top-1 paper"] == 67.9
    means = named(tables["matrix_top5"])
    expected = frame[(frame.train == "pretrained") & (frame["eval"] == "red")].top5.mean()
    assert means["pretrained"]["red"] == pytest.approx(expected)
    assert means["blurred"]["blurred paper"] == pytest.approx((88.738 + 88.283) / 2)
    assert means["original"]["blurred"] is None


def test_ddof_2_is_the_papers(folder, story):
    ours = named(accuracies(story, "trained", 1))
    theirs = named(accuracies(read_story(folder, Choices(ddof=2)), "trained", 1))
    ratio = theirs["vgg11"]["original SEM"] / ours["vgg11"]["original SEM"]
    assert ratio == pytest.approx(np.sqrt(2))


def test_the_paper_is_beside_only_where_the_classes_are_ilsvrcs(folder, tmp_path):
    assert not read_story(folder).paper
    study = MadeUp(classes=1000, images=1, seeds=1, architectures=("vgg11",), names=WNIDS)
    assert read_story(study.write(tmp_path)).paper


def test_every_table_in_every_format(story, tmp_path):
    names = {path.name for path in write_tables(story, tmp_path)}
    tables = tables_of(story)
    assert names == {f"{table.name}.{suffix}" for table in tables for suffix in ("csv", "md", "tex")}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {"headline", "table3_top1", "table7_top5", "table8_top5", "matrix", "recompression"} <= {
        table.name for table in tables
    }
    for table in tables:
        rows = list(csv.reader((tmp_path / f"{table.name}.csv").read_text("utf-8").splitlines()))
        assert rows[0] == list(table.header)
        assert len(rows) == len(table.rows) + 1
        assert len({*rows[0]}) == len(rows[0])
        assert {len(row) for row in rows} == {len(table.header)}
        short = condensed(table)
        lines = (tmp_path / f"{table.name}.md").read_text("utf-8").splitlines()
        assert {line.count("|") - line.count("\\|") for line in lines[2:]} == {len(short.header) + 1}
        body = (tmp_path / f"{table.name}.tex").read_text("utf-8")
        assert body.count(r"\\") == len(table.rows) + 1


@pytest.mark.parametrize("text", ["a|b", "50 % & more_{x}^2~\\#$", "<b>*x*</b>", "`[x]`"])
def test_texts_are_escaped(text):
    table = Table("t", text, [text, "n"], [[text, Points(1)]])
    for line in latex(table).splitlines():
        if " & 1.00" in line:
            cell = line.removesuffix(r" & 1.00 \\")
            plain = (
                cell.replace(r"\textbackslash{}", "")
                .replace(r"\textasciitilde{}", "")
                .replace("\\textasciicircum{}", "")
            )
            assert not [c for i, c in enumerate(plain) if c in "&%$#_{}" and plain[i - 1 : i] != "\\"]
    cell = markdown(table).splitlines()[-1].removesuffix(" | 1.00 |").removeprefix("| ")
    assert not [c for i, c in enumerate(cell) if c in "|<>*`[]" and cell[i - 1 : i] != "\\"]


def test_numbers_as_people_read_them():
    cells = [Points(-0.001), 0.0, 12345, Share(0.0004), Share(-0.5), Share(0.0), float("nan"), Points(np.inf), "a\nb"]
    assert [shown(cell) for cell in cells] == [
        "0.00",
        "0.00",
        "12,345",
        "0.04 %",
        "−50.0 %",
        "0.0 %",
        "–",
        "∞",
        "a\\nb",
    ]


def test_figures_show_the_numbers(story, tmp_path):
    (first, *_) = story.settings
    left, right = figure_of_relation(first, 3, first.blurred).axes
    drops = [one.drop for one in first.blurred[0].bins]
    bars = [bar.get_height() for bar in left.patches[: len(drops)]]
    np.testing.assert_allclose(bars, [np.nan if drop is None else 100 * drop for drop in drops])
    points = right.lines[0]
    np.testing.assert_allclose(points.get_xdata(), 100 * first.blurred[0].fractions)
    assert {"figure3_blurred", "figure3_red", "drops_blurred_trained"} <= set(figures_of(story))


@pytest.fixture
def unface(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unface", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out = capsys.readouterr()
        return end.value.code or 0, out.out, out.err

    return run


def test_the_command_writes_tables_and_figures(unface, folder):
    code, out, err = unface("study", "tables", folder)
    assert code == 0
    assert "trained and evaluated on blurred" in out
    assert "Figure 4 is missing" in err
    picture = folder / "figures" / "figure3_blurred.svg"
    assert "r = " in " ".join(ElementTree.parse(picture).getroot().itertext())
    with Image.open(picture.with_suffix(".png")) as png:
        assert png.size[0] == 1500
    code, out, _ = unface("study", "tables", folder, "--json", "--no-paper", "--sem-ddof", 2)
    record = json.loads(out)
    assert record["headline"][0]["comparison"] == "blurred_trained"
    assert record["headline"][0]["top1"]["low"] > 0
    assert len(record["written"]) == len({*record["written"]}) > 20
    assert all(Path(name).is_file() for name in record["written"])


def test_headline_is_first_and_has_every_comparison(story):
    table = tables_of(story)[0]
    assert [row[0] for row in table.rows] == [drop.comparison.title for drop in story.drops]
    assert table.rows[0][0] == "trained and evaluated on blurred"
    assert list(headline(story).rows[0][:4]) == ["trained and evaluated on blurred", 2, 3, 180]


@pytest.mark.parametrize("command", ["tables", "report"])
def test_what_is_no_study_gets_one_line(unface, tmp_path, command):
    for path, message in ((tmp_path / "none", "found no folder"), (tmp_path, "found none")):
        code, out, err = unface("study", command, path)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
    MadeUp(classes=3, cells=((BLURRED, BLURRED),)).write(tmp_path / "one")
    code, _, err = unface("study", command, tmp_path / "one")
    assert code == 2
    assert "with the setting 'original' and another, got blurred-blurred" in err


def test_a_file_without_its_end_gets_one_line(unface, tmp_path):
    folder = MadeUp(classes=3).write(tmp_path / "study")
    path = next((folder / "predictions").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    code, _, err = unface("study", "tables", folder)
    assert code == 2
    assert str(path) in err
    assert not (folder / "tables").exists()


def test_without_the_extra_one_line_says_what_to_install(unface, folder, monkeypatch):
    monkeypatch.setattr("unface.analysis.study.story.find_spec", lambda name: None)
    code, _, err = unface("study", "report", folder)
    assert code == 2
    assert "expected scipy and sklearn, found none; run: pip install 'unface[study]'" in err


def test_without_matplotlib_one_line_says_what_to_install(story, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"run: pip install 'unface\[figures\]'"):
        figures_of(story)
