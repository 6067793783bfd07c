"""`unface review`: people correct the boxes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unface.cli.options import Json, Source, print_json, tell
from unface.cli.serving import require_extra, serve_page
from unface.errors import InputError, one_line

if TYPE_CHECKING:
    from unface.review.mturk import Standing
    from unface.review.store import Store

app = typer.Typer(help="Let people correct the boxes.", no_args_is_help=True, rich_markup_mode=None)
mturk = typer.Typer(help="Offer tasks on Mechanical Turk.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(mturk, name="mturk")


class Order(StrEnum):
    """Which images come first."""

    random = "random"
    uncertain = "uncertain"


class Rule(StrEnum):
    """How gold answers are judged."""

    union = "union"
    faces = "faces"


class RoleName(StrEnum):
    """What somebody may do."""

    worker = "worker"
    reviewer = "reviewer"
    admin = "admin"


StorePlace = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="STORE",
        envvar="UNFACE_REVIEW_STORE",
        help="SQLite file, or postgresql:// URL of a database.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where browsers reach the server.", show_default="its address"),
]
DEFAULT_STORE = "review.db"
DEFAULT_PORT = 8000


@app.command()
def create(
    src: Source,
    faces_path: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet.", show_default=False)],
    store: StorePlace = DEFAULT_STORE,
    gold: Annotated[
        Path | None,
        typer.Option(metavar="FACES", help="faces.parquet whose reviewed rows are the truth."),
    ] = None,
    images_per_task: Annotated[int, typer.Option(min=1, max=500, help="Images of a task, gold ones included.")] = 50,
    gold_per_task: Annotated[int, typer.Option(min=0, max=100, help="Gold images of a task.")] = 3,
    replicas: Annotated[int, typer.Option(min=1, max=9, help="Workers who answer each task.")] = 1,
    most_replicas: Annotated[
        int | None,
        typer.Option(min=1, max=9, help="Workers asked at most about an image in dispute.", show_default="3 or more"),
    ] = None,
    order: Annotated[Order, typer.Option(help="Which images come first.")] = Order.random,
    sample_without: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the images without boxes that is reviewed too.")
    ] = 1.0,
    lives: Annotated[int, typer.Option(min=1, max=100, help="Wrong gold answers until a task starts again.")] = 2,
    rule: Annotated[Rule, typer.Option(help="How gold is judged: the union of all boxes, or each face.")] = Rule.union,
    min_iou: Annotated[float, typer.Option(min=0, max=1, help="Of union: least IoU.")] = 0.72,
    min_coverage: Annotated[float, typer.Option(min=0, max=1, help="Of faces: least part of each face covered.")] = 0.9,
    max_excess: Annotated[float, typer.Option(min=0, max=100, help="Of faces: most area outside them.")] = 0.5,
    min_agreement: Annotated[float, typer.Option(min=0, max=1, help="Least agreement that settles an image.")] = 0.7,
    idle_minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="Idle time that frees a task.")] = 30,
    price: Annotated[float, typer.Option(min=0, max=1000, help="Cost of a task in US dollars.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    as_json: Json = False,
) -> None:
    """Cut the images of FACES into tasks; write the review's store.

    The images stay in SRC and are read from there when shown. With --gold 3 of 50 images of a task are gold: their
    boxes are known, are spoiled on purpose, and answers on them are judged.
    """
    require_extra("review")
    from dataclasses import asdict

    from pydantic import ValidationError

    from unface.datasets import open_dataset
    from unface.faces import read_faces
    from unface.review.creation import create_review
    from unface.review.policy import Policy
    from unface.review.results import read_reviewed

    try:
        policy = Policy(
            images_per_task=images_per_task,
            gold_per_task=gold_per_task,
            replicas=replicas,
            most_replicas=max(3, replicas) if most_replicas is None else most_replicas,
            order=order.value,
            sample_without=sample_without,
            lives=lives,
            rule=rule.value,
            min_iou=min_iou,
            min_coverage=min_coverage,
            max_excess=max_excess,
            min_agreement=min_agreement,
            idle_minutes=idle_minutes,
            price=price,
            seed=seed,
        )
    except ValidationError as error:
        raise InputError(one_line(error.errors()[0]["msg"])) from None
    dataset = open_dataset(src)
    faces = read_faces(faces_path)
    true = None if gold is None else read_reviewed(gold)
    with _new_store(store) as opened:
        created = create_review(opened, dataset, faces, true, policy, datetime.now(UTC))
        name = opened.name
    tell(
        f"{name}: {created.images} images to review and {created.gold} gold images; {created.tasks} tasks, "
        f"each for {policy.replicas} {'worker' if policy.replicas == 1 else 'workers'}"
    )
    if not policy.gold_per_task:
        tell("warning: without gold images nobody's work is checked")
    tell(f"next: unface review serve --store {name}")
    if as_json:
        print_json({"store": name, **asdict(created)})


@app.command()
def serve(
    store: StorePlace = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need --url or HTTPS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = DEFAULT_PORT,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where browsers reach the server.", show_default="its address")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="SRC", help="Where the images are now.", show_default="as when created")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the link on this machine.")] = True,
    as_json: Json = False,
) -> None:
    """Start the server; print a link that lets you in as admin, and open it.

    Nobody comes in without a token, from wherever. Invite others on the page or with `unface review invite`.
    """
    require_extra("review")
    from unface.datasets import open_dataset
    from unface.review.creation import load_review
    from unface.review.mturk import frame_sites
    from unface.review.server import NO_PAGE, Settings, create_app, is_page_built
    from unface.review.serving import FIRST_ADMIN, entry_token, is_local, listen

    local = is_local(host)
    if url is None and host in ("0.0.0.0", "::", ""):
        raise InputError(f"--url: expected the address that browsers use, since --host is {host or 'empty'}")
    with _open(store) as opened:
        with opened.read() as session:
            place = Path(load_review(session).source) if source is None else source
            frames = frame_sites(session)
        dataset = open_dataset(place)
        with listen(host, port) as listening:
            address = (url or f"http://{host}:{listening.getsockname()[1]}").rstrip("/")
            _check_url(address)
            settings = Settings(address, ("localhost", "127.0.0.1") if local else (), frames)
            served = create_app(opened, dataset, settings)
            token = entry_token(opened, FIRST_ADMIN, "admin", datetime.now(UTC))
            if not local and not address.startswith("https:"):
                tell("warning: tokens and images travel unencrypted; put an HTTPS proxy before this server")
            if not is_page_built():
                tell(f"warning: {NO_PAGE}")
            serve_page(served, listening, "admin", address, token, browser and local and url is None, as_json)


@app.command()
def invite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who is invited.", show_default=False)],
    store: StorePlace = DEFAULT_STORE,
    role: Annotated[RoleName, typer.Option(help="What the link allows.")] = RoleName.worker,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where browsers reach the server.")] = (
        f"http://127.0.0.1:{DEFAULT_PORT}"
    ),
    days: Annotated[int, typer.Option(min=1, max=365, help="How long the link is good.")] = 30,
    as_json: Json = False,
) -> None:
    """Print a link that lets somebody in; it is shown once and kept nowhere."""
    require_extra("review")
    from datetime import timedelta

    from unface.review.creation import load_review
    from unface.review.serving import entry_token

    _check_url(url)
    with _open(store) as opened:
        with opened.read() as session:
            load_review(session)
        token = entry_token(opened, name, role.value, datetime.now(UTC), timedelta(days=days))
    link = f"{url.rstrip('/')}/#token={token}"
    if as_json:
        print_json({"name": name, "role": role.value, "link": link})
    else:
        print(link)


@app.command()
def status(store: StorePlace = DEFAULT_STORE, as_json: Json = False) -> None:
    """Tell how far the review is, what it costs, and who did what."""
    require_extra("review")
    from dataclasses import asdict

    from unface.review.creation import load_review
    from unface.review.policy import Policy
    from unface.review.progress import Dashboard, dashboard

    with _open(store) as opened, opened.read() as session:
        policy = Policy.model_validate(load_review(session).policy)
        board: Dashboard = dashboard(session, policy, datetime.now(UTC))
    if as_json:
        print_json(_plain(asdict(board)))
        return
    settled = board.images_agreed + board.images_adjudicated
    print(f"images    {settled} of {board.images_total} settled, {board.images_disputed} wait for a reviewer")
    print(f"tasks     {board.slots_submitted} of {board.slots_total} handed in, {board.slots_open} at work")
    left = "unknown" if board.hours_left is None else f"{board.hours_left:.1f} hours"
    print(f"rate      {board.images_per_hour:.0f} images an hour, time left {left}{', PAUSED' * board.paused}")
    print(f"cost      ${board.cost_so_far:.2f} of ${board.cost_expected:.2f}")
    if board.agreement is not None:
        print(f"agreement {board.agreement:.2f}, alpha {_number(board.alpha)}")
    for worker in board.workers:
        gold = f"{worker.gold_right} of {worker.gold_judged} gold right"
        print(f"  {one_line(worker.name):<20} {worker.tasks_submitted} tasks, {worker.answers} answers, {gold}")


@app.command()
def export(
    store: StorePlace = DEFAULT_STORE,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FACES", help="Table to write.")] = Path(
        "reviewed.parquet"
    ),
    as_json: Json = False,
) -> None:
    """Write faces.parquet as people corrected it.

    Settled images have status reviewed; all others are as they came. `unface obfuscate SRC FACES DST` takes it.
    """
    require_extra("review")
    from unface.faces import write_faces
    from unface.review.results import export_reviewed

    with _open(store) as opened, opened.read() as session:
        table = export_reviewed(session)
    write_faces(output, table)
    reviewed = table["status"].to_pylist().count("reviewed")
    tell(f"{len(table)} images, {reviewed} of them reviewed: {one_line(str(output))}")
    if as_json:
        print_json({"output": str(output), "images": len(table), "reviewed": reviewed})


@mturk.command()
def publish(
    url: Annotated[str, typer.Option(metavar="URL", help="HTTPS address of the review's server.", show_default=False)],
    reward: Annotated[float, typer.Option(min=0.01, max=100, help="Dollars for a task.", show_default=False)],
    budget: Annotated[
        float, typer.Option(min=0.01, help="Dollars that all of it may cost at most.", show_default=False)
    ],
    bonus: Annotated[float, typer.Option(min=0, max=100, help="Dollars more for a task without a wrong check.")] = 0.0,
    minutes: Annotated[int, typer.Option(min=5, max=1440, help="Time for a task.")] = 90,
    days: Annotated[int, typer.Option(min=1, max=365, help="How long tasks are offered.")] = 7,
    min_approved_percent: Annotated[int, typer.Option(min=0, max=100, help="Of a worker's earlier work.")] = 95,
    min_approved: Annotated[int, typer.Option(min=0, help="Earlier approved assignments of a worker.")] = 100,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before money is committed.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="On the real Mechanical Turk, for real money; else in its sandbox.")
    ] = False,
    store: StorePlace = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Offer tasks as HITs, as many as the budget allows.

    Says what it costs and asks first. Interrupted? The same command again goes on; nothing is offered twice.
    """
    from unface.review.mturk import Offer, Plan, dollars, publish

    if not url.startswith("https://"):
        raise InputError(f"--url: expected an https:// address (Mechanical Turk shows no other), got {one_line(url)}")
    _check_url(url)
    offer = Offer(
        url.rstrip("/"),
        _cents("--reward", reward),
        _cents("--bonus", bonus),
        _cents("--budget", budget),
        minutes=minutes,
        days=days,
        min_approved_percent=min_approved_percent,
        min_approved=min_approved,
    )
    endpoint = _endpoint(live)

    def confirm(plan: Plan) -> bool:
        tell(
            f"{plan.hits} HITs for {dollars(plan.cost_cents)}, fees included; {dollars(plan.committed_cents)} of the "
            f"budget of {dollars(plan.budget_cents)} is committed; {plan.left_out} tasks do not fit"
        )
        return yes or typer.confirm("Offer them?", err=True)

    with _turk(store, endpoint) as (opened, client):
        made = publish(opened, client, endpoint, offer, datetime.now(UTC), confirm)
    tell(f"{made} HITs offered")
    if as_json:
        print_json({"hits": made, "endpoint": endpoint})


