"""How images pass the model: in which precision, and how many at once. Measured once per machine, and kept."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from synesthete._core.json_reader import read_json
from synesthete.atlas.files import write_file
from synesthete.atlas.manifest import canonical, is_intact, sealed
from synesthete.atlas.mirror import cache_folder
from synesthete.errors import SynestheteError, near
from synesthete.recording.plan import MICRO_BATCH, network_of

if TYPE_CHECKING:
    import torch

    from synesthete.models import ImageTextModel, Reading
    from synesthete.models.activations import Precision
    from synesthete.probes import ProbeSet

Choice = Literal["auto", "fp32", "bf16"]
CHOICES: tuple[str, ...] = get_args(Choice)
# With fewer images a measurement takes longer than it can save.
LEAST_IMAGES = 4096
PARITY = 0.999
# A gain that a busy machine does not feign: the choice has to be the same one again.
GAIN = 1.2
BATCHES = (16, 64)
BATCH_GAIN = 1.1
SAMPLE = 64
BEST = 8
ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class Forward:
    """How images pass the model, and what was measured of it.

    Attributes
    ----------
    precision
        `fp32` or `bf16`.
    micro_batch
        How many pass at once.
    speeds
        Images per second of each way that was measured, such as `bf16 x 32`; empty where nothing was.
    cosine
        Lowest cosine of an image's embedding in bf16 with that in fp32.
    overlap
        Share of the 8 images of highest activation, of the 64 that were measured, that are the same in bf16; mean over units.
    reason
        Why it was chosen, for people.
    """

    precision: Precision = "fp32"
    micro_batch: int = MICRO_BATCH
    speeds: Mapping[str, float]
    cosine: float | None = None
    overlap: float | None = None
    reason: str

    def __str__(self) -> str:
        lines = [f"{self.precision}, {self.micro_batch} images at once: {self.reason}"]
        if self.speeds:
            lines += [", ".join(f"{way} {speed:.0f}/s" for way, speed in self.speeds.items())]
        if self.cosine is not None and self.overlap is not None:
            lines += [f"bf16 cosine {self.cosine:.5f}, exemplars the same {self.overlap:.0%}"]
        return "; ".join(lines)


def check_precision(name: str) -> Choice:
    """Return `name`, or say which ones there are.

    Raises
    ------
    SynestheteError
        There is no such precision.
    """
    if name not in CHOICES:
        message = f"no precision {name!r}; there are {', '.join(CHOICES)}"
        raise SynestheteError(message, hint=near(name, CHOICES))
    return name  # type: ignore[return-value]


def choose(
    model: ImageTextModel, probes: ProbeSet, layers: Sequence[str], reduction: str
) -> Forward:
    """The quickest way of passing images through a model whose results agree with float32's.

    bfloat16 is taken where it is at least 1.2 times as fast and the embeddings of 64 images of the probe set have a cosine of
    at least 0.999 with those in float32; 16 or 64 images at once in place of 32 where that is 1.1 times as fast. What was measured is kept
    in the user's cache folder, for the same machine, version of PyTorch, network, image size and images.

    Parameters
    ----------
    model, probes
        What is recorded. With fewer than 4,096 images nothing is measured.
    layers, reduction
        What is read of the images.
    """
    images = np.flatnonzero(~probes.is_text)
    if len(images) < LEAST_IMAGES:
        return Forward(speeds={}, reason=f"fewer than {LEAST_IMAGES:,} images are not measured")
    path = _cache_of(model, probes, layers, reduction)
    kept = _kept(path)
    if kept is not None:
        return kept
    pixels = _sample(model, probes, images)
    if len(pixels) < SAMPLE:
        return Forward(speeds={}, reason=f"fewer than {SAMPLE} of its images can be read")
    found = _measured(model, pixels, layers, reduction)
    _keep(path, found)
    return found


def _measured(
    model: ImageTextModel, pixels: torch.Tensor, layers: Sequence[str], reduction: str
) -> Forward:
    names: tuple[Precision, ...] = ("fp32", "bf16")
    try:
        models = {name: model.at_precision(name) for name in names}
        exact, lower = (_read(models[name], pixels, layers, reduction) for name in names)
    except (SynestheteError, RuntimeError) as error:  # not finite in bf16, no kernel, no memory
        return Forward(speeds={}, reason=str(error).partition("\n")[0])
    cosine = float((exact.embeddings * lower.embeddings).sum(axis=1).min())
    shares = [_overlap(exact.activations[name], lower.activations[name]) for name in layers]
    overlap = float(np.mean(shares)) if shares else 1.0

    def speeds(ways: Sequence[tuple[Precision, int]]) -> dict[tuple[Precision, int], float]:
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):  # in turns, so that a busy machine slows all of them
            for precision, batch in ways:
                started = time.perf_counter()
                try:
                    _read(models[precision], pixels, layers, reduction, batch)
                except RuntimeError:  # no memory for so many at once
                    continue
                best[precision, batch] = min(best[precision, batch], time.perf_counter() - started)
        return {way: len(pixels) / seconds for way, seconds in best.items()}

    found = speeds([(name, MICRO_BATCH) for name in names])
    ratio = found["bf16", MICRO_BATCH] / found["fp32", MICRO_BATCH]
    taken: Precision = "fp32"
    if not cosine >= PARITY:
        reason = f"bf16 differs by more than a cosine of {PARITY}"
    elif ratio < GAIN:
        reason = f"bf16 is {ratio:.2f} times as fast, less than {GAIN}"
    else:
        taken, reason = "bf16", f"{ratio:.2f} times as fast as fp32"
    found |= speeds([(taken, batch) for batch in BATCHES])
    batch = max(BATCHES, key=lambda batch: found[taken, batch])
    if found[taken, batch] < BATCH_GAIN * found[taken, MICRO_BATCH]:
        batch = MICRO_BATCH
    return Forward(
        precision=taken,
        micro_batch=batch,
        speeds={f"{name} x {size}": speed for (name, size), speed in found.items()},
        cosine=cosine,
        overlap=overlap,
        reason=reason,
    )


def _read(
    model: ImageTextModel,
    pixels: torch.Tensor,
    layers: Sequence[str],
    reduction: str,
    batch: int = MICRO_BATCH,
) -> Reading:
    import torch

    from synesthete.models import Reading

    parts = [model.read(some, layers, reduction) for some in torch.split(pixels, batch)]
    return Reading(
        np.concatenate([part.embeddings for part in parts]),
        {name: np.concatenate([part.activations[name] for part in parts]) for name in layers},
    )


def _overlap(exact: NDArray[np.float32], lower: NDArray[np.float32]) -> float:
    """Share of the images of highest activation that two matrices [images, units] have in common; mean over units."""
    first, second = (np.argsort(-values, axis=0, kind="stable")[:BEST] for values in (exact, lower))
    return float((first[:, None] == second[None]).any(axis=1).mean())


def _sample(model: ImageTextModel, probes: ProbeSet, images: NDArray[np.int64]) -> torch.Tensor:
    """Pixels of up to 64 images from all over the probe set, those that can be read."""
    import torch

    found = []
    places = images[np.linspace(0, len(images) - 1, 2 * SAMPLE).astype(int)]
    for place in (*places[::2], *places[1::2]):
        try:
            found.append(model.preprocess(probes.image(int(place))))
        except Exception:  # noqa: BLE001 (what cannot be read is quarantined later)
            continue
        if len(found) == SAMPLE:
            break
    return torch.stack(found) if found else torch.zeros(0)


def _cache_of(
    model: ImageTextModel, probes: ProbeSet, layers: Sequence[str], reduction: str
) -> Path:
    import torch

    cuda = model.device.type == "cuda"
    machine = [
        platform.node(),
        torch.cuda.get_device_name(model.device) if cuda else platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        os.cpu_count(),
        torch.get_num_threads(),
    ]
    network = [torch.__version__, network_of(model), model.preprocessing.image_size]
    rules = [PARITY, GAIN, BATCH_GAIN, BATCHES, SAMPLE, ROUNDS]
    key = [*machine, *network, list(layers), reduction, probes.fingerprint, *rules]
    name = hashlib.sha256(canonical(key)).hexdigest()[:32]
    return cache_folder() / "precision" / f"{name}.json"


def _kept(path: Path) -> Forward | None:
    try:
        content: Any = read_json(path, root=path.parent)
        if not is_intact(content):
            return None
        return Forward(**content["forward"])
    except (SynestheteError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path, found: Forward) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, sealed({"forward": asdict(found)}))
    except (OSError, SynestheteError):
        return  # a cache that cannot be written is measured again
