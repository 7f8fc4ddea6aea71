"""Reviews: nothing said is ever lost or changed, by whoever, from wherever, in whatever order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthete.analysis.conditional import conditional
from synesthete.atlas import open_atlas, write_unit_tables
from synesthete.atlas.manifest import read_manifest, write_manifest
from synesthete.errors import SynestheteError
from synesthete.reviews import (
    Act,
    agreement,
    append,
    current,
    export_reviews,
    foreign,
    import_reviews,
    labels,
    queue,
    read,
    request_review,
    say,
    session,
)
from synesthete.reviews.queue import WEIGHTS
from tests.small_atlas import record_small, write_known_analysis


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("small"))
    write_known_analysis(path)
    return path


@pytest.fixture
def atlas(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "small.atlas"))


def address(path: Path, unit: int = 0) -> str:
    return f"{open_atlas(path).layers[0]}:{unit}"


def act(number: int, *, rater: str = "ann", kind: str = "note", value: str = "x") -> Act:
    at = f"2026-01-01T00:00:{number % 60:02d}.{number:06d}+00:00"
    return Act(
        id=f"{number:032x}",
        at=at,
        rater=rater,
        fingerprint="f" * 64,
        weights="w" * 64,
        address="layer:0",
        kind=kind,
        value=value,
    )


def test_what_most_people_say_stands_over_the_machine(atlas: Path) -> None:
    where = address(atlas)
    say(atlas, "accept", where, rater="ann")
    say(atlas, "rename", where, rater="ben", value="red fruit")
    state = current(open_atlas(atlas))[where]
    assert state.disputed
    assert state.as_dict("apple")["name"] == "red fruit"  # of a tie the last
    say(atlas, "rename", where, rater="ann", value="red fruit")
    state = current(open_atlas(atlas))[where]
    assert not state.disputed
    assert state.as_dict("apple") | {"name": "red fruit", "machine_name": "apple"} == state.as_dict(
        "apple"
    )
    say(atlas, "reject", where, rater="cleo")
    say(atlas, "flag", where, rater="ben", value="religion")
    say(atlas, "unflag", where, rater="cleo")
    assert current(open_atlas(atlas))[where].flags == {"ben": "religion"}
    assert len(read(atlas)) == 6


def test_no_review_can_be_changed_or_deleted(atlas: Path) -> None:
    say(atlas, "note", address(atlas), rater="ann", value="look")
    with sqlite3.connect(atlas / "reviews.sqlite") as connection:
        for statement in ("UPDATE acts SET value = 'x'", "DELETE FROM acts"):
            with pytest.raises(sqlite3.DatabaseError, match="never"):
                connection.execute(statement)
    assert [one.value for one in read(atlas)] == ["look"]


def test_a_run_of_the_machine_leaves_peoples_words_alone(atlas: Path) -> None:
    say(atlas, "rename", address(atlas), rater="ann", value="mine")
    before = read(atlas)
    write_known_analysis(atlas)
    table = pa.table({"unit": [0], "rank": [0], "name": ["apple"], "method": ["auc"], "score": [1.0],
                      "confidence": [0.9], "confidence_low": [0.8], "confidence_high": [0.95]})  # fmt: skip
    write_unit_tables(atlas, "names", {open_atlas(atlas).layers[0]: table}, {})
    assert read(atlas) == before
    assert not open_atlas(atlas).verify()


WRITER = """
import sys
from synesthete.reviews import say
for number in range(int(sys.argv[4])):
    say(sys.argv[1], "note", sys.argv[2], rater=sys.argv[3], value=str(number))
    print(number, flush=True)
