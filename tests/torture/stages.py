"""The stages of work that are killed: each a command on a small folder, and what its result is compared by."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synesthete.errors import SynestheteError

Digests = dict[str, str]
# The model's first blocks have few units, so that pages and maps are quick to make.
LAYER, SECOND = "visual.layer1.0", "visual.layer2.0"
ATLAS, CATALOG = "small.atlas", "small.catalog"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A command, and how its work is judged.

    Attributes
    ----------
    name
        In the table.
    base
        Which of the folders of `Bases` it starts from.
    run
        The command; the working directory is a copy of the base.
    result
        Everything that the command leaves, by name: equal after a kill and the same command again.
    presented
        What a reader would take for complete, by name: before the command, after a kill, after the command.
    lasting
        Whether what is there before and after the command is there after a kill as well.
    """

    name: str
    base: str
    run: Callable[[], None]
    result: Callable[[Path], Digests]
    presented: Callable[[Path], Digests]
    lasting: bool = False


def digest(data: bytes | str | Any) -> str:
    """A short hash of bytes, a text, or anything with a `repr`."""
    content = data if isinstance(data, bytes) else str(data).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def tree(folder: Path, *, without: tuple[str, ...] = ()) -> Digests:
    """Every file and every empty folder, by name; hidden ones too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(without) and without:
            continue
        if path.is_file():
            found[name] = digest(path.read_bytes())
        elif not any(path.iterdir()):
            found[f"{name}/"] = "an empty folder"
    return found


def cli(*arguments: str | Path) -> None:
    """Run a command in this process."""
    from synesthete.cli import main

    sys.argv = ["synesthete", *map(str, arguments)]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{' '.join(sys.argv)} ended with {end.code}") from None


def command(*arguments: str | Path) -> Callable[[], None]:
    return lambda: cli(*arguments)


# What readers of an atlas are shown.


def atlas_sections(folder: Path) -> Digests:
    """The sections of an atlas that claim to be complete: the recording, its analysis, names, families, map, words, images."""
    from synesthete.atlas import open_atlas

    path = folder / ATLAS
    try:
        opened = open_atlas(path)
    except SynestheteError as error:
        if "damaged" in str(error):
            return {"atlas": str(error)}
        return {}
    if problems := [
        line for line in opened.verify() if not line.endswith("not listed in atlas.json")
    ]:
        return {"atlas": str(problems)}
    sections = {"recording": digest([opened.fingerprint, len(opened.probes), *(
        opened.activations(layer).tobytes() for layer in opened.layers)])}  # fmt: skip
    if opened.analysed:
        rows = [opened.neuron_table(one).to_pylist() for one in opened.layers]
        selected = [opened.selectivity(one).to_pylist() for one in opened.layers]
        sections["analysis"] = digest([rows, selected, opened.manifest["analysis"]])
    for kind in ("names", "families", "layout"):
        for layer in opened.layers:
            if (table := opened.unit_table(layer, kind)) is not None:
                notes = opened.manifest[kind].get("layers", {}).get(layer)
                sections[f"{kind} of {layer}"] = digest([table.to_pylist(), notes])
    if "words" in opened.manifest:
        says = [opened.word_activations(layer).tobytes() for layer in opened.layers]
        sections["words"] = digest([opened.words, says, opened.word_embeddings().tobytes()])
    for layer in opened.layers:
        for one in opened.visualizations(layer):
            sections["/".join(map(str, one.key))] = digest([one, opened.visualization(one)])
    return sections


def whole(*names: str) -> Callable[[Path], Digests]:
    """Files of which each claims to be complete by being there."""

    def presented(folder: Path) -> Digests:
        return {
            name: digest((folder / name).read_bytes()) for name in names if (folder / name).exists()
        }

    return presented


def sealed(folder_name: str, seal: str) -> Callable[[Path], Digests]:
    """A folder that claims to be complete by holding a file."""

    def presented(folder: Path) -> Digests:
        place = folder / folder_name
        if not (place / seal).exists():
            return {}
        # What is hidden nobody is shown.
        return {
            folder_name: digest([one for one in tree(place).items() if not one[0].startswith(".")])
        }

    return presented


def report_presented(folder: Path) -> Digests:
    """An audit's report, where it can be read, with the pages beside it."""
    from synesthete.audits import read_report

    try:
        read_report(folder / "report")
    except SynestheteError:
        return {}
    return sealed("report", "report.json")(folder)


# A catalogue: LanceDB calls its files by chance, so items are compared.