@mturk.command("status")
def turk_status(store: StorePlace = DEFAULT_STORE, as_json: Json = False) -> None:
    """Tell how the campaign stands, as last collected."""
    from unface.review.mturk import standing

    with _turk_store(store) as opened, opened.read() as session:
        found = standing(session)
    _tell_standing(found, as_json)


@mturk.command()
def collect(store: StorePlace = DEFAULT_STORE, as_json: Json = False) -> None:
    """Ask Mechanical Turk what was submitted."""
    from unface.review.mturk import collect

    with _turk(store) as (opened, client):
        found = collect(opened, client)
    _tell_standing(found, as_json)


@mturk.command()
def approve(store: StorePlace = DEFAULT_STORE, as_json: Json = False) -> None:
    """Approve what was handed in here, having passed its gold; send bonuses within the budget. Rejects nothing."""
    from unface.review.mturk import approve

    with _turk(store) as (opened, client):
        approved, bonuses = approve(opened, client, datetime.now(UTC))
    tell(f"{approved} assignments approved, {bonuses} bonuses sent")
    if as_json:
        print_json({"approved": approved, "bonuses": bonuses})


@mturk.command()
def expire(store: StorePlace = DEFAULT_STORE, as_json: Json = False) -> None:
    """Offer nothing more; tasks that nobody began are free for others."""
    from unface.review.mturk import expire

    with _turk(store) as (opened, client):
        ended = expire(opened, client, datetime.now(UTC))
    tell(f"{ended} HITs ended")
    if as_json:
        print_json({"ended": ended})


