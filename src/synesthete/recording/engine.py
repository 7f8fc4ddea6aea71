"""`record`: a model shown a whole probe set on this machine, resumable, into an atlas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.atlas.manifest import SAMPLE, fingerprint_of
from synesthete.errors import SynestheteError
from synesthete.models.dictionary_formats import with_named_dictionaries
from synesthete.recording.executors import Executor, Job
from synesthete.recording.finish import Finisher
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
from synesthete.recording.shards import StoredShard, clear_unfinished, find_shard

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
        Folder of the atlas, created if needed.
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
    The path of the atlas.

    Raises
    ------
    SynestheteError
        No such layer, reduction, precision or twin; `out` holds something else, another atlas, or a damaged one; no
        image can be read; the disk is full (what was committed is kept).
    """
    out = Path(out)
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
    plan = planned(probes, dense=dense)
    if precision == "auto":
        forward = _forward(model, probes, plan, out, shared=executor.shared)
        if chosen is not None:
            chosen(forward)
    else:
        forward = Forward(precision=precision, speeds={}, reason="as requested")

    def passing(plan: Plan) -> Plan:
        return replace(plan, precision=forward.precision, micro_batch=forward.micro_batch)

    plan = passing(plan)
    if plan.dense or sample == 0:
        recorded(probes, plan, out)
        return out
    some = probes.select(indices=sample_rows(probes, sum(plan.units), sample, seed))
    recorded(probes, plan, out, after=len(some))
    recorded(some, passing(planned(some, dense=True)), out / SAMPLE, before=len(probes))
    return out


def _forward(
    model: ImageTextModel, probes: ProbeSet, plan: Plan, out: Path, *, shared: bool
) -> Forward:
    """How the images pass: as in what `out` holds, else as it was measured."""
    started = started_forward(out)
    if started is not None:
        precision, batch = started
        reason = f"as {out} was started"
        return Forward(precision=precision, micro_batch=batch, speeds={}, reason=reason)
    if shared:
        return Forward(speeds={}, reason="tasks of an array job do not measure")
    return choose(model, probes, plan.reading("image"), plan.reduction)


def _record(
    model: ImageTextModel,
    probes: ProbeSet,
    plan: Plan,
    out: Path,
    *,
    batch_size: int,
    shard_size: int,
    executor: Executor,
    progress: Progress | None,
    before: int = 0,
    after: int = 0,
) -> None:
    """Record into one folder, unless that is done; `before` and `after` are what else is recorded, for the progress."""
    recipe = recipe_of(plan, model, probes)
    if is_complete(out, recipe):
        clear_leftovers(out)
        return

    def job_in(work: Path) -> Job:
        size = settle(out, work, recipe, shard_size)
        return Job(
            probes=probes,
            plan=plan,
            work=work.absolute(),
            fingerprint=fingerprint_of(recipe),
            ranges=tuple(shard_ranges(len(probes), size)),
            batch_size=batch_size,
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
                if not _finished(shards, out, model, probes, plan, recipe, shared=executor.shared):
                    return
            clear(out)
    except InUse:
        if not executor.shared:
            raise


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


def _stored(job: Job) -> list[StoredShard | None]:
    """The shards of a job in order; None for those that are not there yet."""
    return [_find(job, number) for number in range(len(job.ranges))]


def _find(job: Job, number: int) -> StoredShard | None:
    return find_shard(job.work, number, job.ranges[number], job.plan, job.fingerprint)


def _shards(
    job: Job, model: ImageTextModel, executor: Executor, meter: Callable[[int], ProgressMeter]
) -> list[StoredShard | None]:
    """All shards in order; those that are not there yet are recorded and committed, of an array job this task's share of them."""
    shards = _stored(job)
    missing = [number for number, shard in enumerate(shards) if shard is None]
    images = sum(len(job.ranges[number]) for number in missing)
    seen = meter(len(job.probes) - images).add
    for number in executor.run(job, missing, model, seen) if missing else ():
        shards[number] = _find(job, number)
    return shards
