"""One log for neurons and for cases of a catalogue: the same acts, fold, exchange and agreement; an old log is carried over whole."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from synesthete._core.sqlite import AppendOnly
from synesthete.cli import main
from synesthete.errors import SynestheteError
from synesthete.reviews import agreement, export_reviews, import_reviews, log_of, ratings
from synesthete.reviews.acts import CASES, NEURONS, Log, check
from synesthete.reviews.cases import Queue, policy_of, set_policy, trail_row
from tests.small_atlas import record_small

DATA = (
    Path(__file__).parent / "data"
)  # a queue that the last code of format 1 wrote, and what it read from it
WRITTEN = json.loads((DATA / "people-1.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "my.catalog"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "people.sqlite")) as connection:
        connection.executescript((DATA / "people-1.sql").read_text(encoding="utf-8"))
    return folder


@pytest.fixture
def decided(tmp_path: Path) -> Path:
    folder = tmp_path / "decided"
    folder.mkdir()
    queue = Queue(folder)
    for number in range(4):
        payload = {"reference": f"r{number}", "proposal": "pear"}
        ticket = queue.add("classify", payload, reason="unsure", confidence=number / 10)
        queue.decide(ticket, "accept", actor="ann")
        label = "apple" if number == 0 else "quince"
        queue.decide(ticket, "override", actor="ben", label=label, note="=look")
    set_policy(queue.trail, "suggest", threshold=1, audit=0.5, actor="ann")
    return folder


def everything(folder: Path) -> dict[str, object]:
    queue = Queue(folder)
    return {
        "cases": [case.as_dict() for case in queue.cases()],
        "labels": [json.loads(json.dumps(asdict(label))) for label in queue.labels()],
        "policy": asdict(policy_of(queue.trail, "suggest")),
        "acts": [trail_row(*entry) for entry in queue.trail.entries()],
    }


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "people.sqlite")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_old_queue_is_refused_with_what_to_do(old: Path) -> None:
    with pytest.raises(SynestheteError) as caught:
        Queue(old)
    assert "people.sqlite is of format 1, older than this program's 2" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == f"run: synesthete migrate {old}"
    with pytest.raises(SynestheteError, match="of format 1"):
        Log(old, CASES).say("again", "0" * 16, rater="machine", value={})
    assert version(old) == 1


def test_a_migrated_queue_gives_what_the_old_code_read_from_it(old: Path) -> None:
    """Cases, labels, thresholds, and the trail with every value of its chain."""
    assert Log(old, CASES).migrate() == (1, 2)
    assert everything(old) == WRITTEN
    queue = Queue(old)
    assert queue.trail.verify() == len(WRITTEN["acts"]) == 11
    queue.decide(WRITTEN["cases"][0]["ticket"], "dismiss", actor="dan")
    assert queue.trail.verify() == 12
    assert queue.trail.entries()[-1][0] == 12
    assert {act.id for act in queue.trail.read()} >= {a["chain"][:32] for a in WRITTEN["acts"]}


def test_migrating_again_changes_nothing(old: Path) -> None:
    Log(old, CASES).migrate()
    assert Log(old, CASES).migrate() == (2, 2)
    assert everything(old) == WRITTEN


def test_what_was_tampered_with_before_still_shows_afterwards(old: Path) -> None:
    with sqlite3.connect(old / "people.sqlite") as connection:
        connection.execute("DROP TRIGGER acts_stay")
        connection.execute("UPDATE acts SET actor = 'eve' WHERE place = 7")
    Log(old, CASES).migrate()
    with pytest.raises(SynestheteError, match="changed at act 7"):
        Queue(old).trail.verify()


def test_stopped_halfway_it_is_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("synesthete.reviews.acts._FILL", ("INSERT INTO nowhere VALUES (1)",))
        with pytest.raises(SynestheteError, match="nowhere"):
            Log(old, CASES).migrate()
    assert version(old) == 1
    assert Log(old, CASES).migrate() == (1, 2)
    assert everything(old) == WRITTEN


def test_the_command_migrates_a_queue(old: Path) -> None:
    command = [sys.executable, "-m", "synesthete", "migrate", str(old), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"before": 1, "after": 2, "reviews": 11}
    assert everything(old) == WRITTEN


def test_other_logs_are_never_too_old(tmp_path: Path) -> None:
    file = AppendOnly(tmp_path / "x.sqlite", ["CREATE TABLE x (a TEXT)"], tables=("x",))
    with file.reading() as nothing:
        assert nothing is None
    with file.writing() as connection:
        connection.execute("INSERT INTO x VALUES ('a')")
    assert file.migrate(["DROP TABLE x"], []) == (1, 1)
    with file.reading() as connection:
        assert connection is not None
        assert connection.execute("SELECT a FROM x").fetchall() == [("a",)]


def test_a_folder_knows_its_subjects(decided: Path, tmp_path: Path) -> None:
    assert log_of(decided).subjects is CASES
    assert log_of(tmp_path).subjects is NEURONS
    # Catalogues in which nobody has decided anything yet, of today's format and the one before.
    for name in ("catalog.json", "catalog.sqlite"):
        (tmp_path / name).touch()
        assert log_of(tmp_path).subjects is CASES
        (tmp_path / name).unlink()


def test_cases_go_from_one_catalogue_to_another_and_back(decided: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(decided, other)
    mine, yours = Queue(decided), Queue(other)
    ticket = mine.cases()[0].ticket
    yours.decide(ticket, "override", actor="cleo", label="apple")
    mine.decide(ticket, "override", actor="dan", label="fig", note="a\nb")
    assert export_reviews(decided, tmp_path / "mine.jsonl") == 14
    export_reviews(other, tmp_path / "yours.jsonl")
    for folder, file in ((decided, "yours.jsonl"), (other, "mine.jsonl"), (other, "mine.jsonl")):
        done = import_reviews(folder, tmp_path / file)
        assert done.aside == {}
    assert (done.added, done.known) == (0, 14)
    assert mine.trail.verify() == yours.trail.verify() == 15
    assert mine.trail.read() == yours.trail.read()
    assert [case.as_dict() for case in mine.cases()] == [case.as_dict() for case in yours.cases()]
    assert mine.case(ticket).label() == "apple"
    assert policy_of(yours.trail, "suggest").audit == 0.5


def test_a_spreadsheet_of_cases_has_no_formula(decided: Path, tmp_path: Path) -> None:
    log_of(decided).say(
        "policy", "policy align", rater="=ann", value={"threshold": 0.1, "audit": 0}
    )
    export_reviews(decided, tmp_path / "out.csv")
    assert ",'=ann," in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("accept", {"value": "yes"}, "not valid JSON|is not JSON|JSON"),
        ("accept", {"value": '{"label": ""}'}, "needs label, note"),
        ("accept", {"value": '{"label": 3, "note": ""}'}, "label of accept is not valid"),
        ("accept", {"value": '{"label": "x", "note": ""}'}, "takes no label"),
        ("override", {"value": '{"label": "", "note": ""}'}, "needs a label"),
        ("override", {"value": json.dumps({"label": "x", "note": "y" * 2001})}, "at most 2,000"),
        ("ask", {"value": "{}"}, "ask needs kind"),
        ("policy", {"value": '{"audit": 0, "threshold": 2}'}, "threshold of policy"),
        ("policy", {"value": '{"audit": true, "threshold": "1"}'}, "threshold of policy"),
        ("accept", {"rater": "Machine"}, "does not decide"),
        ("accept", {"address": "visual.layer4.1:12"}, "not a valid address"),
        ("accept", {"kind": "rename"}, "no such kind"),
        ("accept", {"image": "0" * 64}, "takes no image"),
        ("accept", {"id": "x"}, "damaged id"),
    ],
)
def test_acts_on_cases_are_checked(
    decided: Path, kind: str, changes: dict[str, str], message: str
) -> None:
    acts = Log(decided, CASES).read()
    act = next(act for act in acts if act.kind == kind)
    check(act, CASES)
    with pytest.raises(SynestheteError, match=message):
        check(replace(act, **changes), CASES)


def test_files_of_neurons_and_of_cases_are_not_mixed_up(decided: Path, tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    atlas.mkdir()
    export_reviews(decided, tmp_path / "cases.jsonl")
    with pytest.raises(SynestheteError, match="not of the schema synesthete-reviews-1"):
        import_reviews(atlas, tmp_path / "cases.jsonl")
    Log(atlas).say("note", "layer:0", rater="ann", value="x")
    export_reviews(atlas, tmp_path / "neurons.jsonl")
    with pytest.raises(SynestheteError, match="not of the schema synesthete-cases-1"):
        import_reviews(decided, tmp_path / "neurons.jsonl")


def test_an_act_put_in_beside_the_chain_shows(decided: Path) -> None:
    queue = Queue(decided)
    act = replace(queue.trail.read()[-1], id="f" * 32)
    with sqlite3.connect(decided / "people.sqlite") as connection:
        marks = ", ".join("?" * len(asdict(act)))
        connection.execute(f"INSERT INTO acts VALUES ({marks})", tuple(asdict(act).values()))
    with pytest.raises(SynestheteError, match="acts that nothing links"):
        queue.trail.verify()


def test_agreement_of_those_who_decide_cases(decided: Path) -> None:
    given = ratings(decided)
    assert given["labels"] == {}
    assert sorted(map(str, given["verdicts"].values())) == [
        "{'ann': 'accept', 'ben': 'override apple'}",
        *["{'ann': 'accept', 'ben': 'override quince'}"] * 3,
    ]
    queue = Queue(decided)
    for case in queue.cases():
        queue.decide(case.ticket, "override", actor="ann", label=case.verdicts["ben"][1])
    found = agreement(ratings(decided)["verdicts"])
    assert (found.alpha, found.percent, found.items, found.raters) == (1.0, 1.0, 4, 2)


def test_agreement_counts_what_belongs_to_the_atlas(tmp_path: Path) -> None:
    from synesthete import reviews
    from synesthete.atlas import open_atlas

    path = record_small(tmp_path)
    where = f"{open_atlas(path).layers[0]}:0"
    mine = reviews.say(path, "accept", where, rater="ann")
    reviews.say(path, "rename", where, rater="ben", value="fig")
    reviews.say(path, "note", where, rater="cleo", value="odd")
    reviews.append(path, [replace(mine, id="1" * 32, rater="dan", weights="0" * 64)])
    assert ratings(path)["verdicts"][where] == {"ann": "accept", "ben": "rename fig"}


def test_the_commands_take_a_catalogue(
    decided: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["synesthete", "reviews", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return int(str(code or 0)), *capsys.readouterr()

    code, out, _ = run("agreement", decided, "--json")
    assert (code, json.loads(out)["verdicts"]["items"]) == (0, 4)
    file, other = tmp_path / "cases.jsonl", tmp_path / "other.catalog"
    assert "13 reviews written" in run("export", decided, file)[1]
    other.mkdir()
    code, _, error = run("import", other, file)
    assert (code, "is no atlas" in " ".join(error.split())) == (2, True)
    assert not (other / "reviews.sqlite").exists()
    (other / "catalog.sqlite").touch()
    assert "13 reviews added, 0 known before" in run("import", other, file)[1]
    assert everything(other) == everything(decided) | {"acts": everything(other)["acts"]}
    assert Queue(other).trail.verify() == 13
