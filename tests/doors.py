"""Doors: everything that reads a file somebody else may have written, each with a sound file and ways to spoil it."""

from __future__ import annotations

import atexit
import base64
import io
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from synesthete.errors import SynestheteError

LAYER = "visual.layer4.1"
HASH = "ab" * 32


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes
    ----------
    file
        Name of the file that it reads, in a folder of its own.
    sound
        What the file holds when nothing is wrong with it: plain values, rows, columns, arrays or bytes, by its ending.
    enter
        Reads the file; returns whether something of it was set aside.
    """

    file: str
    sound: Callable[[], Any]
    enter: Callable[[Path], bool]


class _Words:
    """As much of a model as indexing needs."""

    embedding_dim = 4

    def encode_texts(self, texts: list[str]) -> Any:
        return np.array(
            [[len(text.encode()), 1, 2, 3] for text in texts] or np.zeros((0, 4)), np.float32
        )

    def preprocess(self, image: Image.Image) -> Any:
        import torch

        return torch.zeros(3, 2, 2)

    def read(self, pixels: Any, layers: list[str], reduction: str) -> Any:
        ones = np.ones((len(pixels), 4), np.float32)
        return SimpleNamespace(embeddings=ones, activations=dict.fromkeys(layers, ones[:, :3]))


@lru_cache(maxsize=1)
def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    return stream.getvalue()


def _centres() -> Any:
    from synesthete.catalog.store.centres import Centres

    vectors = {name: np.zeros(4, np.float32) for name in ("images", "texts")}
    vectors["units"] = np.zeros(3, np.float32)
    return Centres(**vectors, **{f"ground_{name}": value for name, value in vectors.items()})


@lru_cache(maxsize=1)
def _empty_table() -> Path:
    from synesthete.catalog.store.table import ItemTable

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ItemTable.create(folder, 4, 3, _centres()).close()
    return folder


def _index(path: Path) -> bool:
    from synesthete.catalog.sources import read_items
    from synesthete.catalog.store.ingest import upsert
    from synesthete.catalog.store.table import ItemTable

    class Untidied(ItemTable):
        def tidy(self) -> None:
            """The indexes are others' matter."""

    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(_empty_table(), Path(scratch) / "table")
        table = Untidied(Path(scratch) / "table")
        described = {"layer": LAYER, "units": 3}
        written = upsert(table, lambda: _Words(), described, read_items(path))  # type: ignore[arg-type, return-value]
        table.pinned()
        aside = len(table.quarantine())
        table.close()
    return aside > 0 or not written.added


def _queries(path: Path) -> bool:
    from synesthete.catalog.tables import query_rows

    list(query_rows(path))
    return False


def _signals(path: Path) -> bool:
    from synesthete.catalog.tables import read_signals

    read_signals(path)
    return False


def _campaign(path: Path) -> bool:
    from synesthete.catalog.align import read_campaign

    list(read_campaign(path.parent))
    return False


def _pilot(path: Path) -> bool:
    from synesthete.catalog.experiments import Variant, run_pilot

    found = run_pilot(path.parent, Variant("a"), Variant("b"))
    return bool(found.cautions)


def _records(path: Path) -> bool:
    from synesthete.catalog.classify.records import read_records

    return bool(read_records(path, template="health").aside)


def _reviews(path: Path) -> bool:
    from synesthete.reviews import import_reviews

    with tempfile.TemporaryDirectory() as scratch:
        return bool(import_reviews(scratch, path).aside)


def _probes(path: Path) -> bool:
    from synesthete.probes import load_probes

    probes = load_probes(path)
    assert probes.fingerprint
    repr(probes), probes.concepts, probes.modalities
    return bool(probes.problems)


def _families(path: Path) -> bool:
    from synesthete.analysis.families.definitions import load_families

    load_families(path)
    return False


def _catalog_manifest(path: Path) -> bool:
    from synesthete.catalog.store.manifest import read_manifest, refuse_other

    found = read_manifest(path.parent)
    refuse_other(path.parent, found["model"], found["model"])
    return False


def _confidence(path: Path) -> bool:
    from synesthete.catalog.suggest import read_confidence

    found = read_confidence(path.parent)
    assert found is not None
    found.probability(0.5), f"{found.right:.2f}", [f"{one.stated:.2f}" for one in found.bins]
    return False


