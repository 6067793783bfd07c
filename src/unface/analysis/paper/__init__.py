"""Figures that "A Study of Face Obfuscation in ImageNet" (ICML 2022) published, as data; each says where it stands.

Every CSV has a column `source`: the paper's section, or its code at commit 83f0279 where only that tells.
"""

import csv
from pathlib import Path


def published(name: str) -> list[dict[str, str]]:
    """The rows of one table: `annotation`, `table1` or `table2`.

    >>> [row["synset"] for row in published("table2")][:2]
    ['clothing.n.01', 'wheeled_vehicle.n.01']
    """
    with Path(__file__).with_name(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
