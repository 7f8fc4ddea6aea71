"""Addresses that fetched images and webhooks may be at: the tests of both show that they ask; here what has no test there."""

import pytest

from synesthete.catalog.addresses import is_allowed, is_public


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)
    assert is_allowed(address)


@pytest.mark.parametrize("address", ["fec0::1", "feff::1", "::ffff:192.168.0.1", "4000::1"])
def test_site_local_and_reserved_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)
    assert not is_allowed(address)


def test_private_addresses_are_allowed_where_that_is_meant() -> None:
    assert is_allowed("fec0::1", private=True)
    assert not is_allowed("fd00:ec2::254", private=True)
    assert is_allowed("64:ff9b::a00:1", private=True)
    assert not is_allowed("64:ff9b::a9fe:a9fe", private=True)
