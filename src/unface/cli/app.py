"""The `unface` command."""

import sys
from typing import Annotated

import typer

from unface import __version__
from unface.cli import models, review, study
from unface.cli.browse import browse
from unface.cli.convert import convert
from unface.cli.detect import detect
from unface.cli.evaluate import evaluate
from unface.cli.obfuscate import obfuscate
from unface.cli.quality import quality
from unface.cli.run import run
from unface.cli.sample import sample
from unface.cli.stats import stats
from unface.cli.train import train
from unface.cli.transfer import transfer
from unface.cli.verify import verify
from unface.errors import UnfaceError, one_line

INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

app = typer.Typer(
    name="unface",
    help="Find the faces in an image dataset, obfuscate them, and verify that nothing leaks.",
    epilog="Exit codes: 0 all done; 1 done, but some images failed and were not published; "
    "2 wrong use or unreadable input; 3 a privacy check failed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(detect)
app.command()(obfuscate)
app.command()(verify)
app.command()(convert)
app.command()(stats)
app.command()(quality)
app.command()(browse)
app.command()(sample)
app.command()(train)
app.command()(evaluate)
app.command()(transfer)
app.add_typer(review.app, name="review")
app.add_typer(study.app, name="study")
app.add_typer(models.app, name="models")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command; every error leaves as one line and an exit code."""
    try:
        app()
    except UnfaceError as error:
        _stop(one_line(error), 2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _stop("interrupted; the same command again goes on from here", INTERRUPTED)
        raise
    except OSError as error:
        _stop(f"{one_line(str(error.filename or 'system'))}: {error.strerror or one_line(error)}", 2)
    except Exception as error:
        _stop(f"unexpected {type(error).__name__}: {one_line(error)}; nothing more was published", 2)


def _stop(message: str, code: int) -> None:
    print(f"unface: {message}", file=sys.stderr)
    sys.exit(code)
