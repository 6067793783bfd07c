import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from review.reviews import FACE, NOON, OTHER, SMALL, add, answer, make_review
from unface.review.policy import Policy
from unface.review.results import export_reviewed
from unface.review.submission import Refused
from unface.review.tables import LIVE, Answer, Assignment, Event, Image, Item, Slot
from unface.review.work import (
    find_assignment,
    give_back,
    item_states,
    save_answer,
    submit,
    take,
)


def take_one(store, account, policy=SMALL, now=NOON, task_id=None):
    with store.write() as session:
        return take(session, account, now, policy, task_id)


def save(store, account, assignment, position, given, policy=SMALL, now=NOON):
    with store.write() as session:
        return save_answer(session, account, assignment, position, given, now, policy)


def states(store, account, assignment):
    with store.read() as session:
        return item_states(session, find_assignment(session, account, assignment))


def gold_positions(store, assignment):
    with store.read() as session:
        held = session.get_one(Assignment, assignment)
        return list(session.scalars(select(Item.position).where(Item.task_id == held.task_id, Item.gold)))


def truth_at(store, assignment, position):
    with store.read() as session:
        held = session.get_one(Assignment, assignment)
        chosen = select(Image.truth).join(Item).where(Item.task_id == held.task_id, Item.position == position)
        return [[b["x0"], b["y0"], b["x1"], b["y1"]] for b in session.scalar(chosen)]


def do_all(store, account, policy=SMALL, boxes=(FACE,), now=NOON, task_id=None):
    """Take a task, answer it (gold rightly) and hand it in."""
    assignment = take_one(store, account, policy, now, task_id)
    if assignment is None:
        return None
    gold = gold_positions(store, assignment)
    for state in states(store, account, assignment):
        given = truth_at(store, assignment, state.position) if state.position in gold else boxes
        save(store, account, assignment, state.position, answer(*given), policy, now)
    with store.write() as session:
        submit(session, account, assignment, 1, now, policy)
    return assignment


def answers(store):
    with store.read() as session:
        return session.scalar(select(func.count(Answer.id)))


