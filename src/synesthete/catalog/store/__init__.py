"""How a catalogue is kept: the table of its items in LanceDB, frozen centres, and snapshots to search."""
