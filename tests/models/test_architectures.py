"""docs/architectures.md: its rows are of every architecture, the page is up to date, and the measurement runs."""

from __future__ import annotations

import open_clip
import pytest

from benchmarks.architectures import (
    EXACT,
    EXPORTED,
    PAGE,
    PREFIX,
    TYPES,
    measure,
    page,
    read_rows,
)

# One of each family that the other tests do not build: a hybrid of convolutions and blocks, rotary positions with attention pooling,
# relative positions, a text tower of transformers; a type of transformers in its default size.
FAMILIES = ("transformers:chinese_clip", "ViTamin-S", "PE-Core-T-16-384", "vit_relpos_medium_patch16_cls_224", "roberta-ViT-B-32")  # fmt: skip


def test_every_architecture_has_a_row() -> None:
    assert set(read_rows()) == {*open_clip.list_models(), *(PREFIX + one for one in TYPES)}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read_rows().values()), (
        "python benchmarks/architectures.py --page"
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_read_exactly_and_its_edits_fold(name: str) -> None:
    row = measure(name)
    assert row["exact"]
    assert {"image_embedding", "image_blocks", "image_mlp"} <= set(row["errors"])
    assert max(row["errors"].values()) <= EXACT
    edits = row["edits"]
    assert edits["image mlp"] <= EXPORTED < edits["image effect"]
    assert edits["image heads"] <= EXPORTED
    known = read_rows()[name]
    assert (row["layers"], row["units"]) == (known["layers"], known["units"])
    assert {"text_embedding", "text_blocks", "text_mlp"} <= set(row["errors"])
    assert edits["text mlp"] <= EXPORTED < edits["text effect"]


def test_a_reading_that_differs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tap at the wrong module the measurement must not say that it is exact."""
    from dataclasses import replace

    from synesthete.models import image_text_model

    find = image_text_model.find_taps

    def wrong(visual: object) -> dict[str, object]:
        taps = find(visual)  # type: ignore[arg-type]
        mlps = [tap for tap in taps.values() if tap.kind == "mlp" and tap.side == "output"]
        first = mlps[0]
        taps[first.layer] = replace(first, source=next(iter(first.window.children())))
        return taps  # type: ignore[return-value]

    monkeypatch.setattr(image_text_model, "find_taps", wrong)
    row = measure("ViT-S-32-alt")
    assert not row["exact"]
    assert row["errors"]["image_pre"] > EXACT
