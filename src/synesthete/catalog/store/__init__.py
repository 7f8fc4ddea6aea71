"""How a catalogue is kept: segments of items, the ledger of what is live, and snapshots to search."""
