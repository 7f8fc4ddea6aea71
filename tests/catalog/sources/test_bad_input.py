"""Tables that are wide, broken or hostile: taken, set aside or refused in one line each."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from synesthete.catalog import Catalog, Item, Quarantined
from synesthete.catalog.server.app import create_app
from synesthete.catalog.sources import Watermark, read_items, tables
from synesthete.catalog.store.ingest import cleaned
from synesthete.catalog.tables import choose
from synesthete.errors import SynestheteError
from synesthete.server.auth import LOOPBACK, Gate

SCRIPT = "<script>alert(1)</script>"


def read(path: Path) -> tuple[list[Item], list[Quarantined]]:
    found = list(read_items(path))
    return [o for o in found if isinstance(o, Item)], [
        o for o in found if isinstance(o, Quarantined)
    ]


def test_ten_thousand_columns(tmp_path: Path, empty: Catalog) -> None:
    names = [
        "id",
        "title",
        *(f"image_{n}" for n in range(4000)),
        *(f"column {n}" for n in range(6000)),
    ]
    path = tmp_path / "wide.csv"
    rows = [[str(n), "mug", *[""] * 4000, *["x"] * 3, *[""] * 5997] for n in range(20)]
    rows += [["full", "mug", *["x"] * 10_000]]
    path.write_text("\n".join(",".join(row) for row in [names, *rows]))
    items, _ = read(path)
    assert [len(one.attributes) for one in items] == [3] * 20 + [6000]
    written = empty.upsert(read_items(path))
    assert written.added == 20
    assert "attributes; at most 500" in written.quarantined[-1].reason


def test_columns_are_chosen_once_for_rows_of_ever_new_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = 0

    def counting(*args: object) -> dict[str, str]:
        nonlocal chosen
        chosen += 1
        return choose(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "choose", counting)
    path = tmp_path / "items.jsonl"
    rows = [{"id": n, "title": "mug", f"key {n}": "x"} for n in range(500)]
    rows += [{"id": 500, "name": "cup", "price": 3}]
    path.write_text("\n".join(map(json.dumps, rows)))
    items, aside = read(path)
    assert (len(items), aside, items[-1].price) == (501, [], 3.0)
    assert chosen == 2


@pytest.mark.parametrize(
    ("price", "number"),
    [
        ("1.299,00 €", 1299.0), ("$1,299.00", 1299.0), ("ten euros", None), ("zehn", None), ("from 5 to 9", None), ("1e400", None),
        (1.299, 1.299), (1299, 1299.0), ("1.299", 1299.0), ("12,5", 12.5),
    ],
)  # fmt: skip
def test_prices_in_all_manners(tmp_path: Path, price: object, number: float | None) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"id": "1", "title": "mug", "price": price}))
    (item,), aside = read(path)
    assert item.price == number
    assert [one.what for one in aside] == ([] if number is not None else ["price"])


def test_a_decimal_is_a_number(tmp_path: Path) -> None:
    prices = pa.array(["1.299", "12.500"]).cast(pa.decimal128(10, 3))
    pq.write_table(pa.table({"id": ["1", "2"], "price": prices}), tmp_path / "x.parquet")
    assert [one.price for one in read(tmp_path / "x.parquet")[0]] == [1.299, 12.5]


@pytest.mark.parametrize("kept", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "shopify"])
def test_half_a_table(tmp_path: Path, kind: str, kept: float) -> None:
    rows = [{"id": str(n), "title": f'mug "{n}", blue', "price": n} for n in range(40)]
    path = tmp_path / f"items.{'csv' if kind == 'shopify' else kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "csv":
        path.write_text(
            "id,title,price\n" + "".join(f'{n},"mug ""{n}"", blue",{n}\n' for n in range(40))
        )
    else:
        shutil.copy(Path(__file__).parent / "data" / "shopify.csv", path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    if kind == "parquet":
        with pytest.raises(SynestheteError, match="cannot be read as Parquet"):
            read(path)
        return
    items, aside = read(path)
    assert items or aside
    # What is whole is read as it was; the last row may have lost its end.
    titles = [f'mug "{n}", blue' for n in range(40)]
    assert kind == "shopify" or [one.title for one in items[:-1]] == titles[: len(items) - 1]


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.sampled_from(["shopify.csv", "shopify_new_names.csv", "woocommerce.csv"]), st.data())
def test_a_spoilt_export_is_never_a_traceback(name: str, data: st.DataObject) -> None:
    content = (Path(__file__).parent / "data" / name).read_bytes()
    header = content.index(b"\n") + 1
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0 if data.draw(st.booleans()) else header, len(content)))
        piece = data.draw(
            st.sampled_from(
                [b"", b",", b'"', b"\n", b"\xff", b"\0", b"&#9", b"<a ", b"id:17", b"-1", b"1e999"]
            )
        )
        content = content[:at] + piece + content[at + data.draw(st.integers(0, 40)) :]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(SynestheteError):
        path = Path(folder) / "export.csv"
        path.write_bytes(content)
        for one in read_items(path, since=Watermark()):
            if isinstance(one, Item):
                with contextlib.suppress(SynestheteError):
                    cleaned(one)


def test_scripts_in_titles_are_text_on_pages(tmp_path: Path, empty: Catalog) -> None:
    path = tmp_path / "items.csv"
    path.write_text(
        f'id,title,description,category,colour\n1,"{SCRIPT} mug","{SCRIPT}","{SCRIPT}","{SCRIPT}"\n'
    )
    assert empty.upsert(read_items(path)).added == 1
    assert next(empty.items()).title == f"{SCRIPT} mug"
    empty.close()
    app = create_app(empty.path, Gate("token-of-this-test", hosts=[*LOOPBACK, "testserver"]))
    headers = {"Authorization": "Bearer token-of-this-test", "Accept": "text/html"}
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=headers) as client:
        page = client.get("/item?id=1")
        assert page.status_code == 200
        assert SCRIPT not in page.text
        assert "&lt;script&gt;alert(1)&lt;/script&gt; mug" in page.text


def test_a_catalogue_of_another_model_is_refused_in_one_line(empty: Catalog) -> None:
    model = empty.model
    empty.close()
    path = empty.path / "catalog.json"
    facts = json.loads(path.read_text())
    facts["model"]["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(facts))
    with pytest.raises(SynestheteError, match="was built with") as caught:
        Catalog.open(empty.path, model=model)
    assert "\n" not in str(caught.value)
