"""Training a sparse dictionary of a layer on what the model says at every place of an atlas's images, or at every token of its texts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.json_reader import read_json
from synesthete._core.progress import Progress
from synesthete._core.user_files import ANY_SIZE, read_inside
from synesthete.analysis.design import readable_rows
from synesthete.analysis.dictionary_training import (
    KINDS,
    Recipe,
    Trainer,
    every_tenth,
    random_start,
)
from synesthete.analysis.provenance import own_model, own_probes
from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.files import write_file, write_together
from synesthete.atlas.manifest import fingerprint_of
from synesthete.errors import SynestheteError, one_of
from synesthete.models.dictionaries import CONFIG, SparseDictionary
from synesthete.models.dictionary_formats import metadata_of
from synesthete.recording.feed import MicroBatch, feed, micro_batches
from synesthete.recording.session import claim, clear

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

BATCH, RESAMPLED_EVERY = 512, 200
CHUNK_BYTES = 128 * 2**20  # of responses that are held and shuffled at a time
MOST_LATENTS = 262_144
CHECKPOINT_EVERY = 20.0  # seconds
STATE = "training.safetensors"


def train_dictionary(
    atlas: Atlas | str | Path,
    layer: str,
    out: str | Path,
    *,
    latents: int,
    kind: str = "topk",
    k: int = 32,
    epochs: int = 4,
    seed: int = 0,
    probes: ProbeSet | str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a sparse dictionary of a layer of an atlas's model, and measure it on images that it was not trained on.

    A row of the training is what the layer says at one place: a position of the response map, a patch or class token, a token of a
    text, as dictionaries of vision transformers are trained (saev, ViT-Prisma). Rows are centred on their mean and scaled by one number.
    The model is run again in every epoch, so memory does not grow with the number of images. Nine of ten images are trained on. After
    a kill the same call goes on from the last checkpoint, and ends with the same bytes.

    Parameters
    ----------
    atlas
        Whose model and images; its labels have no part in it.
    layer
        Any layer of the model but `joint`; it need not be recorded.
    out
        Folder of the dictionary, in SAELens' format.
    latents, k, kind
        How many there are and how many are not zero at a place (`jumprelu`: on average); `topk` or `jumprelu`.
    epochs
        How often every image is seen.
    seed
        Of the start and of the order.
    probes
        The atlas's probe set, or where it is, when its name is not enough.
    progress
        Called with (images done, total images).

    Returns
    -------
    dict
        What `cfg.json` keeps under `metadata`: settings, `held_out` (`images`, `places`, `explained_variance`, `l0`, `dead_share`), and the
        same of random directions under `held_out_random_dictionary`.

    Raises
    ------
    SynestheteError
        A setting out of range, no such layer, too few images, or `out` holds something else.
    """
    opened = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    _check(kind, latents, k, epochs)
    model = own_model(opened)
    tower = model.layer(layer).tower
    if tower == "joint" or layer in model.dictionaries:
        raise SynestheteError(
            f"{layer} is no layer of a tower",
            hint="`synesthete joint` learns one of the embeddings",
        )
    rows = readable_rows(opened, tower)
    apart = every_tenth(len(rows))
    if not apart.any():
        raise SynestheteError(f"{opened.path} has fewer than 10 {tower}s to learn from")
    settings = {
        "layer": layer,
        "kind": kind,
        "latents": latents,
        "k": k,
        "epochs": epochs,
        "seed": seed,
        "batch": BATCH,
        "chunk_bytes": CHUNK_BYTES,
        "weights_sha256": model.weights_sha256,
        "probes": str(opened.manifest["probes"]["fingerprint"]),
        "rows": int((~apart).sum()),
    }
    out = Path(out)
    known = _finished(out, settings)
    if known is not None:
        return known
    every = own_probes(opened, probes)
    seen, unseen = (every.select(indices=rows[some].tolist()) for some in (~apart, apart))
    with claim(out) as work:
        training = _Training(model, seen, layer, settings, work / STATE)
        dictionary = training.run(progress)
        control = replace(dictionary, facts={"held_out": {"l0": k}}).random(seed + 1)
        measured = measure({"": dictionary, "_random_dictionary": control}, model, unseen, layer)
        facts = {
            "model_name": model.name,
            "hook_name": layer,
            **settings,
            "steps": training.trainer.done,
            "resampled": training.trainer.resampled,
            **{f"held_out{name}": found for name, found in measured.items()},
        }
        write_together(out, replace(dictionary, facts=facts).files())
        clear(out)
    return facts


