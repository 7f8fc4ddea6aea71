"""A soak of seconds: both servers answer everything that links lead to; `make torture` takes ten minutes."""

from __future__ import annotations

from tests.torture.__main__ import Trial, run_trial


def test_a_short_soak() -> None:
    row = run_trial(
        Trial("soak", "", {"minutes": 0.05, "rate": 40.0, "seed": 1, "pages": 60}), 3600.0
    )
    assert row.broken == 0, row.found or row.details
    assert row.tried == row.held == 120
    assert set(row.found["addresses"]) == {"microscope", "catalogue"}
    assert all(count > 15 for count in row.found["addresses"].values())
    assert {"200", "401", "404"} <= set(row.found["statuses"])
    assert "422" not in row.found["statuses"], "what is sent is what the servers take"
