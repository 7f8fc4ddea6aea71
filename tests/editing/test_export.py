"""An exported checkpoint, loaded by plain open_clip, is the live edited model; or there is no checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from synesthete.editing import Edit, Edits, export_edits, plan_edits
from synesthete.editing.fold import Unfoldable
from synesthete.errors import SynestheteError
from synesthete.models import load_model
from tests.editing.conftest import Family, images, live_unit
from tests.recording.trees import tree

SITES = {
    "modified-resnet": ("visual.layer4.1", "visual.layer2.0.act2", "visual.layer1.0"),
    "vit": ("visual.transformer.resblocks.2.mlp", "visual.transformer.resblocks.0.attn"),
    "siglip": ("visual.trunk.blocks.11.mlp", "visual.trunk.blocks.3.attn"),
}


@pytest.mark.parametrize("name", SITES)
def test_plain_open_clip_gives_what_the_edited_model_gave(
    family: Family, name: str, tmp_path: Path
) -> None:
    model, shown = family(name), images(4)
    batch = torch.stack([model.preprocess(one) for one in shown])
    units = [f"{layer}:{live_unit(model, layer, batch)}" for layer in SITES[name]]
    edits = plan_edits(model, ablate=units[1:], scale={units[0]: -3.0}, note="why")
    exported = export_edits(model, edits, tmp_path / "out" / "edited_model", shown)
    with model.edited(edits):
        wanted = model.encode_images(batch)
    network, preprocess = open_clip.create_model_from_pretrained(exported.spec)
    with torch.inference_mode():
        theirs = torch.stack([preprocess(one) for one in shown])
        found = network.eval().encode_image(theirs, normalize=True).numpy()
    assert float(np.abs(found - wanted).max()) <= 1e-4
    assert exported.difference <= 1e-4 < exported.effect
    assert exported.images == 4
    # It is a model like any other here, with the same words and other weights.
    again = load_model(exported.spec, device="cpu")
    assert again.weights_sha256 != model.weights_sha256
    if name != "siglip":
        texts = again.encode_texts(["an apple"])
        np.testing.assert_allclose(texts, model.encode_texts(["an apple"]), atol=1e-6)
    record = json.loads((tmp_path / "out" / "edited_model" / "edits.json").read_text())
    assert record["note"] == "why"
    assert record["export"]["difference"] == exported.difference
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"edited_model"}


def test_edits_of_text_units_are_checked_on_texts(family: Family, tmp_path: Path) -> None:
    model, shown = family("vit"), images(2)
    layer = "text.transformer.resblocks.0"
    edits = plan_edits(
        model, ablate=[f"{layer}.mlp:3", f"{layer}.attn:0"], scale={f"{layer}.mlp:5": -3.0}
    )
    exported = export_edits(model, edits, tmp_path / "edited_model", shown)
    assert exported.difference <= 1e-4 < exported.effect
    assert (exported.images, exported.texts) == (2, 5)
    texts = ["an apple", "", "a dog on the beach, late in the evening"]
    with model.edited(edits):
        wanted = model.encode_texts(texts)
    network, _ = open_clip.create_model_from_pretrained(exported.spec)
    tokens = open_clip.get_tokenizer(exported.spec)(texts)
    with torch.inference_mode():
        found = network.eval().encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(SynestheteError, match="reads texts, and means are taken over images"):
        plan_edits(model, mean_ablate=[f"{layer}.mlp:3"], pixels=torch.zeros(1, 3, 8, 8))


def test_an_edited_mini_still_says_what_was_held_out_of_its_training(tmp_path: Path) -> None:
    from synesthete import load_probes
    from synesthete.analysis.zero_shot import held_out_rows

    model, shown = load_model("mini", device="cpu"), images(2)
    live = live_unit(
        model, "visual.layer4.1", torch.stack([model.preprocess(one) for one in shown])
    )
    edits = plan_edits(model, ablate=[f"visual.layer4.1:{live}"])
    exported = export_edits(model, edits, tmp_path / "edited_model", shown)
    labels = load_probes("concepts").labels
    unseen = held_out_rows("mini", labels)
    assert 0 < unseen.sum() < len(unseen)
    assert held_out_rows(exported.spec, labels).tolist() == unseen.tolist()


def test_what_cannot_be_folded_leaves_nothing(family: Family, tmp_path: Path) -> None:
    model = family("modified-resnet")
    edits = plan_edits(model, scale={"visual.layer4.0:3": 0.5})
    with pytest.raises(Unfoldable, match="shortcut passes the channel on"):
        export_edits(model, edits, tmp_path / "x", images(2))
    assert not list(tmp_path.iterdir())


def test_other_embeddings_are_refused(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding that goes wrong is found out on the images."""
    model = family("vit")
    edits = plan_edits(model, ablate=["visual.transformer.resblocks.2.mlp:7"])
    monkeypatch.setattr(
        "synesthete.editing.fold.fold",
        lambda model, edits: {n: w * 1.01 for n, w in model.network.state_dict().items()},
    )
    with pytest.raises(SynestheteError, match="the export is refused: on 2 images"):
        export_edits(model, edits, tmp_path / "x", images(2))
    assert not list(tmp_path.iterdir())


def test_bad_places_and_empty_edits(family: Family, tmp_path: Path) -> None:
    model = family("vit")
    edits = plan_edits(model, ablate=["visual.transformer.resblocks.2.mlp:7"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for place, shown, planned, message in (
        (tmp_path / "full", 2, edits, "is there already"),
        (tmp_path / "new", 0, edits, "there are none"),
        (tmp_path / "new", 2, plan_edits(model), "no edits"),
        (
            tmp_path / "new",
            2,
            Edits((Edit("visual:1", "ablate"),), "other", "00"),
            "for other with",
        ),
    ):
        with pytest.raises(SynestheteError, match=message):
            export_edits(model, planned, place, images(shown))


def test_the_same_export_again_finds_it_done_and_leaves_nothing(
    family: Family, tmp_path: Path
) -> None:
    """Whoever is killed at any moment runs the same command again."""
    model, shown = family("vit"), images(2)
    edits = plan_edits(model, ablate=["visual.transformer.resblocks.2.mlp:7"])
    left = tmp_path / ".edited_model.draft"
    left.mkdir()
    (left / "open_clip_model.safetensors").write_bytes(b"half of it")
    first = export_edits(model, edits, tmp_path / "edited_model", shown)
    before = tree(tmp_path)
    assert export_edits(model, edits, tmp_path / "edited_model", shown) == first
    assert tree(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"edited_model"}
    other = plan_edits(model, ablate=["visual.transformer.resblocks.2.mlp:8"])
    with pytest.raises(SynestheteError, match="is there already"):
        export_edits(model, other, tmp_path / "edited_model", shown)
    assert tree(tmp_path) == before