def _classifier(path: Path) -> bool:
    from synesthete.catalog.classify.classifier import Classifier

    if path.name == "classifier.json":
        (path.parent / "weights-0.npz").write_bytes(_npz(_weights()))
    else:
        (path.parent / "classifier.json").write_text(json.dumps(_facts()))
    found = Classifier(path.parent)
    found.linear_probe.probabilities(np.zeros((1, found.linear_probe.weights.shape[1])))
    assert found.notice is not None
    return False


def _atlas(path: Path) -> bool:
    from synesthete.atlas import open_atlas

    opened = open_atlas(path.parent)
    assert opened.layers
    assert not opened.analysed
    return False


def _sealed_atlas(path: Path) -> bool:
    """What was spoilt is sealed again, as somebody hostile would."""
    from synesthete.atlas.manifest import sealed

    try:
        manifest = json.loads(path.read_bytes())
        path.write_bytes(sealed(manifest))
    except (ValueError, TypeError, RecursionError, AttributeError):
        pass
    return _atlas(path)


def _visualizations(path: Path) -> bool:
    from synesthete.atlas.visualizations import read_visualizations

    read_visualizations(path.parent, ".")
    return False


def _edits(path: Path) -> bool:
    from synesthete.editing import load_edits

    load_edits(path)
    return False


def _axis(path: Path) -> bool:
    from synesthete.editing.defence.association import load_axis

    load_axis(path)
    return False


def _lists(path: Path) -> bool:
    from synesthete.audits.bias.lists import load_lists

    load_lists(path)
    return False


def _coco(path: Path) -> bool:
    (path.parent / "a.png").write_bytes(png())
    return _probes(path)


def _coco_facts() -> Any:
    return {
        "info": {"year": 2017}, "licenses": [{"id": 4, "name": "CC-BY"}],
        "images": [{"id": 1, "file_name": "a.png", "license": 4, "coco_url": "http://x/a.png"}],
        "annotations": [{"id": 7, "image_id": 1, "caption": "a red apple"}, {"id": 8, "image_id": 1, "category_id": 2, "area": 7.5}],
        "categories": [{"id": 2, "name": "apple", "supercategory": "food"}],
    }  # fmt: skip


def _translations(path: Path) -> bool:
    from synesthete.audits.typographic.audit import read_translations

    read_translations(path)
    return False


def _report(path: Path) -> bool:
    from synesthete.audits.report.page import report_page
    from synesthete.audits.report.report import read_report

    report_page(read_report(path))
    return False


def _vocabulary(path: Path) -> bool:
    from synesthete.analysis.vocabulary import load_vocabulary

    load_vocabulary(str(path))
    return False


def _direction(path: Path) -> bool:
    from synesthete.visualization.features.targets import read_direction

    read_direction(path)
    return False


def _held_out(path: Path) -> bool:
    from synesthete.models.sources import read_held_out

    path.rename(path.with_name("held_out.json"))
    read_held_out(f"local-dir:{path.parent}")
    return False


def _fonts(path: Path) -> bool:
    from synesthete.probes.words import load_fonts

    load_fonts(path.parent)
    return False


def _assistant(path: Path) -> bool:
    from synesthete._core.json_reader import read_json
    from synesthete.catalog.mcp import answer
    from synesthete.catalog.requests import SearchPage

    class Shop:
        def answer(self, request: Any) -> SearchPage:
            json.dumps(str(request))
            return SearchPage(hits=[], next=None, total=0)

    arguments = read_json(path, root=path.parent)
    if not isinstance(arguments, dict):
        raise SynestheteError("not arguments")
    json.dumps(answer(Shop(), "search", arguments), allow_nan=False)  # type: ignore[arg-type]
    return False


def _table_centres(path: Path) -> bool:
    from synesthete.catalog.store.centres import KEY, Centres

    Centres.of(pa.schema([], metadata={KEY: base64.b64encode(path.read_bytes())}))
    return False


def _reference(path: Path) -> bool:
    from synesthete.catalog.reference import Reference

    Reference.from_bytes(path.read_bytes())
    return False


def _keys(path: Path) -> bool:
    from synesthete.catalog.keys import Keys

    keys = Keys(path.parent)
    keys.every(), keys.find("syn_00_x")
    return False


