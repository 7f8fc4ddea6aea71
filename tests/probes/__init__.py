"""Tests of the probe sets."""
