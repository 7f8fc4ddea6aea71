"""The queue asks once, people decide, nothing is overwritten, and a changed trail shows."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from synesthete.errors import SynestheteError
from synesthete.reviews.acts import Act, Log
from synesthete.reviews.cases import Policy, Queue, policy_of, set_policy


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def ask(queue: Queue, reference: str = "r1", confidence: float = 0.4) -> str:
    payload = {"reference": reference, "proposal": "pear", "choices": ["pear", "apple"]}
    return queue.add(
        "classify", payload, reason="two labels are about as likely", confidence=confidence
    )


def test_the_same_case_has_one_ticket(queue: Queue) -> None:
    first, again = ask(queue), ask(queue)
    assert first == again
    (case,) = queue.cases()
    assert (case.count, case.open, case.proposal) == (2, True, "pear")
    assert ask(queue, "r2") != first


def test_decisions_become_labels(queue: Queue) -> None:
    one, two, three = (ask(queue, f"r{i}") for i in range(3))
    queue.decide(one, "accept", actor="ann")
    queue.decide(two, "override", actor="ben", label="  quince ")
    queue.decide(three, "dismiss", actor="ben", note="blurred")
    assert {(x.reference, x.label, x.by) for x in queue.labels()} == {
        ("r0", "pear", ("ann",)),
        ("r1", "quince", ("ben",)),
    }
    assert queue.labels("suggest") == []
    assert queue.cases(waiting=True) == []
    assert queue.case(three).notes == ["blurred"]


def test_disagreement_waits_until_there_is_a_majority(queue: Queue) -> None:
    ticket = ask(queue)
    queue.decide(ticket, "accept", actor="ann")
    assert queue.decide(ticket, "override", actor="ben", label="apple").open
    assert queue.labels() == []
    assert queue.cases(waiting=True)[0].disputed
    assert queue.decide(ticket, "override", actor="cleo", label="apple").label() == "apple"
    # A change of mind: the last word of each counts, the earlier one stays in the trail.
    queue.decide(ticket, "override", actor="ann", label="apple")
    assert not queue.case(ticket).disputed
    assert [act.kind for act in queue.trail.read(ticket)] == ["ask", "accept", *["override"] * 3]


def test_the_least_sure_wait_first(queue: Queue) -> None:
    for place, confidence in enumerate((0.5, 0.1, float("nan"), 0.3)):
        ask(queue, f"r{place}", confidence)
    assert [case.confidence for case in queue.cases(waiting=True)] == [0.0, 0.1, 0.3, 0.5]


@pytest.mark.parametrize(
    ("verdict", "label", "actor", "message"),
    [
        ("override", "", "ann", "needs a label"),
        ("accept", "apple", "ann", "takes no label"),
        ("acept", "", "ann", "no such verdict"),
        ("override", "a\u0007b", "ann", "printable"),
        ("override", "x" * 201, "ann", "at most 200"),
        ("dismiss", "", " ", "who did it"),
        ("dismiss", "", "machine", "does not decide"),
    ],
)
def test_wrong_decisions_are_refused(
    queue: Queue, verdict: str, label: str, actor: str, message: str
) -> None:
    ticket = ask(queue)
    with pytest.raises(SynestheteError, match=message):
        queue.decide(ticket, verdict, actor=actor, label=label)  # type: ignore[arg-type]
    assert queue.case(ticket).verdicts == {}


def test_unknown_tickets_and_cases_without_json(queue: Queue) -> None:
    with pytest.raises(SynestheteError, match="no case"):
        queue.decide("nope", "accept", actor="ann")
    with pytest.raises(SynestheteError, match="JSON"):
        queue.add("suggest", {"image": b"x"}, reason="", confidence=0)
    with pytest.raises(SynestheteError, match="at most 100,000"):
        queue.add("suggest", {"text": "x" * 200_000}, reason="", confidence=0)
    bare = queue.add("align", {}, reason="unsure", confidence=0.5)
    with pytest.raises(SynestheteError, match="nothing to accept"):
        queue.decide(bare, "accept", actor="ann")


def test_the_trail_refuses_changes_and_shows_those_from_elsewhere(
    queue: Queue, tmp_path: Path
) -> None:
    ticket = ask(queue)
    queue.decide(ticket, "override", actor="ann", label="apple")
    assert queue.trail.verify() == 2
    with sqlite3.connect(tmp_path / "people.sqlite") as connection:
        for statement in ("UPDATE acts SET rater = 'eve'", "DELETE FROM acts"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                connection.execute(statement)
        connection.execute("DROP TRIGGER acts_stay")
        connection.execute(
            "UPDATE acts SET value = replace(value, 'apple', 'poison') WHERE kind = 'override'"
        )
    with pytest.raises(SynestheteError, match="changed at act 2"):
        queue.trail.verify()


def test_many_people_at_once(tmp_path: Path) -> None:
    ticket = ask(Queue(tmp_path))

    def work(name: str) -> None:
        mine = Queue(tmp_path)
        for _ in range(5):
            mine.decide(ticket, "override", actor=name, label="apple")

    threads = [threading.Thread(target=work, args=(f"person {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue = Queue(tmp_path)
    assert queue.trail.verify() == 21
    assert len(queue.case(ticket).verdicts) == 4


def test_policy_is_set_by_people_and_stays_in_the_trail(queue: Queue) -> None:
    assert policy_of(queue.trail, "suggest").set_by == "machine"
    set_policy(queue.trail, "suggest", threshold=0.9, actor="ann")
    set_policy(queue.trail, "suggest", threshold=0.8, audit=0.2, actor="ben")
    assert policy_of(queue.trail, "suggest") == Policy(0.8, 0.2, "ben")
    assert policy_of(queue.trail, "classify") == Policy()
    assert len(queue.trail.read("policy suggest")) == 2
    with pytest.raises(SynestheteError, match="within 0 to 1"):
        set_policy(queue.trail, "suggest", threshold=1.5, actor="ann")
    assert queue.cases() == []


def test_audits_take_their_share_by_lot() -> None:
    policy = Policy(0.5, audit=0.2)
    drawn = [policy.what(0.9, f"r{i}") for i in range(2000)]
    assert abs(drawn.count("audit") / 2000 - 0.2) < 0.03
    assert drawn == [policy.what(0.7, f"r{i}") for i in range(2000)]
    assert {policy.what(0.49, f"r{i}") for i in range(50)} == {"ask"}


def test_a_queue_that_goes_on_is_one_that_is_opened_now(tmp_path: Path) -> None:
    """Cases that are kept between calls are those of the log, whoever writes it."""
    kept, other = Queue(tmp_path), Queue(tmp_path)
    rng = random.Random(0)
    tickets: list[str] = []

    def check() -> None:
        fresh = Queue(tmp_path)
        for which in (None, True, False):
            expected = [case.as_dict() for case in fresh.cases(waiting=which)]
            assert [case.as_dict() for case in kept.cases(waiting=which)] == expected
        assert kept.waiting() == len(fresh.cases(waiting=True))

    check()
    for number in range(60):
        writer = rng.choice((kept, other))
        what = rng.choice(("ask", "decide", "policy", "forget", "nothing"))
        if what == "ask" or not tickets:
            tickets.append(ask(writer, f"r{rng.randrange(20)}", rng.random()))
        elif what == "decide":
            verdict, label = rng.choice((("accept", ""), ("override", "fig"), ("dismiss", "")))
            writer.decide(rng.choice(tickets), verdict, actor=rng.choice("abc"), label=label)  # type: ignore[arg-type]
        elif what == "policy":
            set_policy(writer.trail, "suggest", threshold=0.5, actor="ann")
        elif what == "forget" and number % 5 == 0:
            writer.forget("r3")
            tickets = [case.ticket for case in Queue(tmp_path).cases()]
        check()


def test_a_log_is_read_again_only_for_what_is_new(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ask(queue, "r1"), ask(queue, "r2")
    assert queue.waiting() == 2
    reads: list[str | None] = []
    read = Log.read

    def counted(self: Log, address: str | None = None) -> list[Act]:
        reads.append(address)
        return read(self, address)

    monkeypatch.setattr(Log, "read", counted)
    assert [len(queue.cases()), queue.waiting()] == [2, 2]
    assert reads == []
    queue.decide(one, "dismiss", actor="ann")
    reads.clear()
    assert (queue.waiting(), [case.ticket for case in queue.cases(waiting=True)]) == (1, [two])
    assert reads == [one]


def test_another_log_in_its_place_is_read_as_a_whole(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, second = Queue(tmp_path / "a"), Queue(tmp_path / "b")
    ask(first, "r1")
    ask(second, "r2")
    assert first.waiting() == 1
    for file in (tmp_path / "a").glob("people.sqlite*"):
        file.unlink()
    for file in (tmp_path / "b").glob("people.sqlite*"):
        shutil.copy(file, tmp_path / "a" / file.name)
    assert [case.payload["reference"] for case in first.cases()] == ["r2"]