def _pointer(path: Path) -> bool:
    from synesthete.catalog.store.table import ItemTable

    for one in _empty_table().glob("*.lance"):
        shutil.copytree(one, path.parent / one.name, dirs_exist_ok=True)
    table = ItemTable(path.parent)
    table.version(), table.count(), table.quarantine(), table.pinned()
    return False


def _database(schema: tuple[str, ...], version: int) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        connection = sqlite3.connect(Path(scratch) / "x")
        for statement in (*schema, f"PRAGMA user_version = {version}"):
            connection.execute(statement)
        connection.commit()
        connection.close()
        return (Path(scratch) / "x").read_bytes()


def _keys_file() -> bytes:
    from synesthete.catalog.keys import _SCHEMA

    return _database(
        (*_SCHEMA, f"INSERT INTO keys VALUES ('00', 'shop', 'read', 60, '{HASH}', '2026')"), 1
    )


ITEM = {"id": "7", "title": "Blue mug", "description": "Holds tea", "category": "mug", "reviews": ["good", "fine"],
        "price": 12.5, "attributes": {"colour": ["blue"], "size": "L"}, "image": "a.png", "weight": 2}  # fmt: skip
EVENT = {"key": "e1", "kind": "impression", "item": "42", "at": "2026-01-31T12:00:00Z", "subject": "s",
         "position": 1, "experiment": "pilot", "variant": "A", "value": 1.5}  # fmt: skip
RECORD = {
    "image": "a.png",
    "text": "a mole, brown",
    "label": "benign",
    "group": "p1",
    "patient_name": "x",
}
QUERY = {"text": "mug", "picture": "", "relevant": "7|8", "category": "mug"}
SIGNAL = {"side": "like", "item": "7", "weight": 1.0, "age_days": 3}
PROBE = {
    "file_name": "a.png",
    "concept": "apple",
    "modality": "photo",
    "artist": "ann",
    "caption": "an apple",
}
REVIEW = {"schema": "synesthete-reviews-1", "id": "0" * 32, "at": "2026-01-31T12:00:00.000000+00:00", "rater": "ann",
          "fingerprint": HASH, "weights": HASH, "address": f"{LAYER}:3", "kind": "note", "value": "well",
          "image": "", "question": ""}  # fmt: skip


def _many(row: Mapping[str, Any], *vary: str) -> Callable[[], list[dict[str, Any]]]:
    def rows() -> list[dict[str, Any]]:
        return [{**row, **{key: f"{place:032x}" if key == "id" and row[key] == "0" * 32 else f"{row[key]}{place}" for key in vary}} for place in range(4)]  # fmt: skip

    return rows


