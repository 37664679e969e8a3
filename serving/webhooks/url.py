"""Check where a webhook may go: hosts on a list, and no private network unless allowed.

A name is resolved for every attempt, every address it has must be allowed, and the connection goes
to the address that was checked, so that a name cannot change in between.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

DEFAULT_PORTS = {"https": 443, "http": 80}
LONGEST_URL = 2000
NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("fec0::/10", "192.88.99.0/24", "3fff::/20")))
"""Networks that Python takes for public: private ones of old, relays to such, and examples."""

WITHIN_OTHERS = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16")
"""IPv6 networks whose addresses hold an IPv4 address, which could be a private one."""

HOSTS_VARIABLE, NETWORKS_VARIABLE = "KEEPWELL_WEBHOOK_HOSTS", "KEEPWELL_WEBHOOK_NETWORKS"
WEBHOOK_KEY_VARIABLE = "KEEPWELL_WEBHOOK_KEY"


class WebhookAddressError(ValueError):
    """A webhook may not go there."""


@dataclass(frozen=True, kw_only=True)
class AllowedAddresses:
    """Hosts that webhooks may go to, as ``host`` or ``host:port``, and private networks among
    them. Without hosts nothing is sent."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()


NOWHERE = AllowedAddresses()


@dataclass(frozen=True, kw_only=True)
class Target:
    """The connection of one attempt: address, host and path."""

    address: str
    port: int
    host: str
    path: str
    is_encrypted: bool


def allowed_addresses(hosts: str, networks: str) -> AllowedAddresses:
    """The entries of a setting, separated by commas.

    >>> allowed_addresses("hooks.example, crm.example:8443", "10.1.0.0/16").hosts
    ('hooks.example', 'crm.example:8443')

    Raises:
        WebhookAddressError: a network is none.
    """
    found = []
    for text in _listed(networks):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise WebhookAddressError(
                f"{NETWORKS_VARIABLE} has {text!r}, which is no network. Write it as 10.1.0.0/16."
            ) from error
    return AllowedAddresses(hosts=tuple(_listed(hosts.lower())), networks=tuple(found))


def checked_url(url: str, allowed: AllowedAddresses) -> SplitResult:
    """A webhook's address, as far as its words go.

    Raises:
        WebhookAddressError: it is no address of ours to send to, or not on the list.
    """
    if len(url) > LONGEST_URL or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise WebhookAddressError(
            f"A webhook's address is at most {LONGEST_URL} characters of "
            f"ASCII without spaces. Encode what is not."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookAddressError(
            "The webhook's address cannot be read. Write it as https://hooks.example/keepwell."
        ) from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise WebhookAddressError(
            "A webhook's address begins with https:// and names a host, as "
            "https://hooks.example/keepwell."
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WebhookAddressError(
            "A webhook's address holds no user, password or fragment: what "
            "proves that we send is the signature."
        )
    name = parts.hostname
    with_port = f"{name}:{port or DEFAULT_PORTS[parts.scheme]}"
    is_default = port is None or port == DEFAULT_PORTS[parts.scheme]
    if with_port not in allowed.hosts and not (is_default and name in allowed.hosts):
        listed = with_port if not is_default else name
        raise WebhookAddressError(
            f"{listed} is not among the hosts that webhooks may go to. Add "
            f"it to {HOSTS_VARIABLE}, where the service starts."
        )
    return parts


def target_of(url: str, allowed: AllowedAddresses, resolve: Resolve) -> Target:
    """The target for this address, resolved now.

    Raises:
        WebhookAddressError: it is not on the list, has no address, or one that is not allowed.
    """
    parts = checked_url(url, allowed)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        addresses = resolve(host, port)
    except OSError as error:
        raise WebhookAddressError(
            f"{host} has no address now: {error.strerror or error}."
        ) from error
    if not addresses:
        raise WebhookAddressError(f"{host} has no address now.")
    for address in addresses:
        is_ours = _is_among(address, allowed.networks)
        if not is_ours and not is_public(address):
            raise WebhookAddressError(
                f"{host} leads to {address}, which is no public address. If webhooks may go there, "
                f"add its network to {NETWORKS_VARIABLE}."
            )
        if parts.scheme == "http" and not is_ours:
            raise WebhookAddressError(
                f"{host} leads to a public address, and http can be read on "
                f"the way there. Use https."
            )
    path = parts.path or "/"
    return Target(
        address=addresses[0],
        port=port,
        host=host,
        is_encrypted=parts.scheme == "https",
        path=f"{path}?{parts.query}" if parts.query else path,
    )


def is_public(address: str) -> bool:
    """Whether an address is public.

    >>> [is_public(a) for a in ("93.184.216.34", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    >>> [is_public(a) for a in ("fec0::1", "192.88.99.1", "64:ff9b:1::a00:1", "2606:4700::1111")]
    [False, False, False, True]
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.teredo is not None or any(found in network for network in WITHIN_OTHERS):
            return False
    if any(found in network for network in NOT_PUBLIC):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, as this machine finds them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _is_among(address: str, networks: Sequence[Network]) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def _listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
