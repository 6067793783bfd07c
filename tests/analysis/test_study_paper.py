"""The paper's tables as data: they give their own averages and differences, and differ where we know that they do."""

import math
from statistics import fmean

import pytest

from unface.analysis.paper import published
from unface.analysis.study.replication import (
    paper_accuracy,
    paper_category,
    paper_cell,
    paper_drop,
    paper_mean_drop,
    paper_relation,
)

SIDES = ("original", "blurred", "overlaid")


def rows(name):
    return [row for row in published(name) if row.get("architecture") != "average"]


def average(name):
    return next(row for row in published(name) if row["architecture"] == "average")


def mean(name, column):
    return fmean(float(row[column]) for row in rows(name) if row[column])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("top1_original", 70.023),
        ("top1_blurred", 69.368),
        ("top1_overlaid", 69.126),
        ("top1_delta_b", 0.655),
        ("top1_delta_o", 0.897),
        ("top5_original", 89.048),
        ("top5_blurred", 88.630),
        ("top5_overlaid", 88.356),
        ("top5_delta_b", 0.418),
        ("top5_delta_o", 0.692),
    ],
)
def test_table3_averages(column, expected):
    assert mean("table3", column) == pytest.approx(expected, abs=5e-4)
    assert float(average("table3")[column]) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize(("delta", "setting"), [("delta_b", "blurred"), ("delta_o", "overlaid")])
def test_table3_deltas_are_differences(top, delta, setting):
    for row in rows("table3"):
        difference = float(row[f"top{top}_original"]) - float(row[f"top{top}_{setting}"])
        assert float(row[f"top{top}_{delta}"]) == pytest.approx(difference, abs=1.1e-3)


def test_the_abstracts_at_most_one_percent_is_false_for_top1():
    blurred = {row["architecture"]: float(row["top1_delta_b"]) for row in rows("table3")}
    overlaid = {row["architecture"]: float(row["top1_delta_o"]) for row in rows("table3")}
    assert max(blurred.values()) == blurred["mobilenet_v2"] == 1.011
    assert max(overlaid.values()) == overlaid["vgg13"] == 1.175
    assert max(float(row["top5_delta_o"]) for row in rows("table3")) < 1


def test_what_is_printed_differs_from_the_readme_in_14_places():
    readme = {row["architecture"]: row for row in published("table3")}
    different = set()
    for row in published("table3_printed"):
        for column in (name for name in row if name.startswith("top") and row[name]):
            theirs = readme[row["architecture"]][column]
            if theirs and abs(float(theirs) - float(row[column])) > 0.05 + 1e-9:
                different.add((row["architecture"], column))
    assert len(different) == 14
    assert {("resnet152", "top5_delta_b"), ("resnet152", "top1_overlaid_sem")} <= different


def test_the_printed_resnet152_delta_is_not_its_columns_difference():
    off = []
    for row in rows("table3_printed"):
        for top, delta, setting in [(t, d, s) for t in (1, 5) for d, s in (("b", "blurred"), ("o", "overlaid"))]:
            difference = float(row[f"top{top}_original"]) - float(row[f"top{top}_{setting}"])
            if abs(difference - float(row[f"top{top}_delta_{delta}"])) > 0.1 + 1e-9:
                off.append((row["architecture"], top, delta))
    assert off == [("resnet152", 5, "b")]


@pytest.mark.parametrize("quantity", ["top1", "top5", "ap"])
def test_table4_deltas_are_differences(quantity):
    for name, tolerance in (("table4", 1.1e-3), ("table4_printed", 0.1 + 1e-9)):
        for row in published(name):
            difference = float(row[f"{quantity}_original"]) - float(row[f"{quantity}_blurred"])
            assert float(row[f"{quantity}_delta"]) == pytest.approx(difference, abs=tolerance)


def test_table4_printed_differs_from_the_readme_in_five_last_digits():
    readme = {row["wnid"]: row for row in published("table4")}
    different = {
        (row["category"], column)
        for row in published("table4_printed")
        for column in row
        if column[:2] in ("to", "ap") and abs(float(row[column]) - float(readme[row["wnid"]][column])) > 0.05 + 1e-9
    }
    assert different == {
        ("eskimo dog", "top5_blurred"),
        ("eskimo dog", "top5_delta"),
        ("siberian husky", "top5_delta"),
        ("projectile", "top1_delta"),
        ("missile", "top1_delta"),
    }


