"""`record`: a model shown a whole probe set on this machine, resumable, into an atlas."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.remote_files import WRITABLE, RemoteFile, Unreachable, check_url, is_url
from synesthete.atlas.manifest import SAMPLE, fingerprint_of
from synesthete.errors import SynestheteError
from synesthete.models.dictionary_formats import with_named_dictionaries
from synesthete.recording.elsewhere import RemoteWork
from synesthete.recording.executors import Executor
from synesthete.recording.finish import Finisher
from synesthete.recording.job import RecordingJob
from synesthete.recording.plan import (
    Plan,
    make_plan,
    needed_part,
    recipe_of,
    sample_rows,
)
from synesthete.recording.precision import Choice, Forward, check_precision, choose
from synesthete.recording.progress import Progress, ProgressMeter
from synesthete.recording.session import (
    InUse,
    claim,
    clear,
    clear_leftovers,
    is_complete,
    settle,
    started_forward,
)
from synesthete.recording.shard import shard_ranges
from synesthete.recording.shards import StoredShard, clear_unfinished, find_shard, shard_folder

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet


def record(
    model: ImageTextModel,
    probes: ProbeSet,
    layers: Sequence[str] | None,
    out: str | Path,
    *,
    reduction: str = "max",
    text_reduction: str = "end",
    batch_size: int = 128,
    shard_size: int = 1024,
    dense: bool | None = None,
    sample: int | None = None,
    exemplars: int = 16,
    executor: Executor | None = None,
    twins: Collection[str] | None = None,
    seed: int = 0,
    precision: Choice = "fp32",
    chosen: Callable[[Forward], None] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Run every image and text of a probe set through a model once, and store the activations of its units in an atlas.

    After any interruption (kill, power cut, full disk), calling it again resumes after the last
    committed shard, and the atlas is byte-identical to an uninterrupted run. A complete atlas
    with the same fingerprint is not recorded again.

    Parameters
    ----------
    model
        From `load_model`.
    probes
        From `load_probes`. What none of the layers reads, texts or images, is left out.
    layers
        Names of layers, of images, texts and `joint`; None or an empty list for the model's default layers. `LAYER@PATH` are the
        latents of a sparse dictionary of a layer (`synesthete.models.dictionary_formats.read_dictionary`), called `LAYER@NAME` by its file.
    out
        Folder of the atlas, created if needed; or a URL, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.
    reduction
        How a unit's response map becomes one number: `max`, `mean` or `cls`.
    text_reduction
        How its responses to the tokens of a text do: `end` (where the text's embedding is read), `max` or `mean`.
    batch_size
        Maximum number of images decoded ahead of the model; bounds memory, does not change results.
    shard_size
        Images per committed shard, rounded up to a multiple of 64; does not change results. A resumed
        recording keeps the size it was started with.
    dense
        Whether to store every activation, [images, units] float16; None: up to 4 GB of them.
    sample
        Where not every activation is stored: of how many images and texts every one is stored anyway, with the controls, so that the atlas can be
        analysed. They are chosen evenly over concepts, modalities and artists, and recorded once more into the folder `sample`. None
        for 20,000, or what 4 GB hold; 0 for none.
    exemplars
        Number of images of highest, and of lowest, activation to keep per unit and modality.
    twins
        What to record as controls of the images whose every activation is stored: of `random_twin`, `random_he` and `permuted`, networks that know nothing,
        and `word_order`, the model itself shown the words of each text in random order (docs/recording.md). Each of the first costs one
        more pass over images and texts, the last one over the texts; None for all of them up to 20,000 images and as many texts, and
        `random_twin` alone beyond.
    seed
        Seed of the controls.
    precision
        In which the image tower computes: `fp32`; `bf16` (bfloat16), which gives other bytes; or `auto`, the one that is measured to be quicker,
        with the number of images that pass at once, where the embeddings agree (`synesthete.recording.precision.choose`). An atlas or a
        recording that was started keeps its own, and tasks of an array job, none of which can choose for the others, take `fp32`.
    chosen
        Called with what `auto` chose, and why, before anything is recorded.
    executor
        Who computes the shards; this process without it. With several processes the bytes are the same wherever the processor sums alike with fewer
        threads. After an `array` task that is not the last one there is no atlas yet.
    progress
        Called with (images done, total images, images per second, seconds left or None).

    Returns
    -------
    The path of the atlas; of one at a URL, of the folder that it is read through.

    Raises
    ------
    SynestheteError
        No such layer, reduction, precision or twin; `out` holds something else, another atlas, or a damaged one; no
        image can be read; the disk is full (what was committed is kept).
    """
    if not is_url(out) and str(out).startswith(tuple(f"{scheme}:/" for scheme in WRITABLE)):
        raise SynestheteError("a Path cannot hold a URL", hint="give the URL as a text")
    remote = RemoteWork(check_url(str(out), schemes=WRITABLE)) if is_url(out) else None
    if len(probes) == 0:
        raise SynestheteError(f"the probe set {probes.name!r} has no images")
    if batch_size < 1:
        raise SynestheteError(f"the batch size is {batch_size}, expected at least 1")
    if layers:
        model, layers = with_named_dictionaries(model, layers)
    check_precision(precision)
    probes = needed_part(model, probes, layers)
    shard_ranges(len(probes), shard_size)
    planned = partial(
        make_plan,
        model,
        layers=layers,
        reduction=reduction,
        text_reduction=text_reduction,
        exemplars=exemplars,
        twins=twins,
        seed=seed,
    )
    executor = executor or Executor()
    recorded = partial(
        _record,
        model,
        batch_size=batch_size,
        shard_size=shard_size,
        executor=executor,
        progress=progress,
    )
    place = remote or Path(out)
    plan = planned(probes, dense=dense)
    if precision == "auto":
        forward = _forward(model, probes, plan, place, shared=executor.shared)
        if chosen is not None:
            chosen(forward)
    else:
        forward = Forward(precision=precision, speeds={}, reason="as requested")

    def passing(plan: Plan) -> Plan:
        return replace(plan, precision=forward.precision, micro_batch=forward.micro_batch)

    plan = passing(plan)
    if plan.dense or sample == 0:
        return recorded(probes, plan, place)
    some = probes.select(indices=sample_rows(probes, sum(plan.units), sample, seed))
    path = recorded(probes, plan, place, after=len(some))
    recorded(some, passing(planned(some, dense=True)), place / SAMPLE, before=len(probes))
    return path


