"""Recording: one pass of a model over a probe set, in statistics that merge and shards that commit."""

from synesthete.recording.engine import record
from synesthete.recording.executors import Executor
from synesthete.recording.plan import Plan, make_plan
from synesthete.recording.progress import Progress
from synesthete.recording.shard import ShardResult, record_shard

__all__ = ["Executor", "Plan", "Progress", "ShardResult", "make_plan", "record", "record_shard"]