def catalog_items(folder: Path) -> Digests:
    """Every live item with its vectors and thumbnail, as readers see them."""
    from synesthete.catalog import Catalog

    if not (folder / CATALOG / "catalog.json").exists():
        return {}
    with closing(Catalog.open(folder / CATALOG)) as opened:
        snapshot, arrays = opened.snapshot(), ("images", "texts", "units")
        rows = snapshot.rows(snapshot.ids, (*arrays, "thumbnail"))
        values = zip(*(rows.array(name) for name in arrays), rows.values("thumbnail"), strict=True)
        return {
            f"item {item.id}": digest([item, *(one.tobytes() for one in vectors), thumbnail])
            for item, (*vectors, thumbnail) in zip(opened.items(), values, strict=True)
        }


def catalog_result(folder: Path) -> Digests:
    """The items; the quarantine; the centres; the files beside the tables byte for byte; and no table that is not in use.

    Not compared: the names and bytes of LanceDB's files, and the table's number.
    """
    from synesthete.catalog import Catalog

    place = folder / CATALOG
    digests = catalog_items(folder) | tree(place, without=("items-", "quarantine", "table.json"))
    with closing(Catalog.open(place)) as opened:
        digests["quarantine"] = digest(opened.quarantine())
        digests["centres"] = f"of {opened.snapshot().centres.items} items"
        in_use = int(opened.snapshot().version[0].removeprefix("items-"))
    # The table before stays for an hour, for those who read it.
    later = [one.stem for one in place.glob("items-*.lance") if int(one.stem[6:]) > in_use]
    digests["tables"] = f"{later} beside the one in use"
    return digests


def rows_of(name: str, query: str) -> Callable[[Path], Digests]:
    """The rows of a database, by their first column and how often that was there before."""

    def found(folder: Path) -> Digests:
        if not (folder / name).exists():
            return {}
        digests: Digests = {}
        with closing(sqlite3.connect(folder / name)) as connection:
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                return {}
            for row in connection.execute(query):
                number = sum(key.startswith(f"{row[0]} ") for key in digests)
                digests[f"{row[0]} {number}"] = str(row[1:])
        return digests

    return found


# Not compared: when it arrived, and the secret that subjects are hashed with, which every log draws by chance.
EVENTS = rows_of(
    f"{CATALOG}/events.sqlite",
    "SELECT key, kind, item, at, list, position, experiment, variant, team, value, unknown, skewed, "
    "(SELECT MIN(key) FROM events AS other WHERE other.subject = events.subject) FROM events UNION ALL "
    "SELECT told, reason, '', '', '', 0, '', '', '', 0, 0, 0, '' FROM aside ORDER BY 1",
)
REVIEWS = rows_of(f"{ATLAS}/reviews.sqlite", "SELECT * FROM acts ORDER BY id")


