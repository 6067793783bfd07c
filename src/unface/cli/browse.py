"""`unface browse`: look through a dataset and its boxes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unface.cli.options import Json, tell
from unface.cli.serving import require_extra, serve_page

if TYPE_CHECKING:
    import pyarrow as pa

    from unface.datasets import Dataset

_HOST = "127.0.0.1"
_PROBED = 20


def browse(
    faces_path: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet.", show_default=False)],
    images: Annotated[str, typer.Option(metavar="SRC", help="The images.", show_default=False)],
    show_originals: Annotated[
        bool, typer.Option("--show-originals", help="Show the faces. Without it they are hidden on the server.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the link on this machine.")] = True,
    as_json: Json = False,
) -> None:
    """Look through the images of FACES in a browser; nothing is changed.

    A page of this machine alone: filter by class, number of faces, their size and score, and status; see each image
    with its boxes. Faces, and what the detector took for possible ones, are hidden before an image leaves the server.
    """
    require_extra("browse")
    from unface.analysis.wordnet import load_nouns
    from unface.datasets import open_dataset
    from unface.errors import InputError
    from unface.faces import read_faces
    from unface.review.browsing.app import PAGE, create_browser
    from unface.review.browsing.catalogue import Catalogue
    from unface.review.server import NO_PAGE, Settings, is_page_built
    from unface.review.serving import listen

    if not is_page_built(PAGE):
        raise InputError(NO_PAGE)
    dataset, table = open_dataset(images), read_faces(faces_path)
    _check_images(dataset, table)
    catalogue = Catalogue(table, load_nouns().word)
    del table
    with listen(_HOST, port) as listening:
        url = f"http://{_HOST}:{listening.getsockname()[1]}"
        app = create_browser(faces_path.name, catalogue, dataset, Settings(url, ("localhost",)), show_originals)
        if show_originals:
            tell("warning: faces are shown")
        serve_page(app, listening, "browse", url, app.state.browser.token, browser, as_json)


def _check_images(dataset: "Dataset", table: "pa.Table") -> None:
    """Refuse images of another dataset: none of some that FACES names is there."""
    from unface.errors import ImageError, InputError, one_line

    if not len(table):
        raise InputError("FACES: expected rows, got none")
    some = {len(table) * i // _PROBED for i in range(_PROBED)}
    for image_id in table["image_id"].take(sorted(some)).to_pylist():
        try:
            if dataset.has(image_id):
                return
        except ImageError:
            continue
    got = f"none of {len(some)} that were looked for, such as {one_line(image_id)}"
    raise InputError(f"{one_line(str(dataset.root))}: expected the images of FACES, found {got}")
