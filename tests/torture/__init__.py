"""Attacks on every door, too long for `make test`, which runs a short seeded version of each: `make torture`."""