class Bases:
    """Folders that stages start from, made when they are asked for.

    Parameters
    ----------
    root
        Where; `shared` in it holds what commands read and never write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shared = root / "shared"

    @property
    def model(self) -> str:
        return f"local-dir:{self.shared / 'model'}"

    def write_shared(self) -> None:
        """The model, its images, and the tables and lists of the stages."""
        from tests.audits.conftest import LISTS
        from tests.audits.fakes import write_image_folders
        from tests.catalog.classify.conftest import write_records
        from tests.small_atlas import write_images, write_model

        self.shared.mkdir(parents=True)
        write_model(self.shared / "model")
        write_images(self.shared / "images")
        write_image_folders(self.shared / "audited", ("apple", "boat"), 16)
        write_records(self.shared / "records")
        (self.shared / "lists.yaml").write_text(LISTS, encoding="utf-8")
        (self.shared / "words.txt").write_text("apple\nboat\ndrum\nking\n", encoding="utf-8")
        self._write_items()
        rows = [{"key": f"e{n}", "kind": "click", "item": f"i{n % 30}", "subject": f"s{n % 5}",
                 "at": "2026-05-01T12:00:00+00:00"} for n in range(40)]  # fmt: skip
        rows[7]["kind"] = "clik"
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (self.shared / "events.jsonl").write_text(lines, encoding="utf-8")

    def _write_items(self) -> None:
        from tests.catalog.conftest import image

        for number, name in enumerate(("items", "changed")):
            folder = self.shared / name
            folder.mkdir()
            with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(("id", "title", "category", "image"))
                for n in range(20 + 4 * number):
                    (folder / f"{n}.png").write_bytes(image("red", n + number * (n % 3)))
                    writer.writerow((f"i{n}", f"mug {n} {number * (n % 4)}", "mug", f"{n}.png"))
                writer.writerow(("i99", "", "", "nowhere.png"))

    def make(self, name: str) -> Path:
        """The folder of this name; the working directory is changed to it while it is made."""
        folder = self.root / name
        if folder.exists():
            return folder
        recipes = {
            "empty": ("", lambda: None), "recorded": ("", self._record), "analysed": ("recorded", self._analyse),
            "named": ("analysed", self._name), "alone": ("", self._alone), "sited": ("alone", self._site),
            "reviewed": ("analysed", self._review),
            "reported": ("", self._report), "indexed": ("", self._index), "fitted": ("", self._fit),
            "carded": ("analysed", self._card),
        }  # fmt: skip
        before, fill = recipes[name]
        if before:
            shutil.copytree(self.make(before), folder)
        else:
            folder.mkdir()
        os.chdir(folder)
        fill()
        return folder

    def _record(self) -> None:
        cli("record", self.model, "--probes", self.shared / "images/metadata.csv", "--layer", LAYER, "--layer", SECOND,
            "--no-analyze", "--out", ATLAS)  # fmt: skip

    def _alone(self) -> None:
        """One layer: a static site of few pages."""
        cli("record", self.model, "--probes", self.shared / "images/metadata.csv", "--layer", LAYER, "--out", ATLAS)  # fmt: skip

    def _analyse(self) -> None:
        cli("analyze", ATLAS)

    def _name(self) -> None:
        cli("name", ATLAS, "--threshold", "0.6")
        cli("families", ATLAS)

    def _site(self) -> None:
        cli("export", ATLAS, "site")
        cli("name", ATLAS, "--threshold", "0.6")

    def _card(self) -> None:
        cli("show", ATLAS, f"{LAYER}:0", "--out", "cards", "--png")
        cli("name", ATLAS, "--threshold", "0.6")

    def _review(self) -> None:
        from synesthete.atlas import open_atlas
        from synesthete.reviews import export_reviews
        from synesthete.reviews.acts import Act, append

        opened = open_atlas(ATLAS)
        acts = [
            Act(
                id=f"{n:032x}",
                at="2026-05-01T12:00:00.000000+00:00",
                rater="ann",
                fingerprint=opened.fingerprint,
                weights=opened.manifest["model"]["weights_sha256"],
                address=f"{LAYER}:{n}",
                kind="note",
                value=f"note {n}",
            )
            for n in range(20)
        ]
        append(ATLAS, acts)
        export_reviews(ATLAS, "all.jsonl")
        for file in Path(ATLAS).glob("reviews.sqlite*"):
            file.unlink()

    def _report(self) -> None:
        from synesthete.audits import write_report
        from tests.audits.small_report import small_report

        write_report(small_report(), "report")

    def _index(self) -> None:
        index(self.shared / "items", self.model)

    def _fit(self) -> None:
        cli("catalog", "classify", self.shared / "records/records.csv", "--with", "x.classifier", "--fit",
            "--model", self.model, "--seed", "1")  # fmt: skip


def index(items: Path, model: str, *more: str) -> None:
    """Index a table in batches of eight."""
    from synesthete.catalog.store import ingest

    ingest.BATCH = 8
    cli("catalog", "index", items, "--out", CATALOG, "--model", model, *more)


def audit(bases: Bases) -> None:
    """An audit whose report says nothing of the time and memory that it took."""
    from types import SimpleNamespace

    from synesthete.audits import run

    run.time = SimpleNamespace(monotonic=lambda: 0.0)  # type: ignore[assignment]
    run._peak_mib = lambda: 0
    cli("audit", "adversarial", bases.model, "--images", bases.shared / "audited", "--epsilon", "8", "--steps", "2",
        "--out", "report")  # fmt: skip


def record_in_shards() -> None:
    """The recording of `tests.recording.killed`, which is committed in three shards."""
    from tests.recording import killed

    killed.run(Path(ATLAS).absolute())


def stages(bases: Bases) -> list[Stage]:
    """All of them."""
    shared, model = bases.shared, bases.model
    site = sealed("site", "index.html")
    probes = ("--probes", shared / "images/metadata.csv")
    drawn = ("--facets", "word", "--steps", "3", "--strengths", "1", "--sheet", "sheet.png", "--batch", "2", *probes)  # fmt: skip
    atlas: Mapping[str, Any] = {"result": tree, "presented": atlas_sections}
    catalog: Mapping[str, Any] = {
        "result": catalog_result,
        "presented": catalog_items,
        "lasting": True,
    }
    return [
        Stage(name="recording", base="empty", run=bases._record, **atlas),
        Stage(name="recording, shards", base="empty", run=record_in_shards, **atlas),
        Stage(name="analysis", base="recorded", run=bases._analyse, **atlas),
        Stage(name="analysis again", base="named", run=command("analyze", ATLAS, "--threshold", "0.7"), **atlas),
        Stage(name="naming", base="analysed", run=command("name", ATLAS, "--threshold", "0.6"), **atlas),
        Stage(name="naming, one layer", base="named", run=command("name", ATLAS, "--threshold", "0.7", "--layer", LAYER), **atlas),
        Stage(name="families", base="named", run=command("families", ATLAS, "--again", "--seed", "1", "--out", "f.svg"), **atlas),
        Stage(name="map", base="analysed", run=command("map", ATLAS), **atlas),
        Stage(name="words", base="analysed", run=command("words", ATLAS, f"{LAYER}:0", "--vocabulary", shared / "words.txt"), **atlas),
        Stage(name="visualisation", base="analysed", run=command("visualize", ATLAS, "--top", "2", "--layer", SECOND, *drawn), **atlas),
        Stage(name="attribution", base="analysed", run=command("attribute", ATLAS, f"{SECOND}:0", *probes, "--out", "a.png"),
              result=tree, presented=whole("a.png")),
        Stage(name="neuron card", base="carded", run=command("show", ATLAS, f"{LAYER}:0", "--out", "cards", "--png"),
              result=tree, presented=sealed("cards", "visual.layer1.0-0.html")),
        Stage(name="static site", base="alone", run=command("export", ATLAS, "site"), result=tree, presented=site),
        Stage(name="static site again", base="sited", run=command("export", ATLAS, "site"), result=tree, presented=site),
        Stage(name="checkpoint", base="analysed",
              run=command("edit", ATLAS, "--ablate", f"{LAYER}:3", "--images", "4", *probes, "--save", "edits.json", "--export", "edited"),
              result=tree, presented=sealed("edited", "open_clip_config.json")),
        Stage(name="audit report", base="empty", run=lambda: audit(bases), result=tree, presented=report_presented),
        Stage(name="audit report again", base="reported", run=lambda: audit(bases), result=tree, presented=report_presented),
        Stage(name="audit comparison", base="reported", run=command("audit", "compare", "report", "report", "--out", "c.html"),
              result=tree, presented=whole("c.html")),
        Stage(name="catalogue", base="empty", run=lambda: index(shared / "items", model), **catalog),
        Stage(name="catalogue again", base="indexed", run=lambda: index(shared / "changed", model, "--prune"), **catalog),
        Stage(name="classifier", base="fitted",
              run=command("catalog", "classify", shared / "records/records.csv", "--with", "x.classifier", "--fit", "--model", model),
              result=tree, presented=lambda folder: classifier_presented(folder)),
        Stage(name="events", base="indexed", run=lambda: events(shared), result=EVENTS, presented=EVENTS, lasting=True),
        Stage(name="reviews", base="reviewed", run=command("reviews", "import", ATLAS, "all.jsonl"), result=REVIEWS, presented=REVIEWS, lasting=True),
        Stage(name="reviews' file", base="reviewed", run=reviews_file, result=whole("out.jsonl"), presented=whole("out.jsonl")),
    ]  # fmt: skip


def events(shared: Path) -> None:
    """An import of events, committed in three parts."""
    from synesthete.catalog.cli import metrics as commands

    commands.AT_ONCE = 15
    cli("catalog", "events", CATALOG, "--import", shared / "events.jsonl")


def reviews_file() -> None:
    cli("reviews", "import", ATLAS, "all.jsonl")
    cli("reviews", "export", ATLAS, "out.jsonl")


def classifier_presented(folder: Path) -> Digests:
    """A classifier, where it opens: its facts with its weights."""
    from synesthete.catalog.classify.linear_probe import read_facts, read_linear_probe

    path = folder / "x.classifier"
    try:
        facts = read_facts(path)
    except SynestheteError:
        return {}
    probe = read_linear_probe(path, facts)
    return {"classifier": digest([facts, probe.weights.tobytes(), probe.intercept.tobytes()])}