@contextmanager
def _turk_store(store: str) -> "Iterator[Store]":
    require_extra("review", "boto3")
    from unface.review.creation import load_review

    with _open(store) as opened:
        with opened.read() as session:
            load_review(session)
        yield opened


@contextmanager
def _turk(store: str, endpoint: str | None = None) -> "Iterator[tuple[Store, Any]]":
    """The store and a client, of the campaign's own server; what Mechanical Turk refuses leaves as one line."""
    require_extra("review", "boto3")
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    from unface.review.mturk import campaign_of, connect

    with _turk_store(store) as opened:
        if endpoint is None:
            with opened.read() as session:
                endpoint = campaign_of(session).endpoint
        try:
            yield opened, connect(endpoint)
        except (BotoCoreError, ClientError) as error:
            raise InputError(f"Mechanical Turk: {one_line(error)}; the same command again goes on") from None


def _endpoint(live: bool) -> str:
    """Which Mechanical Turk; AWS_ENDPOINT_URL_MTURK, boto3's own variable, names another server."""
    from unface.review.mturk import LIVE_ENDPOINT, SANDBOX

    return os.environ.get("AWS_ENDPOINT_URL_MTURK") or (LIVE_ENDPOINT if live else SANDBOX)


def _cents(name: str, amount: float) -> int:
    cents = round(amount * 100)
    if abs(amount * 100 - cents) > 1e-6:
        raise InputError(f"{name}: expected whole cents, got {amount}")
    return cents


