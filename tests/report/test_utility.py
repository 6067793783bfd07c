"""What hiding costs, out of tables and out of studies with known accuracies."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from studies import MadeUp
from unface.errors import InputError
from unface.obfuscate.methods import Obfuscation
from unface.predictions import PRETRAINED
from unface.report.utility import read_utility

TREATMENTS = {
    "as published": Obfuscation(),
    "none": Obfuscation("none"),
    "overlay": Obfuscation("overlay"),
    "blur safe": Obfuscation(),
    "mosaic 16": Obfuscation("mosaic", cells=16),
}


def written(folder, cells):
    """A made-up study, in whose record the settings are defined as `unface study run` does it."""
    settings = pytest.importorskip("unface.study.settings", reason="extra study")
    made = MadeUp(classes=6, images=10, seeds=2, cells=cells, everywhere={"blurred": 1.0, "overlaid": 4.0})
    made.write(folder)
    names = ("original", "blurred", "overlaid", "reencoded")
    record = {"settings": {"evaluation": {name: settings.SETTINGS[name].definition() for name in names}}}
    (folder / "study.json").write_text(json.dumps(record))


def top1(folder, pattern):
    """In percent, from the columns of the files themselves."""
    tables = [pq.read_table(path) for path in sorted((folder / "predictions").glob(pattern))]
    assert tables
    right = [[top[0] == label for top, label in zip(*t.select(["top5", "label"]), strict=True)] for t in tables]
    return 100 * np.mean(right)


def test_a_table_is_read_and_refused(tmp_path):
    path = tmp_path / "utility.csv"
    path.write_text("treatment,top-1\nnone,69.57\noverlay,67.83\n")
    assert read_utility(path, TREATMENTS) == ("top-1", {"none": 69.57, "overlay": 67.83})
    for text in ("", "treatment,top-1\nnone,high\n", "treatment\nnone\n", "treatment,top-1\nnone,nan\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="expected a CSV of treatments"):
            read_utility(path, TREATMENTS)


def test_a_study_tells_what_networks_do_that_were_trained_on_each(tmp_path):
    diagonal = [(name, name) for name in ("original", "blurred", "overlaid")]
    written(tmp_path, (*diagonal, ("original", "blurred"), ("original", "reencoded")))
    measure, values = read_utility(tmp_path, TREATMENTS)
    assert measure == "top-1 accuracy in percent, mean of 2 networks trained and tested on each"
    assert set(values) == {"none", "overlay", "blur safe", "as published"}
    for treatment, name in (("none", "original"), ("overlay", "overlaid"), ("blur safe", "blurred")):
        assert values[treatment] == pytest.approx(top1(tmp_path, f"*-{name}-{name}-s*"))
    assert values["as published"] == values["blur safe"]
    assert values["none"] > values["blur safe"] > values["overlay"]


@pytest.mark.parametrize("train", [PRETRAINED, "original"])
def test_networks_of_one_training_are_second_best(tmp_path, train):
    written(tmp_path, tuple((train, name) for name in ("original", "blurred", "overlaid")))
    measure, values = read_utility(tmp_path, TREATMENTS)
    assert measure.endswith("with pretrained weights" if train == PRETRAINED else "trained on originals")
    assert values["overlay"] == pytest.approx(top1(tmp_path, f"*-{train}-overlaid*"))


def test_bad_studies_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"study\.json: expected the record of a study, found none"):
        read_utility(tmp_path, TREATMENTS)
    for text in ("{", "[]", '{"settings": {"evaluation": {"original": 3}}}'):
        (tmp_path / "study.json").write_text(text)
        with pytest.raises(InputError, match=r"study\.json: expected the record of a study"):
            read_utility(tmp_path, TREATMENTS)
    written(tmp_path / "one", (("original", "original"),))
    with pytest.raises(InputError, match="expected a study with at least two of"):
        read_utility(tmp_path / "one", TREATMENTS)