"""


def writer(atlas: Path, rater: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(atlas), address(atlas), rater, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_people_at_once_lose_nothing(atlas: Path) -> None:
    people = [writer(atlas, rater, 25) for rater in ("ann", "ben")]
    assert [person.wait(timeout=600) for person in people] == [0, 0]
    notes = [(one.rater, one.value) for one in read(atlas)]
    assert sorted(notes) == sorted((r, str(n)) for r in ("ann", "ben") for n in range(25))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_kill_loses_no_review(atlas: Path) -> None:
    person = writer(atlas, "ann", 100_000)
    assert person.stdout is not None
    printed = [int(person.stdout.readline()) for _ in range(12)]
    time.sleep(0.05)
    person.send_signal(signal.SIGKILL)
    rest = person.stdout.read()
    person.wait()
    printed += [int(line) for line in rest.split("\n") if line.strip()]
    kept = [int(one.value) for one in read(atlas)]
    assert kept == list(range(len(kept)))
    assert len(printed) <= len(kept) <= len(printed) + 1
    say(atlas, "note", address(atlas), rater="ann", value="on")


def test_reviews_of_another_model_are_kept_and_not_counted(atlas: Path) -> None:
    where = address(atlas)
    mine = say(atlas, "accept", where, rater="ann")
    append(atlas, [replace(mine, id="1" * 32, weights="0" * 64, rater="ben")])
    append(atlas, [replace(mine, id="2" * 32, address=where.rpartition(":")[0] + ":99999")])
    append(atlas, [replace(mine, id="3" * 32, fingerprint="0" * 64, rater="cleo")])
    opened = open_atlas(atlas)
    assert {one.id for one in foreign(opened)} == {"1" * 32, "2" * 32}
    # Other probe images, same weights: the same unit.
    assert set(current(opened)[where].verdicts) == {"ann", "cleo"}


text = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.lists(st.integers(0, 30), max_size=8),
    second=st.lists(st.integers(0, 30), max_size=8),
    value=text,
)
def test_merging_two_peoples_files_is_the_same_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int], value: str
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    files = []
    for name, numbers in (("a", first), ("b", second)):
        (folder / name).mkdir()
        append(folder / name, [act(number, value=value) for number in numbers])
        files.append(folder / f"{name}.jsonl")
        export_reviews(folder / name, files[-1])
    for name, order in (("ab", files), ("ba", [*files[::-1], files[0]])):
        (folder / name).mkdir()
        for file in order:
            if file.read_text():
                import_reviews(folder / name, file)
    assert read(folder / "ab") == read(folder / "ba")
    assert {one.id for one in read(folder / "ab")} == {act(n).id for n in first + second}
    assert all(one.value == value for one in read(folder / "ab"))


def test_lines_that_are_no_reviews_are_set_aside(atlas: Path, tmp_path: Path) -> None:
    good = json.dumps({"schema": "synesthete-reviews-1", **act(1).as_dict()})
    bad = [
        "{",
        "[]",
        json.dumps({"schema": "other", **act(2).as_dict()}),
        json.dumps({"schema": "synesthete-reviews-1", **act(3).as_dict(), "more": "x"}),
        json.dumps({"schema": "synesthete-reviews-1", **act(4).as_dict(), "kind": "shout"}),
        json.dumps({"schema": "synesthete-reviews-1", **act(5).as_dict(), "at": "yesterday"}),
        json.dumps({"schema": "synesthete-reviews-1", **act(6).as_dict(), "value": "a\x00b"}),
        json.dumps({"schema": "synesthete-reviews-1", **act(7).as_dict(), "value": 7}),
        "x" * 30_000,
    ]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join([good, *bad, "", good]), encoding="utf-8")
    done = import_reviews(atlas, file)
    assert (done.added, done.known) == (1, 1)
    assert sorted(done.aside) == list(range(2, 11))
    file.write_text("what,is,this\n", encoding="utf-8")
    with pytest.raises(SynestheteError, match="holds no reviews: line 1"):
        import_reviews(atlas, file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SynestheteError, match="UTF-8"):
        import_reviews(atlas, file)
    with pytest.raises(SynestheteError, match="cannot be read"):
        import_reviews(atlas, tmp_path / "none.jsonl")


def test_a_spreadsheet_gets_no_formula(atlas: Path, tmp_path: Path) -> None:
    say(atlas, "note", address(atlas), rater="ann", value="=1+1")
    assert export_reviews(atlas, tmp_path / "out.csv") == 1
    assert ",'=1+1," in (tmp_path / "out.csv").read_text()
    with pytest.raises(SynestheteError, match="must end in"):
        export_reviews(atlas, tmp_path / "out.xlsx")


@pytest.mark.parametrize(
    ("kind", "where", "options", "message"),
    [
        ("accept", "visual.layer4.0:999999", {}, "no unit 999999"),
        ("accept", "nowhere:1", {}, "no layer 'nowhere'"),
        ("accept", "pear", {}, "not a valid address"),
        ("accept", "boat", {}, "names 63 neurons"),
        ("rename", None, {"value": "  "}, "needs a text"),
        ("rename", None, {"value": "x" * 300}, "at most 200"),
        ("note", None, {"value": "a\x07b"}, "control characters"),
        ("accept", None, {"value": "yes"}, "takes no text"),
        ("shout", None, {}, "no such kind"),
        ("accept", None, {"rater": " "}, "needs a rater"),
        ("label", None, {"value": "yes"}, "hash of an image"),
        ("label", None, {"value": "yes", "image": 10**6}, "no image 1000000"),
    ],
)
def test_invalid_reviews_are_refused(atlas: Path, kind: str, where: str | None, options: dict, message: str) -> None:  # fmt: skip
    with pytest.raises(SynestheteError, match=message):
        say(atlas, kind, where or address(atlas), **{"rater": "ann", **options})
    assert read(atlas) == []


def test_a_newer_file_is_refused(atlas: Path) -> None:
    say(atlas, "accept", address(atlas), rater="ann")
    with sqlite3.connect(atlas / "reviews.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SynestheteError, match="newer than this program"):
        read(atlas)


def test_the_queue_asks_first_what_would_settle_most(atlas: Path) -> None:
    opened = open_atlas(atlas)
    layer = opened.layers[0]
    spread = opened.statistics(layer).std
    rows = {
        "unit": [0, 1, 3, 4, 5],
        "rank": [0] * 5,
        "name": list("abcde"),
        "method": ["auc"] * 5,
        "score": [1.0] * 5,
        "confidence": [0.9] * 5,
        "confidence_low": [0.85, 0.70, 0.85, 0.85, 0.79],
        "confidence_high": [0.95, 0.90, 0.95, 0.95, 0.99],
    }
    notes = {"layers": {layer: {"threshold": 0.8}}}
    write_unit_tables(atlas, "names", {layer: pa.table(rows)}, notes)
    request_review(atlas, f"{layer}:6", "no name held")
    say(atlas, "accept", f"{layer}:3", rater="ann")
    say(atlas, "reject", f"{layer}:3", rater="ben")
    say(atlas, "accept", f"{layer}:4", rater="ann")
    items = {item.address: item for item in queue(open_atlas(atlas))}
    order = [int(item.address.rpartition(":")[2]) for item in queue(open_atlas(atlas))]
    assert order[:2] == [6, 3]
    assert set(order) == {0, 1, 3, 5, 6}  # 4 is settled
    assert items[f"{layer}:1"].why["undecided"] == pytest.approx(1.0)
    assert items[f"{layer}:5"].why["undecided"] == pytest.approx(0.1)
    assert items[f"{layer}:0"].why["undecided"] == 0.0
    for item in items.values():
        assert item.score == pytest.approx(sum(WEIGHTS[k] * v for k, v in item.why.items()))
    ranks = np.argsort(np.argsort(spread)) / (len(spread) - 1)
    assert items[f"{layer}:0"].why["use"] == pytest.approx(ranks[0])
    assert len(queue(open_atlas(atlas), limit=2)) == 2


def test_blind_labels_spread_over_the_range_and_feed_the_curves(atlas: Path) -> None:
    where = address(atlas)
    opened = open_atlas(atlas)
    images = session(opened, where, bins=4, per_bin=2, seed=3)
    assert images == session(opened, where, bins=4, per_bin=2, seed=3)
    assert len(images) == len(set(images))
    values = opened.activations(opened.layers[0])[:, 0].astype(float)
    low, high = values.min(), values.max()
    place = np.minimum(((values - low) / (high - low) * 4).astype(int), 3)
    for one in range(4):
        assert (place[images] == one).sum() >= min(2, (place == one).sum())
    for image in images:
        say(atlas, "label", where, rater="ann", value="yes", image=image, question="apple?")
        say(atlas, "label", where, rater="ben", value="yes" if image % 2 else "no", image=image,
            question="apple?")  # fmt: skip
    given = labels(open_atlas(atlas), where, "apple?")
    assert given == {image: "yes" for image in images if image % 2}
    if len({values[i] for i in given}) > 1:
        found = conditional(open_atlas(atlas), where, labels=given, bins=2)
        assert sum(found.images) == len(given)
    assert labels(open_atlas(atlas), where, "pear?") == {}


def test_krippendorffs_own_example() -> None:
    # Krippendorff 2011, section C: four observers, twelve units, nominal: alpha = 0.743.
    rows = {
        "A": "1 2 3 3 2 1 4 1 2 . . .", "B": "1 2 3 3 2 2 4 1 2 5 . 3",
        "C": ". 3 3 3 2 3 4 2 2 5 1 .", "D": "1 2 3 3 2 4 4 1 2 5 1 .",
    }  # fmt: skip
    given: dict[str, dict[str, str]] = {}
    for rater, line in rows.items():
        for unit, label in enumerate(line.split()):
            if label != ".":
                given.setdefault(str(unit), {})[rater] = label
    found = agreement(given)
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert found.low < found.alpha < found.high
    assert (found.items, found.raters) == (11, 4)
    assert np.isnan(agreement({}).alpha)
    assert np.isnan(agreement({"a": {"x": "yes", "y": "yes"}}).alpha)


def test_a_unit_that_a_newer_atlas_lacks_is_reported(atlas: Path) -> None:
    say(atlas, "accept", address(atlas, 5), rater="ann")
    manifest = read_manifest(atlas)
    manifest["layers"][0]["units"] = 3
    opened = open_atlas(atlas)
    opened._layers = {entry["name"]: entry for entry in manifest["layers"]}
    assert [one.address for one in foreign(opened)] == [address(atlas, 5)]
    assert current(opened) == {}
    write_manifest(atlas, read_manifest(atlas))