def test_a_whole_review_by_one_worker(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    assert len({do_all(store, ann) for _ in range(3)}) == 3
    assert do_all(store, ann) is None
    with store.read() as session:
        exported = export_reviewed(session).to_pandas().set_index("image_id")
    assert (exported["status"] == "reviewed").all()
    assert len(exported) == 12
    assert exported.loc["a/000.jpg", "workers"] == 1
    assert exported.loc["a/000.jpg", "boxes"][0]["source"] == "human"


def test_what_a_worker_sees_does_not_tell_gold(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    assignment = take_one(store, ann)
    for state in states(store, ann, assignment):
        assert (state.width, state.height, state.version, state.truth) == (64, 48, 0, None)
    (gold,) = gold_positions(store, assignment)
    right = save(store, ann, assignment, gold, answer(*truth_at(store, assignment, gold)))
    plain = save(store, ann, assignment, (gold + 1) % 4, answer(OTHER))
    assert right == plain


def test_lives_truth_and_restart(store, tmp_path):
    policy = Policy(images_per_task=6, gold_per_task=3)
    make_review(store, tmp_path / "src", policy=policy)
    ann = add(store, "ann")
    assignment = take_one(store, ann, policy)
    gold = gold_positions(store, assignment)
    wrong = [answer([0.0, 0.0, 5.0, 5.0]) for _ in gold]
    first = save(store, ann, assignment, gold[0], wrong[0], policy)
    assert (first.lives, first.attempt, first.restarted) == (1, 1, False)
    assert first.truth.boxes_xyxy.tolist() == truth_at(store, assignment, gold[0])
    assert states(store, ann, assignment)[gold[0]].truth is not None
    again = save(store, ann, assignment, gold[0], answer([0.0, 0.0, 6.0, 6.0]), policy)
    assert (again.version, again.lives, again.truth) == (2, 1, None), "an image costs one life at most in an attempt"
    second = save(store, ann, assignment, gold[1], wrong[1], policy)
    assert (second.lives, second.attempt, second.restarted) == (2, 2, True)
    assert second.truth is not None
    assert all(state.version == 0 and state.truth is None for state in states(store, ann, assignment))
    with pytest.raises(Refused, match=r"the task started again") as refused:
        save(store, ann, assignment, gold[2], wrong[2], policy)
    assert refused.value.code == "stale"
    assert repr(save(store, ann, assignment, gold[1], wrong[1], policy)) == repr(second), "the same key: the same reply"
    for state in states(store, ann, assignment):
        given = truth_at(store, assignment, state.position) if state.position in gold else [FACE]
        assert save(store, ann, assignment, state.position, answer(*given, attempt=2), policy).lives == 2
    with store.write() as session, pytest.raises(Refused, match="started again"):
        submit(session, ann, assignment, 1, NOON, policy)
    with store.write() as session:
        submit(session, ann, assignment, 2, NOON, policy)
        submit(session, ann, assignment, 2, NOON, policy)
    assert answers(store) == 3 + 6


def test_versions_are_kept_and_the_last_counts(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    assignment = take_one(store, ann)
    (gold,) = gold_positions(store, assignment)
    plain = (gold + 1) % 4
    assert [save(store, ann, assignment, plain, answer(b)).version for b in (FACE, OTHER, FACE)] == [1, 2, 3]
    assert save(store, ann, assignment, plain, answer(label="nsfw")).version == 4
    assert save(store, ann, assignment, plain, answer(OTHER, label="nsfw")).version == 5
    shown = states(store, ann, assignment)[plain]
    assert (shown.version, shown.faces.boxes_xyxy.tolist(), shown.faces.labels) == (5, [OTHER], ("nsfw",))
    assert answers(store) == 5


def test_one_answer_sent_often_is_kept_once(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    assignment = take_one(store, ann)
    given = answer(FACE, key="k")
    assert {repr(save(store, ann, assignment, 0, given)) for _ in range(3)} == {
        repr(save(store, ann, assignment, 0, given))
    }
    for other in ((1, given), (0, answer(OTHER, key="k"))):
        with pytest.raises(Refused) as refused:
            save(store, ann, assignment, *other)
        assert refused.value.code == "conflict"
    assert answers(store) == 1


def test_tasks_of_others_are_unknown(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann, bob = add(store, "ann"), add(store, "bob")
    assignment = take_one(store, ann)
    for attempt in (
        lambda: save(store, bob, assignment, 0, answer(FACE)),
        lambda: states(store, bob, assignment),
        lambda: save(store, ann, 99, 0, answer(FACE)),
        lambda: save(store, ann, assignment, 4, answer(FACE)),
        lambda: save(store, ann, assignment, -1, answer(FACE)),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "unknown"
    assert answers(store) == 0


def test_a_task_is_handed_in_whole(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    assignment = take_one(store, ann)
    save(store, ann, assignment, 1, answer(FACE))
    with store.write() as session, pytest.raises(Refused, match="3 have none") as refused:
        submit(session, ann, assignment, 1, NOON, SMALL)
    assert refused.value.code == "incomplete"
    for position in (0, 2, 3):
        save(store, ann, assignment, position, answer(FACE))
    with store.write() as session:
        submit(session, ann, assignment, find_assignment(session, ann, assignment).attempt, NOON, SMALL)
    with pytest.raises(Refused) as refused:
        save(store, ann, assignment, 1, answer(OTHER))
    assert refused.value.code == "ended"


def test_an_abandoned_task_goes_to_somebody_else_and_a_late_answer_is_refused(store, tmp_path):
    make_review(store, tmp_path / "src", images=3)
    ann, bob = add(store, "ann"), add(store, "bob")
    assignment = take_one(store, ann)
    save(store, ann, assignment, 0, answer(FACE), now=NOON + timedelta(minutes=5))
    assert take_one(store, bob, now=NOON + timedelta(minutes=14)) is None, "an answer renews the time"
    taken = take_one(store, bob, now=NOON + timedelta(minutes=15))
    assert taken != assignment
    with pytest.raises(Refused) as refused:
        save(store, ann, assignment, 1, answer(FACE), now=NOON + timedelta(minutes=16))
    assert refused.value.code == "ended"
    assert take_one(store, ann, now=NOON + timedelta(minutes=16)) is None
    assert answers(store) == 1


def test_who_was_idle_goes_on_where_he_was_if_nobody_has_his_task(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann, bob = add(store, "ann"), add(store, "bob")
    assignment = take_one(store, ann)
    save(store, ann, assignment, 0, answer(OTHER))
    late = NOON + timedelta(hours=5)
    assert save(store, ann, assignment, 1, answer(OTHER), now=late).version == 1, "nobody wanted it meanwhile"
    later = late + timedelta(hours=5)
    with store.write() as session:
        session.execute(text("UPDATE assignment SET state = 'expired'"))
    assert take_one(store, ann, now=later) == assignment
    assert [state.version for state in states(store, ann, assignment)] == [1, 1, 0, 0]
    assert take_one(store, bob, now=later) != assignment


def test_a_returned_task_is_free_again(store, tmp_path):
    make_review(store, tmp_path / "src", images=3)
    ann, bob = add(store, "ann"), add(store, "bob")
    assignment = take_one(store, ann)
    assert take_one(store, ann) == assignment
    assert take_one(store, bob) is None
    for _ in range(2):
        with store.write() as session:
            give_back(session, ann, assignment, NOON)
    assert take_one(store, bob) is not None


def test_a_paused_review_gives_no_task_but_saves(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann, bob = add(store, "ann"), add(store, "bob")
    assignment = take_one(store, ann)
    with store.write() as session:
        session.add(Event(account_id=ann.id, kind="pause", at=NOON))
    with pytest.raises(Refused) as refused:
        take_one(store, bob)
    assert refused.value.code == "paused"
    assert take_one(store, ann) == assignment
    assert save(store, ann, assignment, 0, answer(FACE)).version == 1
    with store.write() as session:
        session.add(Event(account_id=ann.id, kind="resume", at=NOON))
    assert take_one(store, bob) is not None


def test_replicas_go_to_different_workers(store, tmp_path):
    policy = SMALL.model_copy(update={"replicas": 2})
    make_review(store, tmp_path / "src", policy=policy)
    ann, bob, cem = add(store, "ann"), add(store, "bob"), add(store, "cem")
    assert sum(do_all(store, ann, policy) is not None for _ in range(9)) == 3
    assert sum(do_all(store, bob, policy) is not None for _ in range(9)) == 3
    assert do_all(store, cem, policy) is None


def test_a_third_worker_is_asked_where_two_disagree_then_a_reviewer(store, tmp_path):
    policy = SMALL.model_copy(update={"replicas": 2, "most_replicas": 3})
    make_review(store, tmp_path / "src", policy=policy)
    ann, bob, cem, dan = (add(store, name) for name in ("ann", "bob", "cem", "dan"))
    while do_all(store, ann, policy, [FACE]):
        pass
    while do_all(store, bob, policy, [OTHER]):
        pass
    with store.read() as session:
        waiting = session.scalars(select(Image.decision).where(Image.truth.is_(None)))
        assert set(waiting) == {"asked"}, "bob's last try cut the tasks for a third worker"
    assert take_one(store, ann, policy) is None, "who has answered is not asked again"
    assert do_all(store, cem, policy, [OTHER])
    while do_all(store, dan, policy, [[0.0, 0.0, 9.0, 9.0]]):
        pass
    with store.read() as session:
        decisions = dict(session.execute(select(Image.decision, func.count()).group_by(Image.decision)).all())
        exported = export_reviewed(session).to_pandas().set_index("image_id")
    assert decisions == {"adjudicate": 9, None: 3}
    assert (exported["status"] == "detected").sum() == 9


@pytest.mark.parametrize("replicas", [1, 2])
def test_many_workers_at_once_never_hold_one_slot(store, tmp_path, replicas):
    policy = SMALL.model_copy(update={"replicas": replicas})
    make_review(store, tmp_path / "src", images=24, policy=policy)
    accounts = [add(store, f"w{i}") for i in range(12)]
    errors: list[Exception] = []
    start = threading.Barrier(len(accounts))

    def work(account):
        start.wait()
        try:
            for _ in range(6):
                do_all(store, account, policy)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with store.read() as session:
        slots = session.scalar(select(func.count(Slot.id)))
        held = session.execute(
            select(Assignment.slot_id, Assignment.task_id, Assignment.account_id).where(Assignment.state.in_(LIVE))
        ).all()
        assert len(held) == slots == 8 * replicas
        assert len({(task, account) for _, task, account in held}) == len(held)
        undecided = session.scalar(select(func.count(Image.id)).where(Image.decision.is_(None), Image.truth.is_(None)))
        assert undecided == 0


def test_one_answer_sent_by_many_threads_is_kept_once(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    assignment = take_one(store, ann)
    replies, start = [], threading.Barrier(8)

    def send():
        start.wait()
        replies.append(save(store, ann, assignment, 0, answer(FACE, key="k")))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 8
    assert {reply.version for reply in replies} == {1}
    assert answers(store) == 1
