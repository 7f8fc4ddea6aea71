"""The documentation is true: its examples run, its links lead somewhere, and no command or option is missing."""

from __future__ import annotations

import contextlib
import csv
import doctest
import io
import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import typer

from synesthete.cli import main, reference
from synesthete.cli.app import make_app
from tests.catalog.classify.conftest import write_records
from tests.catalog.conftest import sample_items
from tests.small_atlas import record_small, write_known_analysis, write_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)|<img[^>]*src=\"([^\"]+)\"")
CONCEPTS = 24


def commands(command: Any, path: str = "synesthete") -> Iterator[tuple[str, list[str]]]:
    """Every command with its options."""
    inner = getattr(command, "commands", None)
    if inner:
        for name, child in inner.items():
            yield from commands(child, f"{path} {name}")
        return
    options = [
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--") and name != "--help"
    ]
    yield path, options


COMMANDS = dict(commands(typer.main.get_command(make_app())))


def section(page: str, title: str) -> str:
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section '### {title}'"
    return found.group(1)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    printed = section((ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), command)
    options = set(
        re.findall(r"(?<![\w-])--[a-z-]+", "\n".join(re.findall(r"^\| `--.*", printed, re.M)))
    )
    assert set(COMMANDS[command]) <= options, "an option is not documented"


def test_no_documented_command_is_missing() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (synesthete .*)$", page, re.MULTILINE)) == set(COMMANDS)


def test_the_page_is_the_help_of_the_commands() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference.page(), "python -m synesthete.cli.reference > docs/cli.md"


def test_every_command_says_what_it_does() -> None:
    def helped(command: Any) -> Iterator[str]:
        yield command.help or ""
        for child in getattr(command, "commands", {}).values():
            yield from helped(child)

    assert all(len(text) > 30 for text in helped(typer.main.get_command(make_app())))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target = match.group(1) or match.group(2)
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as the documentation assumes it, with fewer concepts than shipped.

    It holds `demo.atlas`, `my-images`, `my-photos`, `image.png`, `my-words.txt` and `my-types.csv`; what `write_catalog` makes; and for
    what would take minutes `small.atlas` and its model, `model`.
    """
    import synesthete as syn

    folder = tmp_path_factory.mktemp("docs")
    probes = syn.load_probes("concepts", texts=False)
    photographed = probes.select(modalities=["photo"]).concepts
    few = probes.select(concepts=sorted({"apple", *photographed[:CONCEPTS]}))
    model = syn.load_model("mini")
    syn.record(model, few, None, folder / "demo.atlas")
    syn.analyze(folder / "demo.atlas")
    syn.record(model, few.select(indices=range(64)), ["joint"], folder / "joint.atlas")
    seen: dict[str, int] = {}
    labels = few.table.select(["concept", "modality"]).to_pylist()
    for index, row in enumerate(labels):
        where = f"{row['concept'].replace('/', ' ')}/{row['modality']}"
        seen[where] = seen.get(where, 0) + 1
        if row["concept"] in few.concepts[:6] and seen[where] <= 4:
            (folder / "my-images" / where).mkdir(parents=True, exist_ok=True)
            few.image(index).save(folder / "my-images" / where / f"{index}.png")
    (folder / "my-photos").symlink_to(folder / "my-images")
    few.image(0).save(folder / "image.png")
    write_known_analysis(record_small(folder))
    (folder / "my-words.txt").write_text("\n".join(few.concepts[:8]), encoding="utf-8")
    (folder / "my-types.csv").write_text("type,word\nwork,doctor\nwork,nurse\ncrime,thief\n")
    write_catalog(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synesthete.probes.load_builtin", lambda name: few)
        patch.setattr("PIL.Image.Image.show", lambda image: None)
        # A dictionary of 32 latents and 64 images; tests/analysis has those that learnt something.
        patch.setattr("synesthete.analysis.dictionary.STEPS", 100)
        patch.setattr("synesthete.analysis.joint.TRAINING_STEPS", 100)
        yield folder


def write_catalog(folder: Path) -> None:
    """`my.catalog`, with an experiment, a case for people and a key, and the tables that its commands read."""
    from synesthete.catalog import Catalog
    from synesthete.catalog.events import EventLog
    from synesthete.catalog.keys import Keys
    from synesthete.catalog.webhooks import Webhooks
    from synesthete.reviews.cases import Queue

    items = sample_items()
    write_model(folder / "other", seed=1)
    catalog = Catalog.create(folder / "my.catalog", f"local-dir:{folder / 'model'}")
    catalog.upsert(items)
    header = ("key", "kind", "item", "at", "subject", "list", "experiment", "variant")
    events = [
        (
            f"{kind}{i}",
            kind,
            items[i % 2 * 5].id,
            f"2026-01-{1 + i // 6:02}T10:00:00Z",
            i,
            i,
            "spring",
            "AB"[i % 2],
        )
        for i in range(60)
        for kind in ("impression", *["click"] * (i % 2))
    ]
    rows = [dict(zip(header, map(str, row), strict=True)) for row in events]
    EventLog(catalog.path).take(rows, history=True)
    Queue(catalog.path).add(
        "suggest", {"reference": "photo-7", "proposal": "mug"}, reason="unsure", confidence=0.3
    )
    Keys(catalog.path).make("cash desk", ["events"])
    Webhooks(catalog.path).add("https://old.example/decisions")
    catalog.close()
    queries = [
        (text, one.id)
        for one in items
        if one.title and one.category != "spoon"  # `delete` takes one of those
        for text in (one.title, f"for my kitchen: {one.title}", f"something like a {one.category}")
    ]
    # Words settle all of those; of these, which have none of an item's, at most one kind is right.
    queries += [("anything nice", one.id) for one in sample_items()[::2] if one.title]
    (folder / "my-pilot").mkdir()
    for name, lines in (
        ("items.csv", [("id", "title", "price"), ("cup-1", "a cup", 5), ("jug-1", "a jug", 8)]),
        ("events.csv", [header, *events, ("late", "clik", "mug-red")]),
        ("queries.csv", [("text", "relevant"), *queries]),
        ("my-pilot/queries.csv", [("text", "relevant"), *queries]),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    with contextlib.closing(sqlite3.connect(folder / "shop.sqlite")) as database:
        database.execute("CREATE TABLE products (id, title, price, updated_at)")
        database.execute("INSERT INTO products VALUES ('vase-1', 'a vase', 9.5, '2026-03-01')")
        database.commit()
    write_records(folder)


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [code for name, code in FENCE.findall(text) if name == language]


def having(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.mark.parametrize("page", having("python"), ids=lambda page: page.name)
def test_python_examples_run(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain code runs as it stands; code with prompts also prints what the page says."""
    monkeypatch.chdir(place)
    names: dict[str, Any] = {"__name__": page.stem}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for number, code in enumerate(blocks(page, "python"), start=1):
        name = f"{page.name}, example {number}"
        if ">>> " in code:
            test = doctest.DocTest([], names, name, str(page), 0, code)
            test.examples = doctest.DocTestParser().get_examples(code, name)
            runner.run(test, clear_globs=False)
            names = test.globs
        else:
            exec(compile(code, name, "exec"), names)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("page", having("console"), ids=lambda page: page.name)
