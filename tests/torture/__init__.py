"""Attacks on every door, longer than those of the test suite."""
