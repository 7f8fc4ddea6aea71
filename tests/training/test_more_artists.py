"""Icon sets beyond the probe set's: whose icons are a concept's, and that none is one that evaluation holds out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("cv2")

from training import more_artists, needs, sources, tables, words


def _set(root: Path, name: str, icons: dict[str, dict[str, object]]) -> None:
    folder = root / "@iconify-json" / name
    folder.mkdir(parents=True)
    (folder / "icons.json").write_text(json.dumps({"icons": icons}))


def test_an_icon_is_a_concepts_by_its_name_or_its_icons_names(tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_text(
        "concept\tfamily\tmodality\tartist\titem\n"
        "fried egg\tfood\tsymbol\tmdi\tnpm:mdi:egg-fried\n"
        "pig\tanimal\tsymbol\tmdi\tnpm:mdi:piggy\n"
        "boar\tanimal\tsymbol\ttabler\tnpm:tabler:piggy\n"
        "house\tplace\tdrawing\tnoto\tnpm:noto:home\n"
    )
    many: dict[str, dict[str, object]] = {f"house-{size}": {"body": ""} for size in range(16, 24)}
    _set(tmp_path, "fluent-color", {"egg-fried-24": {"body": ""}, **many})
    _set(
        tmp_path,
        "bi",
        {
            "fried-egg-fill": {"body": ""},
            "piggy": {"body": ""},  # two concepts' icons are called so
            "home": {"body": ""},  # only a drawing is
            "house": {"body": "", "hidden": True},
            "18-house": {"body": ""},  # a number that begins a name belongs to it
        },
    )
    found = more_artists.find(tmp_path, table)
    assert [(r.concept, r.modality, r.key) for r in found if r.concept == "fried egg"] == [
        ("fried egg", "drawing", "npm:fluent-color:egg-fried-24"),
        ("fried egg", "symbol", "npm:bi:fried-egg-fill"),
    ]
    rest = [r for r in found if r.concept != "fried egg"]
    assert [r.concept for r in rest] == ["house"] * more_artists.MOST
    assert {r.set for r in rest} == {"fluent-color"}


def test_the_list_is_of_known_concepts_known_sets_and_nothing_held_out() -> None:
    curated = Path(sources.__file__).parent / "build_concepts"
    concepts = {row["concept"] for row in tables.rows(curated / "concepts.tsv")}
    sets = {row["set"]: int(row["images"]) for row in more_artists.sets()}
    rows = more_artists.listed()
    assert {row.concept for row in rows} <= concepts
    assert set(sets) <= {*more_artists.DRAWN, *more_artists.SYMBOLS}
    assert not set(sets) & {*sources.HELD_OUT_SETS, *sources.DRAWN, *sources.SYMBOLS}
    assert len({(row.concept, row.key) for row in rows}) == len(rows)
    wanted = {package.rpartition("@")[0] for package in more_artists.npm_packages()}
    assert wanted == {f"@iconify-json/{name}" for name in sets}
    for name, images in sets.items():
        own = [row for row in rows if row.set == name]
        assert len(own) == images
        kind = "drawing" if name in more_artists.DRAWN else "symbol"
        assert {row.modality for row in own} == {kind}


def test_the_fonts_of_training_are_licensed_and_none_is_held_out() -> None:
    curated = Path(sources.__file__).parent / "build_concepts"
    probes = {row["package"] for row in tables.rows(curated / "fonts.tsv")}
    fonts = words.more_fonts()
    names = [row["package"] for row in fonts]
    assert len(set(names)) == len(names)
    assert not set(names) & probes
    # Caveat Brush is by Caveat's hand.
    assert not [n for n in names if n.partition("/")[2].startswith(("caveat", "eb-", "zilla"))]
    assert {row["licence"] for row in fonts} <= {"OFL-1.1", "Apache-2.0", "UFL-1.0"}
    assert {f"{row['package']}@{row['version']}" for row in fonts} <= set(needs.npm_packages())


def test_only_listed_icons_of_these_sets_are_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.tsv"
    listed.write_text("concept\tmodality\tset\ticon\nhouse\tsymbol\tbi\thouse-fill\n")
    monkeypatch.setattr(more_artists, "LIST", listed)
    body = {"body": '<rect width="16" height="16" fill="currentColor"/>'}
    _set(tmp_path, "bi", {"house-fill": body, "house-heart": body})
    ((image, svg),) = sources._more_artists(tmp_path)
    assert image == sources.SourceImage("npm:bi:house-fill", "symbol", "bi", "house")
    tile = sources.render((image, svg))
    assert tile is not None
    assert tile[..., 3].mean() == 255
