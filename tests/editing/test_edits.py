"""The file of edits: what is written is read back, and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.editing import (
    Edit,
    Edits,
    edited,
    load_edits,
    migrate_edits,
    plan_edits,
    save_edits,
)
from synesthete.editing.edits import EDIT_KINDS, parse_pairs
from synesthete.errors import SynestheteError
from tests.editing.conftest import Family, pixels

UNIT = "visual.layer4.1:3"
HASH = "ab" * 32
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def some_edit(draw: st.DrawFn) -> Edit:
    address = f"visual.layer{draw(st.integers(1, 4))}.0:{draw(st.integers(0, 99))}"
    op = draw(st.sampled_from(EDIT_KINDS))
    value = None if op == "ablate" else draw(FINITE)
    if op == "mean-ablate" and draw(st.booleans()):
        value = tuple(draw(st.lists(FINITE, min_size=1, max_size=4)))  # type: ignore[assignment]
    return Edit(address, op, value)


@settings(max_examples=30)
@given(st.lists(some_edit(), max_size=8, unique_by=lambda edit: edit.address), st.text(max_size=9))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, some: list[Edit], note: str
) -> None:
    edits = Edits(tuple(some), "mini", "ab" * 32, note)
    path = tmp_path_factory.getbasetemp() / "edits.json"
    assert load_edits(save_edits(edits, path)) == edits
    assert edits == Edits(tuple(reversed(some)), "mini", "ab" * 32, note)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a file of edits"), ({"version": 3}, "version 3; this program reads version 2"),
        ({"model": {"name": "mini"}}, "which model"), ({"edits": {}}, "no list of edits"),
        ({"edits": [{"address": UNIT}]}, "edit 1 has no address"), ({"edits": [{"address": UNIT, "op": "ablat"}]}, "did you mean 'ablate'"),
        ({"edits": [{"address": "visual", "op": "ablate"}]}, "is not a valid address"), ({"edits": [{"address": UNIT, "op": "scale"}]}, "needs a value"),
        ({"edits": [{"address": UNIT, "op": "scale", "value": "2"}]}, "not a number"), ({"edits": [{"address": UNIT, "op": "scale", "value": True}]}, "not a number"),
        ({"edits": [{"address": UNIT, "op": "scale", "value": [1, 2]}]}, "one value"), ({"edits": [{"address": UNIT, "op": "scale", "value": 10**400}]}, "more than 64 bits"),
        ({"edits": [{"address": UNIT, "op": "ablate", "value": 1}]}, "takes no value"), ({"edits": [{"address": UNIT, "op": "ablate", "why": 1}]}, "unknown field 'why'"),
        ({"edits": [{"address": UNIT, "op": "ablate"}, {"address": UNIT, "op": "scale", "value": 2}]}, "two different edits"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    whole = Edits((Edit(UNIT, "ablate"),), "mini", "ab" * 32).as_dict()
    path = tmp_path / "edits.json"
    path.write_text(json.dumps(whole | change))
    with pytest.raises(SynestheteError) as error:
        load_edits(path)
    assert message in str(error.value)


@given(st.binary(max_size=80))
def test_any_bytes_end_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.json"
    path.write_bytes(data)
    with pytest.raises(SynestheteError):
        load_edits(path)


def test_places_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    edits = Edits((), "mini", "ab" * 32)
    for path in (tmp_path, tmp_path / "nowhere" / "edits.json"):
        with pytest.raises(SynestheteError):
            save_edits(edits, path)
        with pytest.raises(SynestheteError):
            load_edits(path)


def test_edits_fit_one_model_only(family: Family) -> None:
    model, other = family("modified-resnet"), family("vit")
    edits = plan_edits(model, ablate=[UNIT])
    with pytest.raises(SynestheteError, match=r"not for .* with weights"), edited(other, edits):
        pass
    with pytest.raises(SynestheteError, match="has units 0 to 255"):
        plan_edits(model, ablate=["visual.layer4.1:256"])
    with pytest.raises(SynestheteError, match="no layer"):
        plan_edits(model, scale={"visual.layer5.0:1": 2.0})
    with pytest.raises(SynestheteError, match="images"):
        plan_edits(model, mean_ablate=[UNIT])
    with pytest.raises(SynestheteError, match="no one direction"):
        plan_edits(other, steer={"visual.transformer.resblocks.0.attn:1": 1.0})


def test_means_are_planned_for_units_and_heads(family: Family) -> None:
    model = family("vit")
    batch = pixels(model, 4)
    mlp, head = "visual.transformer.resblocks.1.mlp:5", "visual.transformer.resblocks.1.attn:2"
    edits = plan_edits(model, mean_ablate=[mlp, head], pixels=batch)
    values = {edit.address: edit.value for edit in edits.edits}
    assert isinstance(values[mlp], float)
    assert isinstance(values[head], tuple)
    assert len(values[head]) == 16
    with model.edited(edits):
        held = model.maps(batch, "visual.transformer.resblocks.1.mlp")[:, 5]
    assert float((held - values[mlp]).abs().max()) < 1e-5


@pytest.mark.parametrize(
    "text", ["visual.layer4.1:3", "=2", "visual.layer4.1:3=x", "visual.layer4.1:3=nan"]
)
def test_pairs_on_the_command_line(text: str) -> None:
    with pytest.raises(SynestheteError, match="expected ADDRESS=NUMBER"):
        parse_pairs([text], "--scale")
    with pytest.raises(SynestheteError, match="two values"):
        parse_pairs([f"{UNIT}=1", f"{UNIT}=2"], "--scale")


def test_edits_of_version_1_are_migrated(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    old = {
        "format": "synesthete-edits",
        "version": 1,
        "model": {"name": "mini", "weights_sha256": HASH},
        "note": "as written by version 1",
        "edits": [
            {"address": UNIT, "do": "ablate"},
            {"address": "visual.layer4.1:5", "do": "scale", "value": 0.5},
        ],
    }
    path.write_text(json.dumps(old))
    with pytest.raises(SynestheteError) as caught:
        load_edits(path)
    assert caught.value.hint == f"run: synesthete migrate {path}"
    assert migrate_edits(path) == (1, 2)
    edits = load_edits(path)
    assert [(edit.op, edit.value) for edit in edits.edits] == [("ablate", None), ("scale", 0.5)]
    assert edits.note == old["note"]
    before = path.read_bytes()
    assert migrate_edits(path) == (2, 2)
    assert path.read_bytes() == before
    damaged = json.dumps({**old, "edits": [{"address": UNIT, "do": "explode"}]})
    path.write_text(damaged)
    with pytest.raises(SynestheteError, match="explode"):
        migrate_edits(path)
    assert path.read_text() == damaged
