"""Tables for papers and web pages: numbers rounded for people, Markdown, LaTeX."""

import math

from unface.analysis.tables import Cell, Share, Table
from unface.errors import one_line

MISSING = "–"
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
}
_MARKDOWN = {c: f"\\{c}" for c in "\\`*_{}[]<>|"}


class Points(float):
    """Percent, or percentage points."""


class PValue(float):
    """The probability of what was seen, or more, by chance."""


class Error(float):
    """A standard error, in percentage points."""


class Figures(str):
    """A number with its error or interval, as text."""


def points(fraction: float | None) -> Points | None:
    """A fraction in percent; None of what is not known.

    >>> points(0.25), points(float("nan"))
    (25.0, None)
    """
    return None if fraction is None or not math.isfinite(fraction) else Points(100 * fraction)


def shown(cell: Cell) -> str:
    """A cell as people read it.

    >>> [shown(cell) for cell in (Points(70.0234), Points(-0.5), PValue(2.7e-49), Share(0.031), 1300, None)]
    ['70.02', '−0.50', '2.7e−49', '3.1 %', '1,300', '–']
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return MISSING
    if isinstance(cell, str):
        return one_line(cell)
    return _number(cell).replace("-", "−")


def _number(cell: int | float) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    if math.isinf(cell):
        return "-∞" if cell < 0 else "∞"
    if isinstance(cell, PValue):
        if cell < 1e-300:
            return "<1e-300"
        return "1" if cell > 0.9995 else f"{cell:.2g}" if cell < 0.001 else f"{cell:.3f}"
    if isinstance(cell, Share):
        return f"{100 * cell:.1f} %" if cell >= 0.01 or cell <= 0 else f"{100 * cell:.2g} %"
    text = f"{cell:.2f}"
    return text.lstrip("-") if float(text) == 0 else text


def is_number(table: Table, column: int) -> bool:
    """Whether a column holds numbers, which stand to the right."""
    cells = [row[column] for row in table.rows if row[column] is not None]
    return all(isinstance(cell, int | float | Figures) for cell in cells)


def condensed(table: Table) -> Table:
    """The table for people: a number, its standard error and its interval in one column.

    >>> cells = [Points(2), Error(1), Points(3), Points(1), None]
    >>> wide = Table("t", "T", ["x", "x SEM", "y", "y from", "y to"], [cells])
    >>> condensed(wide).header, condensed(wide).rows
    (['x', 'y'], [['2.00 ± 1.00', '3.00']])
    """
    header, columns = list(table.header), list[list[int]]()
    for place, name in enumerate(header):
        base = next((name.removesuffix(end) for end in (" SEM", " SE", " from", " to") if name.endswith(end)), None)
        if columns and base == header[columns[-1][0]]:
            columns[-1].append(place)
        else:
            columns.append([place])
    rows = [[_together([row[place] for place in places]) for places in columns] for row in table.rows]
    return Table(table.name, table.title, [header[places[0]] for places in columns], rows)


def _together(cells: list[Cell]) -> Cell:
    first, *rest = cells
    if not rest or first is None:
        return first
    text = shown(first)
    if len(rest) % 2 and rest[0] is not None:
        text += f" ± {shown(rest[0])}"
    if len(rest) > 1 and rest[-1] is not None and rest[-2] is not None:
        text += f" ({shown(rest[-2])} to {shown(rest[-1])})"
    return Figures(text)


def markdown(table: Table) -> str:
    r"""A GitHub table under its title.

    >>> print(markdown(Table("t", "Drops", ["class", "top-1"], [["a|b", Points(1)]])), end="")
    **Drops**
    <BLANKLINE>
    | class | top-1 |
    | :-- | --: |
    | a\|b | 1.00 |
    """
    columns = range(len(table.header))
    rule = ["--:" if is_number(table, column) else ":--" for column in columns]
    rows = [[_escaped(shown(cell), _MARKDOWN) for cell in row] for row in table.rows]
    lines = [[_escaped(name, _MARKDOWN) for name in table.header], rule, *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{_escaped(table.title, _MARKDOWN)}**\n\n{body}\n"


def latex(table: Table) -> str:
    r"""A `table` environment in the style of the package booktabs.

    >>> "1 \\% & 2.00 \\\\" in latex(Table("t", "T", ["", "x"], [["1 %", Points(2)]]))
    True
    """
    sides = "".join("r" if is_number(table, column) else "l" for column in range(len(table.header)))
    rows = [[_escaped(shown(cell), _LATEX) for cell in row] for row in [table.header, *table.rows]]
    head, *body = [" & ".join(row) + r" \\" for row in rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.title, _LATEX)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str, escapes: dict[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in text)
