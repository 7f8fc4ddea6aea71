"""What visitors did: impressions, clicks, adds, conversions and dismissals, in a log that loses none and doubles none."""

from synesthete.catalog.events.event import KINDS, Event, event_of
from synesthete.catalog.events.log import EventLog, Logged, Refusal, Taken

__all__ = ["KINDS", "Event", "EventLog", "Logged", "Refusal", "Taken", "event_of"]
