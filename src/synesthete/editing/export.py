"""Writing an edited model as a checkpoint that its own library loads plainly, checked on images and texts before it is there."""

from __future__ import annotations

import filecmp
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float32
from synesthete._core.json_reader import read_json
from synesthete.atlas.files import claim_draft, disk_errors, sync_folder
from synesthete.audits.images import BATCH, embed
from synesthete.editing.edits import Edits
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from synesthete.models import ImageTextModel
    from synesthete.models.sources import Source

TOLERANCE = 1e-4
# What an export of edits of the text tower is checked on beside the images: short and long, and beyond every context.
TEXTS = (
    "",
    "apple",
    "a photo of an apple",
    "Twice a year the whole village walks up the hill, and nobody remembers why.",
    "It has four legs, a long tail and no patience at all; whoever has lived with one knows that. "
    * 5,
)
CONFIGURATION, WEIGHTS, RECORD = (
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "edits.json",
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A checkpoint, and how it was checked.

    Attributes
    ----------
    path
        The folder.
    spec
        The name that loads it, such as `local-dir:PATH`; of a wrapped module its own, which no other program can load.
    images, texts
        How many images and texts it was checked on.
    difference
        Largest difference of an embedding's component between the plain library (open_clip, transformers, timm, torchvision) on the checkpoint and
        the live edited model. At most `TOLERANCE`.
    effect
        Largest difference between the edited and the unedited model, which says that there was something to check.
    changed
        Names of the weights that differ.
    """

    path: str
    spec: str
    images: int
    texts: int
    difference: float
    effect: float
    changed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def export_edits(
    model: ImageTextModel, edits: Edits, folder: str | Path, images: Sequence[Image.Image]
) -> Exported:
    """Fold edits into the weights and write the checkpoint, if it reproduces the edited model.

    Parameters
    ----------
    model
        The model that the edits are for.
    folder
        Output folder; it must not exist, be empty, or hold this same checkpoint.
    images
        Images to check on, as they are before preprocessing.

    Raises
    ------
    SynestheteError
        An edit that cannot be folded (with the reason), no edits, a model without its text tower, a folder with something in it, or embeddings that differ
        by more than 1e-4; then nothing is written.
    """
    from synesthete.editing.fold import fold
    from synesthete.models.sources import HELD_OUT, read_held_out

    folder = Path(folder).expanduser()
    if not len(edits):
        raise SynestheteError("there are no edits to export")
    if not len(images):
        raise SynestheteError("an export is checked on images, and there are none")
    if (missing := model.description.get("text_tower")) is not None:
        raise SynestheteError(f"a checkpoint holds both towers, and {missing}")
    _check_place(folder)
    folded = fold(model, edits)
    given = model.network.state_dict()
    changed = tuple(
        n for n, w in folded.items() if w is not given[n] and not bool((w == given[n]).all())
    )
    of_text = {one.name for one in model.sites("text")}
    texts = TEXTS if any(edit.layer in of_text for edit in edits.edits) else ()
    before = _embedded(model, images, texts)
    with model.edited(edits):
        live = _embedded(model, images, texts)
    place = folder.absolute()
    with disk_errors(folder), claim_draft(place.with_name(f".{place.name}.draft")) as draft:
        plain, spec = _written_plain(draft, model, folded, images, texts)
        difference = float(np.abs(plain - live).max())
        # Written so that a NaN is refused as well.
        if not difference <= TOLERANCE:
            raise SynestheteError(
                f"the export is refused: on {len(images)} images and {len(texts)} texts the folded weights give other embeddings "
                f"than the edited model, by {difference:.2g} (at most {TOLERANCE:g} is allowed)",
                hint="very large or small factors lose precision; make the edit milder",
            )
        exported = Exported(
            path=str(folder),
            spec=spec.replace("{folder}", str(folder)),
            images=len(images),
            texts=len(texts),
            difference=difference,
            effect=float(np.abs(live - before).max()),
            changed=changed,
        )
        record = edits.as_dict() | {"export": exported.as_dict() | {"path": "", "spec": ""}}
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (draft / RECORD).write_text(text, encoding="utf-8")
        if (held_out := read_held_out(model.name)) is not None:
            # An edited model has seen what the unedited one was trained on, and no more.
            text = json.dumps(held_out, indent=1, ensure_ascii=False) + "\n"
            (draft / HELD_OUT).write_text(text, encoding="utf-8")
        _place(draft, place)
    return exported


def _check_place(folder: Path) -> None:
    """Before the work: what is no checkpoint is in the way."""
    if folder.exists() and not (folder / RECORD).is_file() and not _is_empty(folder):
        raise _in_the_way(folder)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _in_the_way(folder: Path) -> SynestheteError:
    hint = "name a new folder, or remove that one"
    return SynestheteError(f"{folder} is there already", hint=hint)


def _place(draft: Path, folder: Path) -> None:
    """Move a checkpoint to its place, unless it is there: whoever is killed after that runs the same command again."""
    names = sorted(path.name for path in draft.iterdir())
    if (folder / RECORD).is_file():
        _, other, unread = filecmp.cmpfiles(draft, folder, names, shallow=False)
        if other or unread or sorted(path.name for path in folder.iterdir()) != names:
            raise _in_the_way(folder)
        return
    for name in names:
        with (draft / name).open("rb") as file:
            os.fsync(file.fileno())
    if folder.is_dir():
        folder.rmdir()
    draft.replace(folder)
    sync_folder(folder.parent)


def _embedded(
    model: ImageTextModel, images: Sequence[Image.Image], texts: Sequence[str]
) -> Float32:
    of_images = embed(model, images)
    return np.concatenate([of_images, model.encode_texts(texts)]) if texts else of_images


@contextmanager
def _without_hub(folder: Path, source: Source) -> Iterator[Path]:
    """The checkpoint where open_clip finds the shape of a text tower of transformers beside it, and does not ask the hub."""
    from synesthete.models.building import shape_of_text, write_configuration

    shape = shape_of_text(source)
    if shape is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="synesthete-export-") as name:
        written = read_json(folder / CONFIGURATION)
        known = replace(source, config=written["model_cfg"], preprocess=written["preprocess_cfg"])
        write_configuration(Path(name), known, shape)
        for file in folder.iterdir():
            if file.name != CONFIGURATION:
                (Path(name) / file.name).symlink_to(file)
        yield Path(name)


def _plain_open_clip(
    folder: Path, images: Sequence[Image.Image], texts: Sequence[str], device: str
) -> Float32:
    """What open_clip itself makes of the checkpoint, the images and the texts."""
    import torch
    from open_clip import create_model_from_pretrained, get_tokenizer

    from synesthete.models.building import quiet

    with quiet():
        network, preprocess = create_model_from_pretrained(f"local-dir:{folder}", device=device)
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.stack([preprocess(one) for one in images[start : start + BATCH]]).to(
                device
            )
            parts.append(network.encode_image(batch, normalize=True).float().cpu().numpy())
        if texts:
            tokens = get_tokenizer(f"local-dir:{folder}")(list(texts)).to(device)
            parts.append(network.encode_text(tokens, normalize=True).float().cpu().numpy())
    return np.concatenate(parts)


def _written_plain(
    folder: Path,
    model: ImageTextModel,
    weights: Mapping[str, torch.Tensor],
    images: Sequence[Image.Image],
    texts: Sequence[str],
) -> tuple[Float32, str]:
    """Write a checkpoint, and say what its own library makes of it and what `load_model` calls it, with `{folder}` in it."""
    import torch

    from synesthete.models.names import WRAPPED
    from synesthete.models.sources import resolve

    local, device = "local-dir:{folder}", str(model.device)
    if model.name.startswith(WRAPPED):
        return _plain_wrapped(folder, model, weights, images), model.name
    source = resolve(model.name)
    if source.library == "open_clip" and not source.converted:
        _write(folder, model, weights, source)
        with _without_hub(folder, source) as place:
            return _plain_open_clip(place, images, texts, device), local
    if source.library in ("timm", "torchvision"):
        from synesthete.models.vision_libraries import VisionModel

        maker = VisionModel(source)
        spec = maker.save(weights, folder)
        return maker.plain_features(folder, images, device, BATCH), spec
    from synesthete.models.building import has_transformers, needs_transformers
    from synesthete.models.transformers_models import TransformersModel, plain_features, save_clip

    if not has_transformers():
        raise needs_transformers(f"an export of {model.name}, checked with it,")
    if source.converted:
        save_clip(source, weights, folder)
    else:
        TransformersModel(source).save(weights, folder)
    pixels = torch.stack([model.preprocess(one) for one in images])
    tokens = model.token_ids(texts) if texts else None
    return plain_features(folder, pixels, tokens, device, BATCH), local


def _plain_wrapped(
    folder: Path,
    model: ImageTextModel,
    weights: Mapping[str, torch.Tensor],
    images: Sequence[Image.Image],
) -> Float32:
    """Write a module's state dict, and say what the module makes of it."""
    import torch

    from synesthete.models.wrapping import save_wrapped

    plain = save_wrapped(model, weights, folder)
    visual: Any = model.network.visual
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            pixels = torch.stack([model.preprocess(one) for one in images[start : start + BATCH]])
            parts.append(visual.call(plain, pixels.to(model.device)))
    return torch.nn.functional.normalize(torch.cat(parts), dim=-1).float().cpu().numpy()


def _write(
    folder: Path, model: ImageTextModel, weights: Mapping[str, torch.Tensor], source: Source
) -> None:
    from safetensors.torch import save_file

    from synesthete.models.text import tokenizer_files

    config = dict(source.config) | ({"quick_gelu": True} if source.quick_gelu else {})
    settings = model.preprocessing.as_dict()
    settings["size"] = settings.pop("image_size")
    text = json.dumps({"model_cfg": config, "preprocess_cfg": settings}, indent=2)
    (folder / CONFIGURATION).write_text(text + "\n", encoding="utf-8")
    # Every tensor on its own: tied weights would be refused.
    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()},
        folder / WEIGHTS,
    )
    # For models that bring their own; open_clip looks for them beside the weights.
    for name, data in tokenizer_files(source).items():
        (folder / name).write_bytes(data)
