"""A webhook goes only where the operator lets it, by the address that was looked at."""

from __future__ import annotations

import pytest

from serving.webhooks.url import (
    AllowedAddresses,
    Target,
    WebhookAddressError,
    allowed_addresses,
    checked_url,
    resolved,
    target_of,
)

ALLOWED = allowed_addresses("hooks.example,crm.example:8443,Inside.Example", "10.1.0.0/16")
PUBLIC = "93.184.216.34"


def leads_to(*addresses: str):
    return lambda host, port: list(addresses)


def test_an_allowed_host_is_pinned_to_the_address_it_has_now() -> None:
    assert target_of(
        "https://hooks.example/a/b?c=1", ALLOWED, leads_to(PUBLIC, "2606:4700::1111")
    ) == Target(address=PUBLIC, port=443, host="hooks.example", path="/a/b?c=1", is_encrypted=True)
    assert target_of("https://crm.example:8443", ALLOWED, leads_to(PUBLIC)).path == "/"
    inside = target_of("http://inside.example/x", ALLOWED, leads_to("10.1.2.3"))
    assert (inside.port, inside.is_encrypted) == (80, False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://other.example/", "other.example is not among the hosts"),
        ("https://hooks.example:8443/", "hooks.example:8443 is not among the hosts"),
        ("https://crm.example/", "crm.example is not among the hosts"),
        ("https://hooks.example.evil.example/", "is not among the hosts"),
        ("https://HOOKS.example@evil.example/", "holds no user, password or fragment"),
        ("https://ann:secret@hooks.example/", "holds no user, password or fragment"),
        ("https://hooks.example/#here", "holds no user, password or fragment"),
        ("ftp://hooks.example/", "begins with https://"),
        ("file:///etc/passwd", "begins with https://"),
        ("hooks.example", "begins with https://"),
        ("https://hooks.example/\r\nX: 1", "ASCII without spaces"),
        ("https://hooks.example/ä", "ASCII without spaces"),
        ("https://hooks.example/" + "a" * 2000, "at most 2000 characters"),
        ("https://hooks.example:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://127.0.0.1/", "127.0.0.1 is not among the hosts"),
    ],
)
def test_an_address_that_is_not_ours_to_send_to_is_refused(url: str, message: str) -> None:
    with pytest.raises(WebhookAddressError, match=message):
        checked_url(url, ALLOWED)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "10.2.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fc00::1",
        "fe80::1%eth0",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0::1",
    ],
)
def test_a_name_that_leads_into_a_network_of_somebody_is_refused(address: str) -> None:
    for found in ([address], [PUBLIC, address]):  # one bad address of several is enough
        with pytest.raises(WebhookAddressError, match="which is no public address"):
            target_of("https://hooks.example/", ALLOWED, leads_to(*found))


def test_a_private_network_is_reached_only_where_it_is_allowed() -> None:
    for address in ("10.1.255.255", "::ffff:10.1.0.7"):
        assert target_of("https://hooks.example/", ALLOWED, leads_to(address)).address == address


def test_http_goes_to_no_public_address() -> None:
    with pytest.raises(WebhookAddressError, match="http can be read on the way"):
        target_of("http://hooks.example/", ALLOWED, leads_to(PUBLIC))


def test_a_name_without_an_address_is_told() -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(WebhookAddressError, match="has no address now: Name or service not known"):
        target_of("https://hooks.example/", ALLOWED, nowhere)
    with pytest.raises(WebhookAddressError, match=r"has no address now\."):
        target_of("https://hooks.example/", ALLOWED, leads_to())


def test_without_a_list_nothing_is_allowed() -> None:
    with pytest.raises(WebhookAddressError, match="KEEPWELL_WEBHOOK_HOSTS, where the service"):
        checked_url("https://hooks.example/", AllowedAddresses())


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(WebhookAddressError, match=r"has '10\.1\.0\.1/16', which is no network"):
        allowed_addresses("", "10.1.0.1/16")


def test_this_machine_resolves_a_literal_address_to_itself() -> None:
    assert list(resolved("127.0.0.1", 80)) == ["127.0.0.1"]
