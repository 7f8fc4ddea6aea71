"""Attacks that are too long for the tests: each has a short seeded version among them."""