def _cells(row: Mapping[str, Any], *vary: str) -> Callable[[], list[dict[str, Any]]]:
    """Rows for CSV: lists and objects as JSON."""

    def rows() -> list[dict[str, Any]]:
        flat = {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
        return _many(flat, *vary)()

    return rows


def _facts() -> dict[str, Any]:
    return {
        "format": "synesthete-classifier", "version": 1, "labels": ["a", "b"], "vocabulary": ["mole"],
        "template": "general", "weights": "weights-0.npz", "promises": {"quantile": 0.9, "threshold": None},
        "model": {"name": "mini", "weights_sha256": HASH, "layer": LAYER},
    }  # fmt: skip


def _weights() -> dict[str, Any]:
    rising = np.array([0.0, 1.0])
    return {"weights": np.ones((2, 3)), "intercept": np.zeros(2), "sharpness": np.array(1.0),
            "logits_0": rising, "shares_0": rising, "logits_1": rising, "shares_1": rising}  # fmt: skip


def _catalog_facts() -> dict[str, Any]:
    model = {
        "name": "mini",
        "weights_sha256": HASH,
        "embedding_dim": 4,
        "layer": LAYER,
        "units": 3,
        "preprocessing": {},
    }
    return {
        "format": "synesthete-catalog",
        "version": 2,
        "model": model,
        "reference": {"sha256": HASH},
        "atlas": None,
    }


def _confidence_facts() -> dict[str, Any]:
    one = {"n": 10, "told": 0.5, "right": 0.4, "low": 0.2, "high": 0.7}
    return {"strengths": [0.1, 0.9], "probabilities": [0.2, 0.8], "source": "own", "n": 50, "right": 0.5,
            "error": 0.1, "raw_error": 0.2, "order": 0.7, "bins": [one] * 5, "generation": 1}  # fmt: skip


def _atlas_facts() -> dict[str, Any]:
    from synesthete.atlas.manifest import fingerprint_of, sealed

    recipe = {"model": "mini", "reduction": "max"}
    facts = {
        "format": "synesthete-atlas", "version": 2, "fingerprint": fingerprint_of(recipe), "recipe": recipe,
        "model": {"name": "mini", "weights_sha256": HASH, "embedding_dim": 4}, "probes": {"name": "concepts", "fingerprint": HASH, "images": 4, "groups": [{"modality": "photo"}]},
        "layers": [{"name": LAYER, "folder": LAYER, "units": 3, "kind": "block", "grid": [2, 2]}], "reduction": "max",
        "dense": False, "thumbnails": {}, "versions": {}, "controls": {}, "analysis": None, "files": {},
    }  # fmt: skip
    found: dict[str, Any] = json.loads(sealed(facts))
    return found


def _family_facts() -> dict[str, Any]:
    return {"families": [
        {"name": "first", "description": "d", "roots": [], "words": ["word"], "probe_families": ["family 0"]},
        {"name": "others", "roots": ["entity.n.01"], "probe_families": ["family 1"]},
    ]}  # fmt: skip


def _edit_facts() -> dict[str, Any]:
    edits = [{"address": f"{LAYER}:{unit}", "op": "scale", "value": 0.5} for unit in range(3)]
    return {"format": "synesthete-edits", "version": 2, "model": {"name": "mini", "weights_sha256": HASH},
            "note": "n", "edits": edits}  # fmt: skip


def _axis_facts() -> dict[str, Any]:
    return {"groups": {"A": ["man"], "B": ["woman"]},
            "attributes": {"X": ["a", "b", "c", "d"], "Y": ["e", "f", "g", "h"]}}  # fmt: skip


def _list_facts() -> dict[str, Any]:
    from synesthete.audits.bias.lists import DEFAULT

    found: dict[str, Any] = yaml.safe_load(DEFAULT.read_text())
    return found


def _report_facts() -> dict[str, Any]:
    from tests.audits.small_report import small_report

    found: dict[str, Any] = json.loads(json.dumps(small_report(), default=list))
    return found


def _visual_row() -> dict[str, Any]:
    return {
        "target": f"{LAYER}:3", "layer": LAYER, "unit": 3, "facet": "plain", "goal": "most", "copy": 0, "file": "a.webp",
        "sha256": HASH, "activation": 1.0, "percentile": 99.0, "excites": True, "strength": 0.0, "fidelity": None,
        "steps": 3, "settings": HASH,
    }  # fmt: skip


def _reference_arrays() -> dict[str, Any]:
    texts, table, flags = np.array(["a", "b"]), np.ones((2, 4), np.float32), np.zeros(3, bool)
    return {"texts": texts, "text_vectors": table, "picture_labels": texts, "picture_vectors": table,
            "concepts": texts, "concept_vectors": table, "unit_mean": np.ones(3, np.float32),
            "unit_std": np.ones(3, np.float32), "path": np.ones((4, 3), np.float32),
            "names": np.array(["x", "y", "z"]), "tested": flags, "typographic": flags, "sensitive": flags}  # fmt: skip


def _centre_arrays() -> dict[str, Any]:
    from synesthete.catalog.store.centres import VECTORS

    vectors = {name: np.ones(3 if "units" in name else 4, np.float32) for name in VECTORS}
    return {"counts": np.array([9, 1]), **vectors}


def _columns(row: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {name: [value] * 4 for name, value in row.items()}


DOORS: dict[str, Door] = {
    "catalog index, CSV": Door("items.csv", _cells(ITEM, "id"), _index),
    "catalog index, TSV": Door("items.tsv", _cells(ITEM, "id"), _index),
    "catalog index, JSON lines": Door("items.jsonl", _many(ITEM, "id"), _index),
    "catalog index, Parquet": Door("items.parquet", _columns({**ITEM, "attributes": "{}", "image": png()}), _index),
    "catalog index, folder": Door("more.json", lambda: dict(ITEM), lambda path: _index(_folder(path))),
    "catalog index, texts": Door("more.txt", lambda: b"Title: Mug\nPrice: 2,50 kr\nIt is round.\n", lambda path: _index(_folder(path))),
    "catalog evaluate, CSV": Door("queries.csv", _cells(QUERY), _queries),
    "catalog evaluate, JSON lines": Door("queries.jsonl", _many(QUERY), _queries),
    "catalog recommend, JSON lines": Door("signals.jsonl", _many(SIGNAL), _signals),
    "catalog align, CSV": Door("campaign.csv", _cells({"picture": "a.png", "copy": "A mug"}), _campaign),
    "catalog pilot, CSV": Door("events.csv", _cells(EVENT, "key"), _pilot),
    "catalog pilot, JSON lines": Door("events.jsonl", _many(EVENT, "key"), _pilot),
    "catalog classify, CSV": Door("records.csv", _cells(RECORD, "text"), _records),
    "catalog classify, JSON lines": Door("records.jsonl", _many(RECORD, "text"), _records),
    "catalog classify, Parquet": Door("records.parquet", _columns(RECORD), _records),
    "reviews import": Door("reviews.jsonl", _many(REVIEW, "id"), _reviews),
    "probes, CSV": Door("metadata.csv", _cells(PROBE, "caption"), _probes),
    "probes, COCO": Door("captions_a.json", _coco_facts, _coco),
    "probes, JSON lines": Door("metadata.jsonl", _many(PROBE, "caption"), _probes),
    "probes, Parquet": Door("probes.parquet", _columns({"image": png(), "concept": "apple", "artist": "ann", "key": "k"}), _probes),
    "families": Door("families.json", _family_facts, _families),
    "catalog.json": Door("catalog.json", _catalog_facts, _catalog_manifest),
    "confidence.json": Door("confidence.json", _confidence_facts, _confidence),
    "classifier.json": Door("classifier.json", _facts, _classifier),
    "classifier weights": Door("weights-0.npz", _weights, _classifier),
    "catalogue reference": Door("reference.npz", _reference_arrays, _reference),
    "catalogue centres": Door("centres.npz", _centre_arrays, _table_centres),
    "catalogue table": Door("table.json", lambda: {"table": "items-1"}, _pointer),
    "catalogue keys": Door("keys.sqlite", _keys_file, _keys),
    "atlas.json": Door("atlas.json", _atlas_facts, _atlas),
    "atlas.json, sealed again": Door("atlas.json", _atlas_facts, _sealed_atlas),
    "atlas images": Door("images.parquet", _columns(_visual_row()), _visualizations),
    "edits": Door("edits.json", _edit_facts, _edits),
    "axis of bias": Door("axis.json", _axis_facts, _axis),
    "bias lists": Door("lists.yaml", _list_facts, _lists),
    "translations": Door("words.yaml", lambda: {"apple": {"de": "Apfel"}, "dog": {"de": "Hund"}}, _translations),
    "audit report": Door("report.json", _report_facts, _report),
    "vocabulary": Door("words.txt", lambda: b"apple\nbanana\n# no\nclock\n", _vocabulary),
    "direction": Door("direction.npy", lambda: np.ones(4, np.float32), _direction),
    "held-out list": Door("held-out.json", lambda: {"drawing": {"artists": ["emojione"]}, "photo": {"keys": ["k"]}}, _held_out),
    "fonts": Door("fonts.json", lambda: [{"file": "fonts.json", "family": "f", "held_out": False}], _fonts),
    "assistant": Door("arguments.json", lambda: {"text": "mug", "without": ["x"], "where": {"colour": ["red"]}, "limit": 3}, _assistant),
}  # fmt: skip


def _folder(path: Path) -> Path:
    """A folder with one item beside which the file lies."""
    place = path.parent / "shop" / "mugs" / "blue"
    place.mkdir(parents=True, exist_ok=True)
    (place / path.name).write_bytes(path.read_bytes())
    (place / "a.png").write_bytes(png())
    return path.parent / "shop"


# What stands where something sound stood. Texts of the third list are put into JSON as they are.
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**63, 2**64, -(2**70), 10**30, 1e308, "", " ", "\0", "a\0b", "\ud800", "x\udfffy", "\ud83d\ude00",
    "../../etc/passwd", "/etc/passwd", "http://x/y.png", "C:\\x", "a" * 70_000, "1" * 5000, "=1+1", "{", "[1, [2", '"', "\n", "\r", "\u2028", "\x85", "\ufeff",
    "٣", "NaN", "é" * 300, [], {}, [[]], [None], [{}], {"": None}, {"a": {"b": []}}, ["\ud800"], {"\udc00": 1}, [1, "2", None], "2026-99-99", "0000-00-00",
)  # fmt: skip
RAW = (
    "[" * 300 + "]" * 300, "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "NaN", "-Infinity", "1e999", "9" * 5000,
    '"\\ud800"', '"\\u0000"', "[1,]", "'x'", "{" + ",".join(f'"{n}":1' for n in range(600)) + "}", "1" * 400 + ".5",
)  # fmt: skip
PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b'"', b"\n", b"\r", b"\t", b",", b";", b"[" * 2000, b"{" * 2000,
    b"&a [*a]", b"!!python/object/apply:os.system [ls]", b"- " * 300, b": ", b"*x", b"<<: 1", b"2026-99-99", b"0x" + b"f" * 9000, b".nan", b"? [",
)  # fmt: skip
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)


