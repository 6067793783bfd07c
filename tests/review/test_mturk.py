from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from review.reviews import FACE, NOON, SMALL
from review.site import Site, box, problem_of, put
from review.turk_server import turk_server
from unface.errors import InputError
from unface.review.mturk import Offer, approve, collect, connect, cost_cents, expire, frame_sites, publish, standing
from unface.review.store import open_store
from unface.review.tables import Assignment, Hit, Image, Item
from unface.review.tables import Turk as TurkRow

URL = "https://review.example.org"
OFFER = Offer(URL, reward_cents=50, bonus_cents=10, budget_cents=10_000)
TWICE = SMALL.model_copy(update={"replicas": 2})


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def turk():
    with turk_server() as served:
        yield served


@pytest.fixture
def site(tmp_path):
    store = open_store(str(tmp_path / "review.db"), create=True)
    yield Site(store, tmp_path / "src", TWICE)
    store.close()


def offer_all(site, turk, offer=OFFER, sure=True):
    return publish(site.store, connect(turk.endpoint), turk.endpoint, offer, site.wait(seconds=1), lambda _: sure)


def enter(site, turk, hit_id, worker, assignment=None):
    """Accept a HIT and come in; the client with the worker's token, his task, and Mechanical Turk's assignment."""
    assignment = assignment or turk.accept(hit_id, worker)
    (hit,) = parse_qs(urlsplit(turk.url(hit_id)).query)["hit"]
    entered = site.nobody.post("/api/mturk/enter", json={"hit": hit, "assignment_id": assignment, "worker_id": worker})
    if entered.status_code != 200:
        return entered
    client = site.client(entered.json()["token"], worker)
    return client, client.get(f"/api/tasks/{entered.json()['task']}").json(), assignment


def do(site, client, task, wrong_first=False):
    with site.store.read() as session:
        number = session.get_one(Assignment, task["id"]).task_id
        rows = session.execute(select(Item.position, Image.truth).join(Image).where(Item.task_id == number, Item.gold))
        truths = {p: [box(b["x0"], b["y0"], b["x1"], b["y1"]) for b in truth] for p, truth in rows}
    for image in task["images"]:
        right = truths.get(image["position"], [box(*FACE)])
        if wrong_first and image["position"] in truths:
            assert put(client, task, image["position"], [box(0, 0, 3, 3)]).json()["truth"] is not None
        assert put(client, task, image["position"], right).status_code == 200
    assert client.post(f"/api/tasks/{task['id']}/submit", json={"attempt": 1}).status_code == 200


def test_a_whole_campaign(site, turk):
    assert offer_all(site, turk) == 3
    kind = next(iter(turk.types.values()))
    assert (kind["Reward"], len(kind["QualificationRequirements"])) == ("0.50", 2)
    assert [hit["MaxAssignments"] for hit in turk.hits.values()] == [2, 2, 2]
    client = connect(turk.endpoint)
    for hit_id in turk.hits:
        for worker, wrong in (("AWORKER1", False), ("AWORKER2", True)):
            person, task, assignment = enter(site, turk, hit_id, worker)
            do(site, person, task, wrong)
            turk.submit(assignment)
    cheat = turk.hits | {}
    found = collect(site.store, client)
    assert (found.submitted, found.approved, found.unmatched) == (6, 0, [])
    assert approve(site.store, client, site.now) == (6, 3)
    assert approve(site.store, client, site.now) == (0, 0)
    assert {bonus["WorkerId"] for bonus in turk.bonuses} == {"AWORKER1"}
    assert turk.spent == 6 * 60 + 3 * 12
    with site.store.read() as session:
        stands = standing(session)
        assert (stands.committed_cents, stands.approved) == (turk.spent, 6)
        decided = session.scalar(select(func.count(Image.id)).where(Image.decision == "agreed"))
    assert decided == 9
    assert cheat == turk.hits


