"""Who does the work of a command: options that several share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from synesthete.recording.executors import Executor


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who does the work.

    Attributes
    ----------
    executor : WHO
        Who does the work: local (this process), processes (of this machine), or ray (actors, of this machine or of the cluster that RAY_ADDRESS
        names, all of which see the same folder).
    workers : N
        How many processes or actors; 0 for one for each core.
    trust_cluster
        Use a cluster of Ray that asks for no token.
    """

    executor: str = "local"
    workers: Annotated[int, typer.Option(min=0)] = 0
    trust_cluster: bool = False

    def opened(self) -> Executor:
        """The executor.

        Raises
        ------
        SynestheteError
            No such executor.
        """
        from synesthete.recording.executors import Executor
        from synesthete.recording.pieces import check_executor

        kind = check_executor(self.executor)
        return Executor(kind=kind, workers=self.workers, trust_cluster=self.trust_cluster)