def _tell_standing(standing: "Standing", as_json: bool) -> None:
    from dataclasses import asdict

    from unface.review.mturk import dollars

    if as_json:
        print_json(asdict(standing))
        return
    print(f"HITs        {standing.hits} offered, {standing.unsent} of them not sent yet")
    print(f"money       {dollars(standing.committed_cents)} of {dollars(standing.budget_cents)} committed")
    counts = f"{standing.submitted} wait for approval, {standing.approved} approved, {standing.rejected} rejected"
    print(f"assignments {counts}")
    for name in standing.unmatched:
        print(f"  {one_line(name)}: submitted at Mechanical Turk, not handed in here: decide there")


@contextmanager
def _open(place: str) -> "Iterator[Store]":
    from unface.review.store import open_store

    opened = open_store(place)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _new_store(place: str) -> "Iterator[Store]":
    """A store to be filled; a file that was not there is not left behind half made."""
    from unface.review.store import open_store

    fresh = "://" not in place and not os.path.lexists(place)
    opened = open_store(place, create=True)
    try:
        yield opened
    except BaseException:
        opened.close()
        if fresh:
            for suffix in ("", "-wal", "-shm"):
                Path(place + suffix).unlink(missing_ok=True)
        raise
    opened.close()


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise InputError(f"--url: expected an address such as https://review.example.org, got {one_line(url)}")


def _plain(record: Any) -> Any:
    if isinstance(record, dict):
        return {name: _plain(value) for name, value in record.items()}
    if isinstance(record, list):
        return [_plain(value) for value in record]
    return record.isoformat() if isinstance(record, datetime) else record


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
