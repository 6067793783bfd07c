"""`unface study`: train and evaluate a whole matrix of networks, and tell what it shows."""

import typer

from unface.cli.study_results import report, tables

app = typer.Typer(
    help="What privacy costs: train and evaluate networks on original and obfuscated images, and compare.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(tables)
app.command()(report)
