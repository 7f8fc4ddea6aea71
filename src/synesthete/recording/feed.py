"""Images and texts on their way to the model: decoded ahead in a background thread, in fixed micro-batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from synesthete._core.remote_files import Unreachable
from synesthete.atlas.thumbnails import thumbnail_of
from synesthete.probes.probe_set import text_rows
from synesthete.recording.plan import MICRO_BATCH

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

_LONGEST_REASON = 200


@dataclass(frozen=True)
class MicroBatch:
    """Up to 32 images (or the plan's number) of consecutive ids, ready for the model.

    Attributes
    ----------
    ids
        Image ids; the first is a multiple of that number.
    pixels
        [32, 3, height, width] float32, whatever the number of ids; zeros where an image is unreadable or there is none.
    texts
        Image id → text.
    unreadable
        Image id → reason.
    thumbnails
        Image id → small image of what the model sees; empty when none are wanted.
    """

    ids: range
    pixels: torch.Tensor
    unreadable: dict[int, str] = field(default_factory=dict)
    thumbnails: dict[int, Image.Image] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)


def micro_batches(ids: range, size: int = MICRO_BATCH) -> list[range]:
    """The micro-batches of a range of image ids that begins at a multiple of their size.

    Examples
    --------
    >>> micro_batches(range(32, 100))
    [range(32, 64), range(64, 96), range(96, 100)]
    """
    starts = range(ids.start, ids.stop, size)
    return [range(start, min(start + size, ids.stop)) for start in starts]


def feed(
    model: ImageTextModel,
    probes: ProbeSet,
    batches: Iterable[range],
    *,
    size: int = MICRO_BATCH,
    ahead: int = 4,
    thumbnails: bool = True,
) -> Generator[MicroBatch, None, None]:
    """Decode micro-batches ahead of their use.

    Parameters
    ----------
    model, probes
        Whose preprocessing, whose images.
    batches
        Image ids of each micro-batch.
    size
        Rows of the pixels of every one.
    ahead
        Micro-batches held decoded at most; with it memory is bounded.
    thumbnails
        Whether to make thumbnails on the way.
    """
    waiting: deque[Future[MicroBatch]] = deque()
    rest = iter(batches)
    # One thread only: probe sets read from files and sprites that must not be shared.
    pool = ThreadPoolExecutor(1, thread_name_prefix="decoding")
    try:
        for ids in islice(rest, ahead):
            waiting.append(pool.submit(decode, model, probes, ids, size, thumbnails))
        while waiting:
            ready = waiting.popleft().result()
            for ids in islice(rest, 1):
                waiting.append(pool.submit(decode, model, probes, ids, size, thumbnails))
            yield ready
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode(
    model: ImageTextModel, probes: ProbeSet, ids: range, size: int, thumbnails: bool
) -> MicroBatch:
    """Read and preprocess the images and texts of one micro-batch; what cannot be read gets a reason."""
    import torch

    side = model.preprocessing.image_size
    # Page-locked memory is copied to a GPU while it computes.
    pixels = torch.empty(
        size,
        3,
        side,
        side,
        memory_format=torch.channels_last,
        pin_memory=model.device.type == "cuda",
    )
    batch = MicroBatch(ids, pixels.zero_())
    of_text = text_rows(probes.labels.slice(ids.start, len(ids)))
    shown: dict[int, Image.Image] = {}
    for slot, image_id in enumerate(ids):
        with _quarantining(batch, image_id):
            if of_text[slot]:
                batch.texts[image_id] = probes.text(image_id)
                continue
            # What the model sees, scaled once: scaling it again for `preprocess` changes nothing.
            shown[slot] = model.geometry(probes.image(image_id))
    try:
        if shown:
            pixels[list(shown)] = model.preprocess_all(list(shown.values()))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001
        for slot, image in shown.items():
            pixels[slot] = 0
            with _quarantining(batch, ids[slot]):
                pixels[slot] = model.preprocess(image)
    if thumbnails:
        for slot, image in shown.items():
            if ids[slot] not in batch.unreadable:
                batch.thumbnails[ids[slot]] = thumbnail_of(image)
    return batch


@contextmanager
def _quarantining(batch: MicroBatch, image_id: int) -> Iterator[None]:
    """Note why an image cannot be used: it may break its decoder in any way, and one bad file must not end a long run."""
    try:
        yield
    # A store that does not answer is no fault of the image.
    except (MemoryError, Unreachable):
        raise
    except Exception as error:  # noqa: BLE001
        batch.unreadable[image_id] = _reason(error)


def _reason(error: Exception) -> str:
    message = getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(message).split())[:_LONGEST_REASON]