def _forward(
    model: ImageTextModel,
    probes: ProbeSet,
    plan: Plan,
    place: Path | RemoteWork,
    *,
    shared: bool,
) -> Forward:
    """How the images pass: as in what a folder holds, else as it was measured."""
    started = None if isinstance(place, RemoteWork) else started_forward(place)
    if started is not None:
        precision, batch = started
        reason = f"as {place} was started"
        return Forward(precision=precision, micro_batch=batch, speeds={}, reason=reason)
    if shared or isinstance(place, RemoteWork):
        return Forward(speeds={}, reason="machines that share a recording do not measure")
    return choose(model, probes, plan.reading("image"), plan.reduction)


def _record(
    model: ImageTextModel,
    probes: ProbeSet,
    plan: Plan,
    place: Path | RemoteWork,
    *,
    batch_size: int,
    shard_size: int,
    executor: Executor,
    progress: Progress | None,
    before: int = 0,
    after: int = 0,
) -> Path:
    """Record into one folder, unless that is done; `before` and `after` are what else is recorded, for the progress.

    Returns where the atlas is read.
    """
    recipe = recipe_of(plan, model, probes)
    remote = place if isinstance(place, RemoteWork) else None
    out = place.folder(fingerprint_of(recipe)) if isinstance(place, RemoteWork) else place

    def done() -> Path:
        if remote is None:
            return out
        if not remote.is_complete(recipe):
            remote.publish(out)
        remote.clear()
        return remote.hand_over(out)

    if remote is not None and remote.is_complete(recipe):
        return done()
    if is_complete(out, recipe):
        clear_leftovers(out)
        return done()

    def job_in(work: Path) -> RecordingJob:
        wanted = remote.settle(recipe, shard_size) if remote else shard_size
        size = settle(out, work, recipe, wanted)
        if remote and size != wanted:
            clear(out)  # of an earlier recording, which somebody removed from the object store
            size = settle(out, work, recipe, wanted)
        return RecordingJob(
            probes=probes,
            plan=plan,
            work=work.absolute(),
            fingerprint=fingerprint_of(recipe),
            ranges=tuple(shard_ranges(len(probes), size)),
            batch_size=batch_size,
            remote=remote,
        )

    def meter(done: int) -> ProgressMeter:
        return ProgressMeter(before + len(probes) + after, before + done, progress)

    if executor.shared:
        with claim(out, shared=True) as work:
            if not is_complete(out, recipe):
                _shards(job_in(work), model, executor, meter)
    try:
        with claim(out) as work:
            if not is_complete(out, recipe):
                job = job_in(work)
                if executor.shared:
                    shards = _stored(job)
                else:
                    clear_unfinished(work)
                    shards = _shards(job, model, executor, meter)
                if any(shard is None for shard in shards) and remote and remote.is_complete(recipe):
                    pass  # another machine completed the atlas meanwhile, and removed the shards
                elif not _finished(
                    shards, out, model, probes, plan, recipe, shared=executor.shared
                ):
                    return out
            clear(out)
    except InUse:
        if not executor.shared:
            raise
        return out
    except Unreachable:
        # The same, while a shard was read: it is gone, or was changed.
        if remote is None or not remote.is_complete(recipe):
            raise
    return done()


