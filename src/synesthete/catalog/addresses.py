"""IP addresses that this program may connect to on others' behalf: of the internet, or of this machine and its networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

# The well-known prefix of NAT64 (RFC 6052), and IPv4-compatible addresses (RFC 4291, deprecated).
_ENDS_IN_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
# Where the IPv4 address is in it, its network decides (RFC 8215).
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
# Of AWS and Google, beside the link-local one of all.
_METADATA = (ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("fd20:ce::254"))

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether an address is of the internet, and not of this machine, its networks, or a translation of such a one.

    Parameters
    ----------
    address
        IPv4 or IPv6; a zone after `%` does not count.

    Examples
    --------
    >>> [is_public(one) for one in ("93.184.216.34", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "fec0::1")]
    [True, False, False, False, False]
    """
    return all(
        one.is_global and not (one.is_multicast or one.is_reserved) and not _is_local(one)
        for one in _meant(address)
    )


def is_allowed(address: str, *, private: bool = False) -> bool:
    """Whether an address may be read from: a public one, or with `private` one of a private network or of this machine.

    Link-local addresses and the others where clouds have their credentials never are.

    Examples
    --------
    >>> is_allowed("127.0.0.1"), is_allowed("127.0.0.1", private=True), is_allowed("169.254.169.254", private=True)
    (False, True, False)
    """
    never = (
        one.is_link_local
        or one.is_multicast
        or one.is_unspecified
        or one in _LOCAL_NAT64
        or one in _METADATA
        for one in _meant(address)
    )
    return is_public(address) or (private and not any(never))


def _is_local(address: _Address) -> bool:
    """Whether an IPv6 address is one that Python takes for a global one, but is not."""
    return isinstance(address, ipaddress.IPv6Address) and (
        address.is_site_local or address in _LOCAL_NAT64
    )


def _meant(address: str) -> Sequence[_Address]:
    """An address, or those that it is a translation of: IPv4-mapped, -compatible, NAT64, 6to4 and Teredo."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return [found]
    if found.ipv4_mapped is not None:
        return [found.ipv4_mapped]
    if any(found in network for network in _ENDS_IN_IPV4):
        return [ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)]
    return [found, *filter(None, [found.sixtofour]), *(found.teredo or ())]