def spoilt(door: Door, rng: Random) -> bytes:
    """The door's file with something wrong in it; now and then as it should be."""
    ending = door.file.rpartition(".")[2]
    sound = door.sound()
    if ending == "parquet":
        data = _parquet(sound, rng)
    elif ending == "npz":
        data = _npz(_spoil_arrays(sound, rng))
    elif ending == "npy":
        data = _npy(_spoil_arrays({"x": sound}, rng)["x"])
    elif ending in ("txt", "sqlite"):
        data = sound
    else:
        data = _as_text(sound, ending, rng)
    if rng.random() < (0.3 if ending not in ("txt", "sqlite") else 0.9):
        data = _spoil_bytes(data, rng)
    return data


def whole(door: Door) -> bytes:
    """The door's file as it should be."""
    ending, sound = door.file.rpartition(".")[2], door.sound()
    if ending == "parquet":
        stream = io.BytesIO()
        pq.write_table(pa.table({name: pa.array(values) for name, values in sound.items()}), stream)
        return stream.getvalue()
    if ending in ("npz", "npy"):
        return _npz(sound) if ending == "npz" else _npy(sound)
    return sound if isinstance(sound, bytes) else _written(sound, ending).encode()


def _written(value: Any, ending: str) -> str:
    if ending in ("csv", "tsv"):
        names = list(value[0])
        return _csv([names, *([row.get(name) for name in names] for row in value)], ending)
    if ending == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in value)
    return yaml.safe_dump(value, allow_unicode=True) if ending == "yaml" else json.dumps(value)