def test_table7_averages_and_drops():
    printed = average("table7")
    assert len(rows("table7")) == 24
    for column, expected in (("original", 90.696), ("blue", 89.196), ("blurred", 89.950), ("delta_b", 0.746)):
        assert mean("table7", column) == pytest.approx(expected, abs=6e-4)
        assert abs(expected - float(printed[column])) <= 0.0501
    for row in rows("table7"):
        assert abs(float(row["original"]) - float(row["blurred"]) - float(row["delta_b"])) <= 0.1 + 1e-9


def test_table7_lost_decimals_can_make_the_printed_means():
    lost = {"red": 2, "green": 4, "mean": 2}
    wholes = {"red": 87 + 89, "green": 77 + 88 + 89 + 89, "mean": 93 + 93}
    for column, number in lost.items():
        known = [float(row[column]) for row in rows("table7") if row[column]]
        assert len(known) == 24 - number
        least, most = ((sum(known) + wholes[column] + number * d) / 24 for d in (0, 0.9))
        assert least - 0.05 <= float(average("table7")[column]) <= most + 0.05


def test_table8_averages_and_the_column_of_table3():
    expected = dict(top1_original_train=70.04, top1_blurred_train=69.10, top1_delta=0.94)
    expected |= dict(top5_original_train=89.05, top5_blurred_train=88.39, top5_delta=0.68)
    for column, value in expected.items():
        assert mean("table8", column) == pytest.approx(value, abs=6e-3)
    printed = {row["architecture"]: row for row in published("table3_printed")}
    for row in rows("table8"):
        for top in (1, 5):
            assert row[f"top{top}_original_train"] == printed[row["architecture"]][f"top{top}_original"]


@pytest.mark.parametrize("top", [1, 5])
def test_the_stated_p_is_that_of_the_stated_correlation(top):
    from scipy import stats

    r, p = paper_relation(3, top, "r"), paper_relation(3, top, "p")
    t = r * math.sqrt(998 / (1 - r**2))
    below, above = (2 * stats.t.sf(abs(x) * math.sqrt(998 / (1 - x**2)), 998) for x in (r + 0.005, r - 0.005))
    assert t > 0
    assert below < p < above


def test_every_row_says_where_it_stands():
    for name in (
        "table3",
        "table3_printed",
        "table4",
        "table4_printed",
        "table7",
        "table8",
        "correlations",
        "categories",
    ):
        assert all(row["source"] for row in published(name))


def test_lookups():
    assert paper_accuracy("trained", "blurred", 1, "alexnet") == 55.834
    assert paper_accuracy("transferred", "blurred", 5, "alexnet") == 78.0
    assert paper_accuracy("transferred", "original", 5, "alexnet") == 78.8
    assert paper_accuracy("pretrained", "original", 5, "mobilenet_v2") == 90.3
    assert paper_accuracy("pretrained", "original", 1, "mobilenet_v2") is None
    assert paper_accuracy("pretrained", "red", 5, "vgg11") is None
    assert paper_accuracy("shifted", "blurred", 1, "alexnet") is None
    assert paper_accuracy("trained", "blurred", 1, "my_net") is None
    assert paper_drop("trained", "overlaid", 5, "vgg13") == 0.788
    assert paper_drop("pretrained", "red", 5, "alexnet") == pytest.approx(2.4)
    architectures = [row["architecture"] for row in rows("table3")]
    assert paper_mean_drop("trained", "blurred", 1, architectures) == pytest.approx(0.655, abs=5e-4)
    assert paper_mean_drop("trained", "blurred", 1, [*architectures, "my_net"]) is None
    assert paper_category("n02109961", "ap_delta") == -0.529
    assert paper_category("n00000000", "ap_delta") is None
    assert paper_category("n03494278", "top5_drop") == 8.93
    assert paper_relation(4, 1, "p") is None


def test_cells_of_the_matrix():
    assert paper_cell("original", "original", 1, "alexnet") == 56.043
    assert paper_cell("overlaid", "overlaid", 5, "alexnet") == 78.172
    assert paper_cell("blurred", "original", 1, "alexnet") == 55.3
    assert paper_cell("pretrained", "blue", 5, "alexnet") == 76.7
    for train, eval_ in (("original", "blurred"), ("overlaid", "original"), ("pretrained", "overlaid")):
        assert paper_cell(train, eval_, 5, "alexnet") is None
