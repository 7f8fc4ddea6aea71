"""The field's words: nothing says a word that docs/glossary.md retires."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from synesthete.cli import reference
from synesthete.cli.app import make_app

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
FOLDERS = ("src", "docs", "training", "benchmarks", "examples", "tests")
TEXT = {".py", ".html", ".js", ".css", ".md", ".ipynb"}

# Where a retired word stays: file, what the line says, and why. An exception that nothing needs any more fails.
ALIAS = "a column name of users' tables"
KEY = "a key that files written by earlier versions have"
EXCEPTIONS = [
    ("src/synesthete/catalog/tables.py", "picture", ALIAS),
    ("src/synesthete/catalog/align.py", 'row.get("picture")', ALIAS),
    ("src/synesthete/probes/parquet.py", "IMAGE_NAMES", ALIAS),
    ("src/synesthete/catalog/store/migration.py", "pictures", "a column and a file of format 1"),
    ("src/synesthete/catalog/reference.py", '"pictures"', KEY),
    ("src/synesthete/catalog/reference.py", "[word for word in", "a comprehension"),
    ("src/synesthete/catalog/encode.py", 'facts["pictures"]', KEY),
    ("src/synesthete/catalog/suggest.py", '"told"', KEY),
    ("src/synesthete/catalog/events.py", "told", "a column of stored event logs"),
    ("src/synesthete/atlas/migration.py", "pictures.parquet", "a file of atlas format 1"),
    ("src/synesthete/atlas/FORMAT.md", "pictures.parquet", "a file of atlas format 1"),
    ("src/synesthete/analysis/decomposition/fit.py", "a picture of {}", "a CLIP prompt template"),
    ("src/synesthete/probes/data/concepts/LICENCES.md", "", "attributions and licences, verbatim"),
    ("src/synesthete/server/connections.py", "connection_made", "a method of asyncio's protocols"),
    ("tests/test_glossary.py", "", "this test, its samples and exceptions"),
    ("tests/atlas/test_migration.py", "pictures.parquet", "a file of atlas format 1"),
    ("tests/catalog/test_confidence.py", '"told"', KEY),
    ("tests/doors.py", '"told"', KEY),
    ("tests/doors.py", '"picture"', ALIAS),
    ("tests/probes/test_parquet.py", '"picture"', ALIAS),
    ("tests/torture/images.py", "else word for word in", "a comprehension"),
    ("tests/torture/stages.py", "SELECT told,", "a column of stored event logs"),
    ("tests/catalog/test_aggregates.py", "told TEXT", "a column of stored event logs"),
    ("CHANGELOG.md", "picture", "what was renamed"),
    ("CHANGELOG.md", "`told`", "what was renamed"),
]


def retired(glossary: str) -> tuple[list[str], list[str]]:
    """Retired words, and those retired as identifiers too, from the glossary's section."""
    section = re.split(r"^## ", glossary, flags=re.MULTILINE)[-1]
    assert section.startswith("Retired words\n"), "'Retired words' is the last section"
    cells = re.findall(r"^\| ([^|]+) \|[^|]+\|$", section, re.MULTILINE)[1:]
    words = [word.strip() for cell in cells for word in cell.split(",") if "---" not in cell]
    named = re.search(r"^As identifiers[^:]*: (.+)\.$", section, re.MULTILINE)
    assert named, "the section names retired identifiers"
    return words, re.findall(r"`(\w+)`", named.group(1))


WORDS, IDENTIFIERS = retired(GLOSSARY.read_text(encoding="utf-8"))
PATTERN = re.compile(
    r"\b(?:" + "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in WORDS) + r")\b",
    re.IGNORECASE,
)


def words_in(text: str) -> Iterator[tuple[int, str]]:
    """Line and retired word, for each in a text; a phrase may go over the end of a line."""
    for match in PATTERN.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match.group().split())


def identifiers_in(source: str) -> Iterator[tuple[int, str]]:
    """Line and identifier, for each that is or has between underscores a retired word."""
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "arg", "attr", "name", "asname", "module"):
            name = getattr(node, field, None)
            if isinstance(name, str) and set(re.split("[_.]", name.lower())) & set(IDENTIFIERS):
                yield getattr(node, "lineno", 0), name


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted(
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in TEXT and path.is_file() and "__pycache__" not in path.parts
        )
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))
    yield ROOT / "CHANGELOG.md"


def read(path: Path) -> str:
    """A file without what the test does not judge, its lines where they are."""
    text = path.read_text(encoding="utf-8")
    if path == GLOSSARY:
        return text.partition("\n## Retired words")[0]
    if path.name == "CHANGELOG.md":  # versions that are released stay as they were
        return "\n## ".join(text.split("\n## ")[:2])
    return text


def found() -> list[tuple[str, int, str, str]]:
    """File, line number, word or identifier, and the line."""
    hits = []
    for path in files():
        text, name = read(path), path.relative_to(ROOT).as_posix()
        lines = text.split("\n")
        of_file = set(words_in(text))
        if path.suffix == ".py" and not name.startswith("docs/"):
            of_file |= set(identifiers_in(text))
        hits += [(name, line, word, lines[line - 1]) for line, word in sorted(of_file)]
    return hits


HITS = found()


def excepted(name: str, line: str) -> list[tuple[str, str, str]]:
    return [one for one in EXCEPTIONS if name.startswith(one[0]) and one[1] in line]


@pytest.mark.parametrize("folder", [*FOLDERS, ""])
def test_no_file_says_a_retired_word(folder: str) -> None:
    wrong = [
        f"{name}:{number}: {word}"
        for name, number, word, line in HITS
        if name.rpartition("/")[0].partition("/")[0] == folder and not excepted(name, line)
    ]
    assert not wrong, "docs/glossary.md, 'Retired words', has what to say instead:\n" + "\n".join(
        wrong
    )


def test_no_help_says_a_retired_word() -> None:
    for path, command, _ in reference.commands(typer.main.get_command(make_app())):
        texts = [command.help or "", *(option.help or "" for option in command.params)]
        assert not list(words_in("\n".join(texts))), path


def test_every_exception_is_needed() -> None:
    needed = [one for name, _, _, line in HITS for one in excepted(name, line)]
    assert [one for one in EXCEPTIONS if one not in needed] == []


def test_retired_words_are_noticed() -> None:
    sample = "The page is Told.\nIt holds\na picture, dealt\nout anew: storytold, made.\n"
    assert list(words_in(sample)) == [(1, "Told"), (3, "picture"), (3, "dealt out"), (4, "anew")]
    code = "from a.hand_made import b\ndef f(told, old):\n    has_picture = old.made\n    return Asked(pictures_of=foretold)\n"
    assert {name for _, name in identifiers_in(code)} == {
        "a.hand_made",
        "told",
        "has_picture",
        "made",
        "Asked",
        "pictures_of",
    }
    text = GLOSSARY.read_text(encoding="utf-8")
    assert retired(text.rstrip() + "\n| newfangled, of yore | new |\n")[0][-2:] == [
        "newfangled",
        "of yore",
    ]