def _csv(rows: list[list[Any]], ending: str) -> str:
    mark = "\t" if ending == "tsv" else ","
    return "".join(mark.join(_quoted(cell) for cell in row) + "\n" for row in rows)


def _quoted(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in '",;\t\n\r') else text


def _as_text(sound: Any, ending: str, rng: Random) -> bytes:
    raw: dict[str, str] = {}
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        sound = _spoil_value(sound, rng, raw)
    if ending == "yaml" and rng.random() < 0.1:
        return (BOMB + yaml.safe_dump(sound)).encode("utf-8", "surrogatepass")
    if ending in ("csv", "tsv") and not (
        isinstance(sound, list) and sound and all(isinstance(row, dict) for row in sound)
    ):
        ending = "json"
    if ending == "jsonl" and not isinstance(sound, list):
        sound = [sound]
    text = _written(sound, ending)
    for name, instead in raw.items():
        text = text.replace(f'"{name}"', instead).replace(name, instead)
    return text.encode("utf-8", "surrogatepass")


def _spoil_value(value: Any, rng: Random, raw: dict[str, str]) -> Any:
    """A copy with one thing in it replaced, renamed, doubled or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        chance = rng.random()
        if chance < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if chance < 0.3:
            return {
                **value,
                rng.choice(("", "\0", "\ud800", "x" * 600, "unknown", "a\nb")): value[key],
            }
        return {**value, key: _spoil_value(value[key], rng, raw)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.1:
            return (
                value[:place] + value[place + 1 :] if rng.random() < 0.5 else [*value, value[place]]
            )
        return [*value[:place], _spoil_value(value[place], rng, raw), *value[place + 1 :]]
    if rng.random() < 0.3:
        name = f"raw-{len(raw)}-raw"
        raw[name] = rng.choice(RAW)
        return name
    return rng.choice(ODD)


def _spoil_bytes(data: bytes, rng: Random) -> bytes:
    kind = rng.randrange(7)
    place = rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + rng.choice(PIECES) + data[place:]
    if kind == 2 and data:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 8, 64))):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(changed)
    if kind == 3:
        return data.decode("utf-8", "replace").encode(
            rng.choice(("utf-16", "utf-16-le", "latin-1", "utf-32")), "replace"
        )
    if kind == 4:
        return rng.choice(
            (
                b"",
                b"\xef\xbb\xbf",
                b"\0" * 100,
                b"\xef\xbb\xbf" + data,
                data * 2,
                b"null",
                b"[]",
                b"{}",
                b'"x"',
            )
        )
    if kind == 5:
        return data[:place] + data[min(len(data), place + rng.randrange(1, 40)) :]
    return data[:place] + rng.randbytes(rng.randrange(1, 50)) + data[place:]


def _odd_columns(rng: Random) -> pa.Array:
    """Four values of a type that a table of texts does not have."""
    kind = rng.randrange(24)
    words = ["a", "b", None, "a"]
    if kind == 0:
        return pa.array(
            [2**62, -(2**62), 0, None],
            pa.timestamp(rng.choice(("s", "ms", "us", "ns")), rng.choice((None, "UTC"))),
        )
    if kind == 1:
        return pa.array([2**30, -(2**30), 0, None], pa.int32()).cast(pa.date32())
    if kind == 2:
        return pa.array([Decimal("1e30"), Decimal("-1.5"), None, Decimal(0)], pa.decimal256(60, 5))
    if kind == 3:
        return pa.array(words).dictionary_encode()
    if kind == 4:
        return pa.array([b"\xff\0", b"", None, png()], pa.large_binary())
    if kind == 5:
        return pa.nulls(4)
    if kind == 6:
        return pa.array(
            [[("a", 1)], [], None, [("b", None), ("b", 2)]], pa.map_(pa.string(), pa.int64())
        )
    if kind == 7:
        return pa.array(
            [[([1], 1)], [], None, [([], 2)]], pa.map_(pa.list_(pa.int64()), pa.int64())
        )
    if kind == 8:
        return pa.array([list(range(20_000)), [], None, [1]], pa.list_(pa.int64()))
    if kind == 9:
        return pa.array(
            [
                {"bytes": b"x", "path": None},
                {"bytes": None, "path": "../x"},
                None,
                {"bytes": None, "path": "a\0b"},
            ]
        )
    if kind == 10:
        return pa.array([float("nan"), float("inf"), -0.0, 1e308])
    if kind == 11:
        return pa.array([2**64 - 1, 0, None, 5], pa.uint64())
    if kind == 12:
        return pa.array([True, False, None, True])
    if kind == 13:
        return pa.array([2**40, -5, None, 0], pa.duration("s"))
    if kind == 14:
        return pa.array([0, 86_399_999_999, None, 5], pa.time64("us"))
    if kind == 15:
        deep: Any = "x"
        for _ in range(40):
            deep = [deep]
        return pa.array([deep, None, deep, None])
    if kind == 16:
        return pa.array([{"a": {"b": [{"c": 1}]}}, None, {"a": None}, {"a": {"b": []}}])
    if kind == 17:
        return pa.array([b"abcd", b"efgh", None, b"\0\0\0\0"], pa.binary(4))
    if kind == 18:
        return pa.array(["a\0b", "\x1b[31m", "x" * 100_000, "é" * 700])
    if kind == 19:
        # Not UTF-8, though it says so.
        offsets = pa.array([0, 1, 3, 3, 4], pa.int32()).buffers()[1]
        return pa.Array.from_buffers(
            pa.string(), 4, [None, offsets, pa.py_buffer(b"\xff\xc3\x28a")]
        )
    if kind == 20:
        return pa.array([["a|b", None], [], None, ["\0"]])
    if kind == 21:
        return (
            pa.array([2**62, 0, None, 1], pa.date64())
            if rng.random() < 0.5
            else pa.array([1, 2, None, 3], pa.float16())
        )
    if kind == 22:
        return pa.array(
            [[1.0, float("nan")], [2.0, 3.0], None, [0.0, 0.0]], pa.list_(pa.float64(), 2)
        )
    return pa.array([b"\0" * 16, b"\1" * 16, b"\2" * 16, b"\3" * 16], pa.binary(16))


def _parquet(columns: dict[str, list[Any]], rng: Random) -> bytes:
    table = {name: pa.array(values) for name, values in columns.items()}
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        chance, name = rng.random(), rng.choice(list(table))
        if chance < 0.15 and len(table) > 1:
            table.pop(name)
        elif chance < 0.3:
            table[rng.choice(("", "\0", "unknown", "image_2", "x" * 500, "a.b"))] = _odd_columns(
                rng
            )
        else:
            table[name] = _odd_columns(rng)
    spoiled = pa.table(table)
    if rng.random() < 0.2:
        note = rng.choice(
            (
                b"{",
                b"[" * 2000,
                b'{"info": {"features": {"concept": {"names": 5}}}}',
                b"\xff",
                b'{"info": []}',
            )
        )
        spoiled = spoiled.replace_schema_metadata({b"huggingface": note})
    stream = io.BytesIO()
    try:
        pq.write_table(
            spoiled, stream, row_group_size=rng.choice((1, 2, 64)), store_schema=rng.random() < 0.7
        )
    except (pa.ArrowException, OverflowError):
        return b"PAR1"
    return stream.getvalue()


def _npy(array: Any) -> bytes:
    if isinstance(array, bytes):
        return array
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=True)
    return stream.getvalue()


def _npz(arrays: Mapping[str, Any]) -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", _npy(array))
    return stream.getvalue()


def _header(text: str) -> bytes:
    """A `.npy` file whose header says anything."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + b"\0" * 16