def test_console_examples_run(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for code in blocks(page, "console"):
        for line in re.findall(r"^\$ (.+)$", code, re.MULTILINE):
            monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
            assert sys.argv[0] == "synesthete", line
            assert ended() == 0, line


# Commands that run until they are stopped, or for many minutes, and where they are tested.
NOT_RUN = {
    "synesthete defend": "tests/editing/test_defence.py",
    "synesthete serve": "tests/server/test_cli.py",
    "synesthete mcp": "tests/server/test_mcp.py",
    "synesthete catalog mcp": "tests/catalog/test_mcp.py",
    "synesthete catalog webhook test": "tests/catalog/test_webhooks.py",  # needs a receiver
}
# Examples that take minutes: what stands for what in them, so that they take seconds.
TINY = {
    "synesthete demo": {"demo": "demo --no-serve"},
    # 120 records through mini, and reasons that read each again without a word.
    "synesthete catalog classify": {
        "--fit": "--fit --model local-dir:model",
        "--with": "--no-reasons --with",
    },
    "synesthete catalog reembed": {"ViT-B-32/laion2b_s34b_b79k": "local-dir:other"},
    "synesthete sae train": {"2048": "16 --k 4 --epochs 1"},
    "synesthete joint": {
        "my.atlas": "joint.atlas --latents 32",
        "2048": "16",
        "32": "4",
    },
    "synesthete export": {"demo.atlas": "small.atlas"},
    "synesthete visualize": {"demo.atlas": "small.atlas"},
    "synesthete look": {"RN50/openai": "local-dir:model"},
    "synesthete compare": {"other.atlas": "demo.atlas"},
    "synesthete audit typographic": {"mini": "local-dir:model --images my-photos"},
    "synesthete audit spurious": {"mini": "local-dir:model --images my-photos"},
    "synesthete audit bias": {"mini": "local-dir:model"},
    "synesthete audit all": {
        "mini": "local-dir:model --steps 1 --epsilon 1",
        "local-dir:edited": "local-dir:model --steps 1 --epsilon 2",
        "--out": "--images my-photos --limit 30 --out",
    },
}
# Files that an example needs, and the command whose examples write them.
NEEDED = {
    "x.sae": "synesthete sae train",
    "reviews.jsonl": "synesthete reviews export",
    "after.audit": "synesthete audit all",
    "edits.json": "synesthete edit",
    "my.classifier": "synesthete catalog classify",
    "my.backup": "synesthete catalog backup",
}
EXAMPLES = {
    path: reference.help_of(command)[1]
    for path, command, _ in reference.commands(typer.main.get_command(make_app()))
}


def run_examples(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for example in EXAMPLES[command]:
        words = shlex.split(example)
        for word in words:
            if word in NEEDED and NEEDED[word] != command and not Path(word).exists():
                run_examples(NEEDED[word], monkeypatch)
        tiny = TINY.get(command, {})
        words = [
            part for word in words for part in (tiny[word].split() if word in tiny else [word])
        ]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "stdin", io.StringIO("yes\nq\n"))
        assert ended() == 0, example


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_ends_its_help_with_examples_that_run(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert EXAMPLES[command], "no example in the docstring"
    assert all(example.startswith(command) for example in EXAMPLES[command])
    if command in NOT_RUN:
        assert (ROOT / NOT_RUN[command]).is_file()
        return
    monkeypatch.chdir(place)
    run_examples(command, monkeypatch)
    printed = capsys.readouterr().out
    if EXAMPLES[command][-1].endswith("--json") and len(EXAMPLES[command]) == 1:
        json.loads(printed)


def ended() -> int:
    try:
        main()
    except SystemExit as end:
        return int(str(end.code or 0))
    return 0


def test_the_tutorial_holds_what_its_blocks_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(ROOT / "docs")
    import update_tutorial

    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    found = update_tutorial.BLOCK.findall(page)
    assert len(found) == len(re.findall("^```python", page, re.M))
    assert all(
        printed
        for block, code, printed in found
        if "print(" in code and " slow" not in block.partition("\n")[0]
    )
    figures = set(re.findall(r"images/(tutorial-[a-z]+\.\w+)", page))
    assert figures == set(re.findall(r'"(tutorial-[a-z]+\.\w+)"', page))
    short = "```python\nprint(6 * 7)\n```\n\n```text\nold\n```\n\n```python slow\nx = 1\n```\n"
    assert update_tutorial.run(short) == short.replace("old", "42")


def test_the_animation_shows_what_was_recorded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(ROOT / "docs")
    import update_animation

    from synesthete.atlas import open_atlas

    atlas = open_atlas(place / "demo.atlas")
    neuron = atlas.neurons(limit=1)[0]
    found = update_animation.responses(atlas, neuron)
    column = np.asarray(atlas.activations(neuron.layer)[:, neuron.unit], float)
    for modality, (own, other) in found.items():
        for response, same in ((own, True), (other, False)):
            row = {name: atlas.probes[name][response.image].as_py() for name in ("concept", "modality")}  # fmt: skip
            assert row["modality"] == modality
            assert (row["concept"] == neuron.concept) == same
            expected = (column[response.image] - column.mean()) / column.std()
            assert response.value == pytest.approx(expected, abs=1e-6)
    drawing = update_animation.animation(atlas, neuron)
    root = ET.fromstring(drawing)
    assert len(root.findall(".//{*}image")) == 2 * len(found)
    assert not re.findall(r'href="(?!data:)', drawing)
    assert "prefers-reduced-motion" in drawing
    assert len(drawing) < update_animation.LARGEST
    shown = (ROOT / "docs" / "images" / "neuron-animation.svg").read_text(encoding="utf-8")
    assert len(ET.fromstring(shown).findall(".//{*}image")) == 8


def test_readme_numbers_come_from_an_atlas(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import update_readme

    (tmp_path / "docs").mkdir()
    for name in update_readme.PAGES:
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    options = ["--atlas", str(place / "demo.atlas"), "--root", str(tmp_path)]
    assert update_readme.main([*options, "--check"]) == 1
    assert update_readme.main(options) == 0
    assert update_readme.main([*options, "--check"]) == 0
    assert "its random twin" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "concepts that can be tested" in (tmp_path / "docs" / "mini.md").read_text("utf-8")
    image = (tmp_path / "docs" / "images" / "neuron.png").read_bytes()
    assert image.startswith(b"\x89PNG")
