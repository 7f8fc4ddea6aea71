"""A recording as shards that any executor computes: each a pure function of the plan and its images, committed by whoever computed it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete.atlas.manifest import WORD_ORDER, fingerprint_of
from synesthete.errors import SynestheteError
from synesthete.recording.elsewhere import RemoteWork
from synesthete.recording.feed import feed, micro_batches
from synesthete.recording.plan import Plan, recipe_of
from synesthete.recording.shard import at_precision, record_shard
from synesthete.recording.shards import commit_shard

if TYPE_CHECKING:
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet


@dataclass(frozen=True, kw_only=True)
class RecordingJob:
    """What is recorded, as another process can be sent it: no code, and no weights.

    Attributes
    ----------
    probes, plan
        What it is shown, and what is kept.
    work
        The folder of the shards; every worker sees it.
    fingerprint
        Of the recipe.
    ranges
        Image ids of every shard.
    batch_size
        Images decoded ahead.
    remote
        Of a recording into an object store: where shards are committed.
    """

    probes: ProbeSet
    plan: Plan
    work: Path
    fingerprint: str
    ranges: tuple[range, ...]
    batch_size: int
    remote: RemoteWork | None = None

    def title(self, number: int) -> str:
        """Which images a shard has, for messages."""
        ids = self.ranges[number]
        return f"images {ids.start} to {ids.stop - 1}"

    def start(self, model: ImageTextModel) -> Recorder:
        """Record with a model."""
        return Recorder(self, model)


class Recorder:
    """Records shards of a job, one after the other, with its own model.

    Parameters
    ----------
    job
        What is recorded.
    model
        At full precision.

    Raises
    ------
    SynestheteError
        What it opens is not what the job is of.
    """

    def __init__(self, job: RecordingJob, model: ImageTextModel) -> None:
        self.job = job
        recipe = recipe_of(job.plan, model, job.probes)
        if fingerprint_of(recipe) != job.fingerprint:
            raise SynestheteError(
                "another process opens another model or other images than are recorded",
                hint="the same version of Synesthete everywhere?",
            )
        self.model = at_precision(model, job.plan)
        self._exact = model
        self._twins: dict[str, ImageTextModel] | None = None

    def run(
        self, numbers: Iterable[int], seen: Callable[[int], None] | None = None
    ) -> Iterator[int]:
        """Record and commit shards, as their numbers come; gives each number when it is committed.

        Parameters
        ----------
        seen
            Called with a number of images whenever so many more are done.
        """
        job = self.job
        queued: deque[int] = deque()

        def batches() -> Iterator[range]:
            for number in numbers:
                queued.append(number)
                yield from micro_batches(job.ranges[number], job.plan.micro_batch)

        # One feed for all shards, so that decoding goes on while a shard is summed up and written.
        decoded = feed(
            self.model,
            job.probes,
            batches(),
            size=job.plan.micro_batch,
            ahead=-(-job.batch_size // job.plan.micro_batch),
            thumbnails=job.plan.thumbnails == "all",
        )
        with contextlib.closing(decoded):
            for first in decoded:
                number = queued.popleft()
                ids = job.ranges[number]
                rest = islice(decoded, len(micro_batches(ids, job.plan.micro_batch)) - 1)
                result = record_shard(
                    self.model,
                    job.probes,
                    ids,
                    job.plan,
                    twins=self._all_twins(),
                    batches=chain([first], rest),
                    seen=seen,
                )
                commit_shard(job.work, number, result, job.plan, job.fingerprint, remote=job.remote)
                yield number

    def _all_twins(self) -> dict[str, ImageTextModel]:
        """The plan's, from the first shard on: they are not even built when there is none."""
        if self._twins is None:
            plan = self.job.plan
            self._twins = {
                name: self.model
                if name == WORD_ORDER
                else at_precision(self._exact.twin(name, plan.seed), plan)
                for name in plan.twins
            }
        return self._twins
