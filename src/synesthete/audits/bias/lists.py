"""Groups, attributes and labels of a bias audit: a YAML file that a user replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from synesthete._core.user_files import UnusableFile
from synesthete._core.yaml_reader import read_yaml
from synesthete.errors import SynestheteError, one_of

DEFAULT = Path(__file__).parent / "default.yaml"
VERSION = 1
FEWEST_WORDS = 2
KEYS = ("version", "templates", "groups", "attributes", "synonyms", "tests", "retrieval", "harms")


@dataclass(frozen=True)
class Group:
    """A group of people: how it is called, and which built-in images show it."""

    words: tuple[str, ...]
    concepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Test:
    """Two attributes against two groups of an axis."""

    attributes: tuple[str, str]
    axis: str
    groups: tuple[str, str]
    source: str = ""


@dataclass(frozen=True)
class Harms:
    """Labels that are always there, those that are counted, and those that are added to see what it changes."""

    neutral: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    variants: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Lists:
    """All that a bias audit asks about; the file is described in its own head and in docs/audits.md."""

    source: str
    templates: tuple[str, ...]
    groups: dict[str, dict[str, Group]]
    attributes: dict[str, tuple[str, ...]]
    synonyms: dict[str, tuple[str, ...]]
    tests: tuple[Test, ...]
    retrieval: tuple[str, ...]
    harms: Harms


def load_lists(path: str | Path | None = None) -> Lists:
    """The lists of a file, or the built-in ones.

    Raises
    ------
    SynestheteError
        No such file, no YAML, another form, a list of fewer than two words, a word in two lists that are compared, a
        test of something that is not listed.
    """
    place = DEFAULT if path is None else Path(path)
    try:
        value = read_yaml(place)
    except UnusableFile as error:
        raise SynestheteError(f"{place} cannot be read: {error.reason}", hint=error.hint) from None
    return parse_lists(value, "built in" if path is None else str(path))


def parse_lists(value: Any, source: str) -> Lists:
    """Lists of what a YAML file holds."""
    top = _mapping(value, source, "the file")
    for key in top:
        if key not in KEYS:
            raise SynestheteError(f"{source}: {key!r} is not known", hint=one_of(key, KEYS))
    if top.get("version") != VERSION:
        raise SynestheteError(
            f"{source} is of version {top.get('version')!r}, and {VERSION} is read",
            hint=f"put 'version: {VERSION}' into it",
        )
    groups = {
        axis: _groups(members, source, f"groups.{axis}")
        for axis, members in _mapping(top.get("groups"), source, "groups").items()
    }
    attributes = {
        name: _words(one, source, f"attributes.{name}")
        for name, one in _mapping(top.get("attributes"), source, "attributes").items()
    }
    for axis, members in groups.items():
        if len(members) < 2:
            raise SynestheteError(f"{source}: groups.{axis} has one group; a comparison needs two")
        _apart({name: group.words for name, group in members.items()}, source, f"groups.{axis}")
    listed = top.get("tests") or []
    if not isinstance(listed, list):
        raise SynestheteError(f"{source}: tests must be a list, not {listed!r:.80}")
    tests = tuple(_test(one, source, groups, attributes) for one in listed)
    for test in tests:
        _apart({name: attributes[name] for name in test.attributes}, source, "attributes")
    harms = _mapping(top.get("harms") or {}, source, "harms")
    return Lists(
        source=source,
        templates=_templates(top.get("templates") or ["{}"], source),
        groups=groups,
        attributes=attributes,
        synonyms={
            word: tuple(_texts(one, source, f"synonyms.{word}"))
            for word, one in _mapping(top.get("synonyms") or {}, source, "synonyms").items()
        },
        tests=tests,
        retrieval=tuple(_texts(top.get("retrieval") or [], source, "retrieval")),
        harms=_harms(harms, source),
    )


def _harms(value: Mapping[str, Any], source: str) -> Harms:
    def named(key: str) -> dict[str, tuple[str, ...]]:
        found = _mapping(value.get(key) or {}, source, f"harms.{key}")
        return {n: tuple(_texts(one, source, f"harms.{key}.{n}")) for n, one in found.items()}

    harms = Harms(
        tuple(_texts(value.get("neutral") or [], source, "harms.neutral")),
        named("categories"),
        named("variants"),
    )
    if harms.categories and len(harms.neutral) < FEWEST_WORDS:
        raise SynestheteError(
            f"{source}: harms.neutral has {len(harms.neutral)} labels; every image would be harmed",
            hint="list labels that do a person justice, such as man, woman, person",
        )
    _apart({"neutral": harms.neutral} | harms.categories, source, "harms")
    return harms


def _test(
    value: Any,
    source: str,
    groups: Mapping[str, Mapping[str, Group]],
    attributes: Mapping[str, tuple[str, ...]],
) -> Test:
    one = _mapping(value, source, "tests")
    axis = str(one.get("axis", ""))
    if axis not in groups:
        raise SynestheteError(
            f"{source}: tests: there is no axis {axis!r}", hint=one_of(axis, groups)
        )
    pairs = []
    for key, known in (("attributes", attributes), ("groups", groups[axis])):
        names = _texts(one.get(key), source, f"tests.{key}")
        if len(names) != 2 or names[0] == names[1]:
            raise SynestheteError(f"{source}: a test needs two different {key}, not {names}")
        for name in names:
            if name not in known:
                raise SynestheteError(
                    f"{source}: tests: no {key} {name!r}", hint=one_of(name, known)
                )
        pairs.append((names[0], names[1]))
    return Test(pairs[0], axis, pairs[1], str(one.get("source", "")))


def _groups(value: Any, source: str, where: str) -> dict[str, Group]:
    members = _mapping(value, source, where)
    return {name: _group(one, source, f"{where}.{name}") for name, one in members.items()}


def _group(value: Any, source: str, where: str) -> Group:
    one = _mapping(value, source, where)
    concepts = _texts(one.get("concepts") or [], source, f"{where}.concepts")
    return Group(_words(one.get("words"), source, f"{where}.words"), tuple(concepts))


def _words(value: Any, source: str, where: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(_texts(value, source, where)))
    if len(words) < FEWEST_WORDS:
        raise SynestheteError(
            f"{source}: {where} has {len(words)} word{'' if len(words) == 1 else 's'}; two are needed",
            hint="one word cannot tell a group from the word itself",
        )
    return words


def _texts(value: Any, source: str, where: str) -> list[str]:
    if not isinstance(value, list) or not all(
        isinstance(one, str | int | float) and str(one).strip() for one in value
    ):
        raise SynestheteError(f"{source}: {where} must be a list of words, not {value!r}")
    return [" ".join(str(one).split()) for one in value]


def _templates(value: Any, source: str) -> tuple[str, ...]:
    found = _texts(value, source, "templates")
    wrong = [one for one in found if one.count("{}") != 1 or one.replace("{}", "").count("{")]
    if wrong:
        raise SynestheteError(f"{source}: a template has one {{}} for the word, not {wrong[0]!r}")
    return tuple(found)


def _mapping(value: Any, source: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SynestheteError(f"{source}: {where} must be a table of names, not {value!r:.80}")
    return value


def _apart(lists: Mapping[str, tuple[str, ...]], source: str, where: str) -> None:
    """A word in two lists that are compared would be compared with itself."""
    for (one, mine), (other, theirs) in combinations(lists.items(), 2):
        common = sorted({w.casefold() for w in mine} & {w.casefold() for w in theirs})
        if common:
            raise SynestheteError(
                f"{source}: {where}: {', '.join(common)} stands in {one!r} and in {other!r}",
                hint="leave it out of one",
            )