def _finished(
    shards: Sequence[StoredShard | None],
    out: Path,
    model: ImageTextModel,
    probes: ProbeSet,
    plan: Plan,
    recipe: dict[str, Any],
    *,
    shared: bool,
) -> bool:
    """Write the atlas, if every shard is there; where others record too, they may be about to bring what is missing."""
    found = [shard for shard in shards if shard is not None]
    if len(found) < len(shards):
        if shared:
            return False
        raise SynestheteError(f"the shards in {out} changed while they were recorded")
    finisher = Finisher(out, model, probes, plan, recipe, found)
    if len(finisher.unreadable) == len(probes):
        clear(out)
        reason = finisher.unreadable[0]
        raise SynestheteError(
            f"none of the {len(probes)} images of {probes.name!r} can be read; the first: {reason}"
        )
    finisher.write()
    return True


def _stored(job: RecordingJob) -> list[StoredShard | None]:
    """The shards of a job in order; None for those that are not there yet. Of an object store they are fetched when all are there."""
    numbers = range(len(job.ranges))
    if job.remote is None:
        return [_find(job, number) for number in numbers]
    there = job.remote.committed()
    if not there.keys() >= set(numbers):
        return [None for _ in numbers]
    return [_fetched(job, number, there[number]) for number in numbers]


def _find(job: RecordingJob, number: int) -> StoredShard | None:
    return find_shard(job.work, number, job.ranges[number], job.plan, job.fingerprint)


def _fetched(job: RecordingJob, number: int, file: RemoteFile) -> StoredShard:
    assert job.remote is not None
    if (shard := _find(job, number)) is None:
        folder = shard_folder(job.work, number)
        shutil.rmtree(folder, ignore_errors=True)
        job.remote.fetch(number, file, folder)
        shard = _find(job, number)
    if shard is None:
        raise SynestheteError(f"{file} is damaged", hint="delete it and run the same command again")
    return shard


def _committed(job: RecordingJob) -> set[int]:
    """The numbers of the shards that are there now, by their names alone."""
    if job.remote is not None:
        return set(job.remote.committed())
    return {n for n in range(len(job.ranges)) if shard_folder(job.work, n).is_dir()}


def _shards(
    job: RecordingJob,
    model: ImageTextModel,
    executor: Executor,
    meter: Callable[[int], ProgressMeter],
) -> list[StoredShard | None]:
    """All shards in order; those that are not there yet are recorded and committed, of an array job this task's share of them."""
    numbers = range(len(job.ranges))
    if job.remote is None:
        shards = _stored(job)
        missing = [number for number in numbers if shards[number] is None]
    else:
        missing = sorted(set(numbers) - job.remote.committed().keys())
    open_ = set(missing)
    progress = meter(len(job.probes) - _images(job, open_))
    for number in executor.run(job, missing, model, progress.add) if missing else ():
        if job.remote is None:
            shards[number] = _find(job, number)
        open_.discard(number)
        if executor.shared:  # what other tasks have recorded meanwhile is part of the whole
            others = open_ & _committed(job)
            open_ -= others
            progress.add(_images(job, others))
    return shards if job.remote is None else _stored(job)


def _images(job: RecordingJob, numbers: Collection[int]) -> int:
    return sum(len(job.ranges[number]) for number in numbers)