def test_nothing_is_done_without_consent(site, turk):
    assert offer_all(site, turk, sure=False) == 0
    assert not turk.hits
    assert turk.calls == ["GetAccountBalance"]
    with site.store.read() as session:
        assert session.scalar(select(func.count(Hit.task_id))) == 0


@pytest.mark.parametrize(("budget", "hits"), [(119, 0), (120, 1), (239, 1), (240, 2), (359, 2), (360, 3)])
def test_the_budget_is_not_exceeded(site, turk, budget, hits):
    offer = Offer(URL, 50, 10, budget)
    assert offer_all(site, turk, offer) == hits
    assert offer_all(site, turk, offer) == 0
    for hit_id in turk.hits:
        for worker in ("AWORKER1", "AWORKER2"):
            person, task, assignment = enter(site, turk, hit_id, worker)
            do(site, person, task)
            turk.submit(assignment)
    approve(site.store, connect(turk.endpoint), site.now)
    assert turk.spent <= budget
    assert len(turk.bonuses) == min(2 * hits, (budget - hits * 120) // 12)


@given(st.integers(1, 10_000), st.integers(1, 9))
def test_the_fee_is_a_fifth_and_a_cent_at_least(reward, times):
    paid = cost_cents(reward, times) / times
    assert paid - reward >= 1
    assert 0 <= paid - 1.2 * reward < 1
    assert cost_cents(0, times) == 0


def test_a_balance_that_is_too_small_stops_it(site, turk):
    turk.balance = 100
    with pytest.raises(InputError, match=r"balance: expected at least \$3\.60 at Mechanical Turk, got \$1\.00"):
        offer_all(site, turk)
    assert not turk.hits


def test_a_raised_budget_offers_the_rest_and_other_terms_are_refused(site, turk):
    assert offer_all(site, turk, Offer(URL, 50, 10, 130)) == 1
    with pytest.raises(InputError, match="reward_cents: the campaign was begun with 50, this call has 60"):
        offer_all(site, turk, Offer(URL, 60, 10, 1000))
    assert offer_all(site, turk, Offer(URL, 50, 10, 1000)) == 2


class Crash(BaseException):
    """The process ends here."""


def crashing(client, operation, after):
    """A client whose process dies right after the n-th such call was done."""
    done = 0

    def end(**_):
        nonlocal done
        done += 1
        if done == after:
            raise Crash

    client.meta.events.register(f"after-call.mturk.{operation}", end)
    return client


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("later", [timedelta(seconds=1), timedelta(days=3)])
def test_a_crash_while_publishing_offers_nothing_twice(site, turk, after, later):
    client = crashing(connect(turk.endpoint), "CreateHITWithHITType", after)
    with pytest.raises(Crash):
        publish(site.store, client, turk.endpoint, OFFER, site.now, lambda _: True)
    if later > timedelta(days=1):
        turk.tokens.clear()  # Mechanical Turk forgets them
    site.now += later
    offer_all(site, turk)
    assert len(turk.hits) == 3
    assert len({hit["RequesterAnnotation"] for hit in turk.hits.values()}) == 3
    with site.store.read() as session:
        assert set(session.scalars(select(Hit.hit_id))) == set(turk.hits)


@pytest.mark.parametrize("operation", ["ApproveAssignment", "SendBonus"])
@pytest.mark.parametrize("how", ["crash", "lost answer"])
def test_nobody_is_paid_twice(site, turk, operation, how):
    offer_all(site, turk)
    for hit_id in turk.hits:
        person, task, assignment = enter(site, turk, hit_id, "AWORKER1")
        do(site, person, task)
        turk.submit(assignment)
    if how == "crash":
        client = crashing(connect(turk.endpoint), operation, 2)
        with pytest.raises(Crash):
            approve(site.store, client, site.now)
    else:
        turk.drop_answers_of.add(operation)
    approve(site.store, connect(turk.endpoint), site.now)
    approve(site.store, connect(turk.endpoint), site.now)
    assert turk.spent == 3 * 60 + 3 * 12
    assert len(turk.bonuses) == 3


def test_a_lost_answer_while_publishing(site, turk):
    turk.drop_answers_of.add("CreateHITWithHITType")
    assert offer_all(site, turk) == 3
    assert len(turk.hits) == 3


def test_who_did_nothing_here_is_not_approved(site, turk):
    offer_all(site, turk)
    first, second, third = turk.hits
    lazy = turk.accept(first, "ALAZY1")
    turk.submit(lazy)
    _, _, begun = enter(site, turk, second, "ABEGAN1")
    turk.submit(begun)
    _, _, stolen = enter(site, turk, third, "AGOOD01")
    turk.assignments[stolen]["WorkerId"] = "AOTHER1"
    turk.submit(stolen)
    client = connect(turk.endpoint)
    assert approve(site.store, client, site.now) == (0, 0)
    with site.store.read() as session:
        assert sorted(standing(session).unmatched) == sorted([lazy, begun, stolen])
    assert "RejectAssignment" not in turk.calls
    assert turk.spent == 0


def test_a_reload_comes_back_and_another_worker_does_not_get_in(site, turk):
    offer_all(site, turk)
    hit_id = next(iter(turk.hits))
    _, task, assignment = enter(site, turk, hit_id, "AWORKER1")
    _, again, _ = enter(site, turk, hit_id, "AWORKER1", assignment)
    assert again["id"] == task["id"]
    assert problem_of(enter(site, turk, hit_id, "AWORKER9", assignment)) == (404, "unknown")
    other = list(turk.hits)[1]
    assert problem_of(enter(site, turk, other, "AWORKER1", assignment)) == (404, "unknown")


def test_a_place_is_freed_for_who_comes_after_one_who_left(site, turk):
    offer_all(site, turk)
    hit_id = next(iter(turk.hits))
    _, task, assignment = enter(site, turk, hit_id, "AWORKER1")
    enter(site, turk, hit_id, "AWORKER2")
    site.wait(minutes=1)
    turk.leave(assignment)
    client, third, _ = enter(site, turk, hit_id, "AWORKER3")
    do(site, client, third)
    with site.store.read() as session:
        assert session.get_one(Assignment, task["id"]).state == "expired"


def test_offered_tasks_are_not_for_others_until_they_end(site, turk):
    offer_all(site, turk)
    ann = site.person("ann")
    assert ann.post("/api/tasks", json={}).json() == {"task": None}
    client = connect(turk.endpoint)
    assert expire(site.store, client, site.now) == 3
    assert expire(site.store, client, site.now) == 0
    assert all(hit["Expiration"] < 1e9 for hit in turk.hits.values())
    assert ann.post("/api/tasks", json={}).json()["task"] is not None


@pytest.mark.parametrize("hit", ["", "x", "1-9999999999-abc", "é" * 10])
def test_forged_links_do_not_let_in(site, turk, hit):
    offer_all(site, turk)
    refused = site.nobody.post(
        "/api/mturk/enter", json={"hit": hit, "assignment_id": "ASSIGNMENT1", "worker_id": "AWORKER1"}
    )
    assert problem_of(refused) == (404, "unknown")
    with site.store.read() as session:
        assert session.scalar(select(func.count(TurkRow.turk_assignment_id))) == 0


def test_a_review_without_a_campaign(site, turk):
    for call in (expire, approve):
        with pytest.raises(InputError, match="expected a review that is offered"):
            call(site.store, connect(turk.endpoint), NOON)
    with pytest.raises(InputError, match="expected a review that is offered"):
        collect(site.store, connect(turk.endpoint))
    with site.store.read() as session:
        assert frame_sites(session) == ()


def test_the_page_may_be_framed_by_mechanical_turk_only(site, turk):
    offer_all(site, turk)
    with site.store.read() as session:
        assert frame_sites(session) == ("https://workersandbox.mturk.com",)