def _spoil_arrays(arrays: dict[str, Any], rng: Random) -> dict[str, Any]:
    spoiled = dict(arrays)
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(list(spoiled))
        kind = rng.randrange(12)
        if kind == 0 and len(spoiled) > 1:
            spoiled.pop(name)
        elif kind == 1:
            spoiled[name] = np.array([{"a": 1}, None], dtype=object)
        elif kind == 2:
            spoiled[name] = np.array(["x", "é"])
        elif kind == 3:
            spoiled[name] = np.zeros((0,))
        elif kind == 4:
            spoiled[name] = np.ones((2, 2, 2), np.complex128)
        elif kind == 5:
            spoiled[name] = np.array([np.nan, np.inf])
        elif kind == 6:
            spoiled[name] = np.zeros(3, [("a", "i4"), ("b", "f8")])
        elif kind == 7:
            shape = rng.choice(
                (
                    "(1152921504606846976, 8)",
                    "(-1,)",
                    "(99999999999,)",
                    "('a',)",
                    "(2",
                    "(3.5,)",
                    "(True,)",
                )
            )
            spoiled[name] = _header(
                f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
            )
        elif kind == 8:
            descr = rng.choice(
                ("'|O'", "'<q9'", "'zz'", "[('a', '<f8')]", "None", "5", "'<M8[s]'", "'<U99999999'")
            )
            spoiled[name] = _header(
                f"{{'descr': {descr}, 'fortran_order': False, 'shape': (2,), }}"
            )
        elif kind == 9:
            spoiled[name] = _header("(" * 3000)
        elif kind == 10:
            spoiled[name] = np.asfortranarray(np.ones((3, 4)))
        else:
            spoiled[name] = rng.randbytes(40)
    return spoiled


def try_door(name: str, data: bytes, folder: Path) -> str:
    """What becomes of a file: `accepted`, `refused` or `quarantined`; anything else is raised."""
    door = DOORS[name]
    path = folder / door.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    (path.parent / "a.png").write_bytes(png())
    try:
        return "quarantined" if door.enter(path) else "accepted"
    except SynestheteError as error:
        message = str(error)
        message.encode()
        if "\n" in message and "\n" not in str(path):
            raise AssertionError(f"a message of several lines: {message!r}") from error
        return "refused"


def counted(outcomes: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Counts by door, every outcome named."""
    kinds = ("accepted", "refused", "quarantined", "tracebacks")
    return {name: {kind: found[kind] for kind in kinds} for name, found in outcomes.items()}