def _check(kind: str, latents: int, k: int, epochs: int) -> None:
    if kind not in KINDS:
        raise SynestheteError(f"no kind {kind!r} of dictionary", hint=one_of(kind, KINDS))
    if not 2 <= latents <= MOST_LATENTS:
        raise SynestheteError(f"a dictionary has 2 to {MOST_LATENTS:,} latents, not {latents}")
    if not 1 <= k <= latents:
        raise SynestheteError(f"k is from 1 to the number of latents ({latents}), not {k}")
    if epochs < 1:
        raise SynestheteError(f"a training has at least 1 epoch, not {epochs}")


def _finished(out: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What is known of the dictionary in `out` if it is this one; None if there is none yet.

    Raises
    ------
    SynestheteError
        There is another one, or something else.
    """
    if (out / CONFIG).is_file():
        config = read_json(out / CONFIG, root=out)
        facts = config.get("metadata") if isinstance(config, dict) else None
        if not isinstance(facts, dict) or {key: facts.get(key) for key in settings} != settings:
            raise SynestheteError(f"{out} holds another dictionary", hint="name another --out")
        return {key: value for key, value in facts.items() if key != "sae_lens_version"}
    if out.exists() and not out.is_dir():
        raise SynestheteError(
            f"{out} is a file; a dictionary is a folder", hint="name another --out"
        )
    if out.is_dir() and {entry.name for entry in out.iterdir()} - {".recording", "sae_weights.safetensors"}:  # fmt: skip
        raise SynestheteError(
            f"{out} holds something else", hint="name another --out, or a new folder"
        )
    return None


class _Training:
    """The images in a seeded order of groups of 32, in chunks whose rows are shuffled; a checkpoint lies between chunks."""

    def __init__(
        self,
        model: ImageTextModel,
        probes: ProbeSet,
        layer: str,
        settings: dict[str, Any],
        state: Path,
    ) -> None:
        self.model, self.probes, self.layer = model, probes, layer
        self.settings, self.state = settings, state
        dim = model.layer(layer).units
        self.groups = micro_batches(range(len(probes)))
        first = next(_rows(model, probes, layer, self.groups[:1]))
        size = max(1, CHUNK_BYTES // max(1, first.numel() * first.element_size()))
        # As even as can be, since each is shuffled by itself.
        count = -(-len(self.groups) // size)
        self.chunks = [part.tolist() for part in np.array_split(np.arange(len(self.groups)), count)]
        recipe = Recipe(
            latents=settings["latents"],
            k=settings["k"],
            seed=settings["seed"],
            kind=settings["kind"],
            resampled_every=RESAMPLED_EVERY,
        )
        start = random_start(dim, settings["latents"], settings["seed"])
        self.trainer = Trainer(*start, recipe=recipe)
        self.mean, self.scale = np.zeros(dim, np.float32), 1.0

    def run(self, progress: Progress | None) -> SparseDictionary:
        """Train to the end, from the last checkpoint if there is one."""
        import torch

        epochs, seed = self.settings["epochs"], self.settings["seed"]
        total = epochs * len(self.probes)
        chunk = self._resumed()
        saved = time.monotonic()
        while chunk < epochs * len(self.chunks):
            epoch, place = divmod(chunk, len(self.chunks))
            order = np.random.default_rng([seed, epoch]).permutation(len(self.groups))
            groups = [self.groups[one] for one in order[self.chunks[place]]]
            before = epoch * len(self.probes) + sum(
                len(self.groups[one]) for some in self.chunks[:place] for one in order[some]
            )
            rows = self._read(groups, before, total, progress)
            if not chunk:
                self._standardise(rows)
            rows = (rows - torch.from_numpy(self.mean)) / self.scale
            mixed = rows[torch.from_numpy(np.random.default_rng([seed, 1, chunk]).permutation(len(rows)))]  # fmt: skip
            batches = max(1, len(mixed) // BATCH)
            for number in range(batches):
                at = (before + sum(map(len, groups)) * number / batches) / total
                self.trainer.step(mixed[number * BATCH : (number + 1) * BATCH], at)
            chunk += 1
            if time.monotonic() - saved > CHECKPOINT_EVERY:
                self._save(chunk)
                saved = time.monotonic()
        return self._dictionary()

    def _read(
        self, groups: list[range], done: int, total: int, progress: Progress | None
    ) -> torch.Tensor:
        """All rows of some groups; `done` of `total` images came before."""
        import torch

        found = []
        for rows, group in zip(_rows(self.model, self.probes, self.layer, groups), groups, strict=True):  # fmt: skip
            found.append(rows)
            done += len(group)
            if progress is not None:
                progress(done, total)
        return torch.cat(found)

    def _standardise(self, rows: torch.Tensor) -> None:
        """Centre and scale of the first chunk, which stay."""
        values = rows.double()
        mean = values.mean(dim=0)
        self.mean = mean.float().numpy()
        self.scale = float((values - mean).square().sum(dim=1).mean().sqrt()) or 1.0

    def _save(self, chunk: int) -> None:
        import torch
        from safetensors.torch import save

        more = {
            "mean": torch.from_numpy(self.mean),
            "at": torch.tensor([float(chunk), self.scale], dtype=torch.float64),
        }
        metadata = {"settings": fingerprint_of(self.settings)}
        write_file(self.state, save({**self.trainer.state(), **more}, metadata=metadata))

    def _resumed(self) -> int:
        """The chunk to go on with.

        Raises
        ------
        SynestheteError
            What was started has other settings.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not self.state.is_file():
            return 0
        data = read_inside(self.state.parent, self.state, max_bytes=ANY_SIZE)
        try:
            state = load(data)
            if metadata_of(data, str(self.state))["settings"] != fingerprint_of(self.settings):
                raise SynestheteError(
                    f"{self.state.parents[1]} holds an unfinished training of other settings",
                    hint="name another --out, or delete the folder",
                )
            self.trainer.load(state)
            self.mean = state["mean"].numpy()
            chunk, self.scale = state["at"].tolist()
        except (SafetensorError, ValueError, KeyError):
            return 0
        return int(chunk)

    def _dictionary(self) -> SparseDictionary:
        """The same in the units of the layer: directions of length 1, and latents as large as what they stand for."""
        encoder, bias, decoder = self.trainer.parts()
        jump = self.trainer.recipe.kind == "jumprelu"
        threshold = np.full(len(bias), self.trainer.threshold * self.scale, np.float32)
        return SparseDictionary(
            encoder=encoder,
            encoder_bias=np.asarray(self.scale * bias - self.mean @ encoder, np.float32),
            decoder=decoder,
            decoder_bias=self.mean,
            threshold=threshold if jump else None,
            k=None if jump else self.trainer.recipe.k,
        )


def measure(
    dictionaries: dict[str, SparseDictionary],
    model: ImageTextModel,
    probes: ProbeSet,
    layer: str,
) -> dict[str, dict[str, Any]]:
    """How well dictionaries rebuild what a layer says of images or texts, and with how many latents; one pass over them.

    Returns
    -------
    dict
        For each `images` (or texts), `places`, `explained_variance` (of the responses about their mean), `l0`, the mean number of latents
        that are not zero at a place, and `dead_share`, of latents that are zero at every place.
    """
    import torch

    missing = dict.fromkeys(dictionaries, 0.0)
    active = dict.fromkeys(dictionaries, 0)
    used = {name: torch.zeros(one.latents, dtype=torch.bool) for name, one in dictionaries.items()}
    places, total, squares = 0, torch.zeros(model.layer(layer).units, dtype=torch.float64), 0.0
    for rows in _rows(model, probes, layer, micro_batches(range(len(probes)))):
        places += len(rows)
        total += rows.double().sum(dim=0)
        squares += float(rows.double().square().sum())
        for name, one in dictionaries.items():
            latents = one.encode(rows)
            missing[name] += float((rows - one.decode(latents, rows)).double().square().sum())
            active[name] += int((latents != 0).sum())
            used[name] |= (latents != 0).any(dim=0)
    variance = squares - float(total.square().sum()) / places
    return {
        name: {
            "images": len(probes),
            "places": places,
            "explained_variance": 1 - missing[name] / variance if variance > 0 else None,
            "l0": active[name] / places,
            "dead_share": float((~used[name]).double().mean()),
        }
        for name in dictionaries
    }


def _rows(
    model: ImageTextModel, probes: ProbeSet, layer: str, groups: list[range]
) -> Iterator[torch.Tensor]:
    """What the layer says of each group, `[places, units]`, decoded ahead as a recording does."""
    by_text = model.layer(layer).tower == "text"

    def read(batch: MicroBatch) -> torch.Tensor:
        if by_text:
            return model.positions(list(batch.texts.values()), layer)
        shown = [one - batch.ids.start for one in batch.ids if one not in batch.unreadable]
        return model.positions(batch.pixels[shown], layer)

    for batch in feed(model, probes, groups, thumbnails=False):
        if len(batch.unreadable) < len(batch.ids):
            yield read(batch)
        else:
            raise SynestheteError(
                f"images {batch.ids.start} to {batch.ids.stop - 1} of {probes.name} cannot be read any more"
            )
