"""Which addresses are of one group, and which of none."""

import pytest

from peerd.kad.groups import group


@pytest.mark.parametrize(
    "host",
    [
        "10.1.2.3",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "0.0.0.0",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd12:3456::1",
        "::ffff:10.1.2.3",
        "64:ff9b::10.1.2.3",
    ],
)
def test_local_addresses_have_no_group(host: str) -> None:
    assert group((host, 4001)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("44.1.2.3", "44.1.2.200"),
        ("2a01:4f8:1:2::1", "2a01:4f8:1:2:ffff::9"),
        ("44.1.2.3", "::ffff:44.1.2.9"),
        ("44.1.2.3", "64:ff9b::44.1.2.9"),
    ],
)
def test_addresses_of_one_network_are_of_one_group_whatever_the_port(one: str, other: str) -> None:
    assert group((one, 4001)) == group((other, 9)) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("44.1.2.3", "44.1.3.3"),
        ("2a01:4f8:1:2::1", "2a01:4f8:1:3::1"),
        ("64:ff9b::44.1.2.9", "64:ff9b::44.1.3.9"),
        ("172.32.0.1", "172.32.1.1"),
        ("192.0.2.1", "198.51.100.1"),
    ],
)
def test_addresses_of_different_networks_are_of_different_groups(one: str, other: str) -> None:
    assert group((one, 1)) not in {None, group((other, 1))}


def test_a_group_of_one_family_is_never_one_of_the_other() -> None:
    assert group(("44.1.2.3", 1)) == b"\x04\x2c\x01\x02"
    assert group(("2a01:4f8:1:2::1", 1)) == b"\x06\x2a\x01\x04\xf8\x00\x01\x00\x02"
