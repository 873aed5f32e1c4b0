"""Which interfaces a peer announces itself on, and how they are read."""

from ipaddress import ip_interface

import pytest

from peerd.io.interfaces import Interface, choose, read_interfaces


def interface(name, *addresses, up=True, **flags):
    return Interface(name, 1, tuple(ip_interface(each) for each in addresses), up, **flags)


LO = interface("lo", "127.0.0.1/8", "::1/128", loopback=True)
ETH = interface("eth0", "10.0.0.5/24", "fd00::5/64")
WIFI = interface("wlp3s0", "192.168.1.5/24")


def names(chosen):
    return [each.name for each in chosen]


def test_all_lan_interfaces_are_chosen_and_not_the_loopback():
    assert choose([LO, ETH, WIFI]) == [ETH, WIFI]


@pytest.mark.parametrize(
    "name",
    [
        *("docker0", "docker_gwbridge", "br-0123456789ab", "virbr0", "podman1", "cni0", "flannel.1", "cali12345"),
        *(
            "lxcbr0",
            "lxdbr0",
            "vmnet8",
            "vboxnet0",
            "tun0",
            "utun3",
            "wg0",
            "tailscale0",
            "ztabcdef",
            "nordlynx",
            "ppp0",
        ),
    ],
)
def test_containers_and_tunnels_are_left_out_unless_asked_for(name):
    virtual = interface(name, "172.17.0.1/16")
    assert choose([LO, ETH, virtual]) == [ETH]
    assert choose([LO, ETH, virtual], [name]) == [virtual]
    assert choose([LO, ETH, virtual], ["172.17.0.1"]) == [virtual]


@pytest.mark.parametrize(
    "name", ["eth0", "enp0s31f6", "veth12", "tap0", "br0", "br-lan", "bond0", "wlan0", "en0", "vlan7"]
)
def test_cards_bridges_and_hosts_of_tests_are_not_left_out(name):
    assert names(choose([LO, interface(name, "10.0.0.5/24")])) == [name]


def test_a_point_to_point_link_is_not_the_lan_whatever_its_name():
    assert choose([LO, ETH, interface("corp", "10.9.0.2/32", point_to_point=True)]) == [ETH]


def test_an_interface_without_carrier_or_address_is_not_chosen():
    assert choose([LO, ETH, interface("eth1", "10.1.0.5/24", up=False), interface("eth2")]) == [ETH]
    assert choose([interface("eth1", "10.1.0.5/24", up=False)], ["eth1"]) == []


def test_the_loopback_is_what_is_left():
    assert choose([LO, interface("eth0", "10.0.0.5/24", up=False), interface("docker0", "172.17.0.1/16")]) == [LO]


def test_a_wanted_address_is_announced_alone():
    assert [str(each) for each in choose([LO, ETH, WIFI], ["10.0.0.5"])[0].addresses] == ["10.0.0.5/24"]
    assert [str(each) for each in choose([LO, ETH], ["fd00:0::5"])[0].addresses] == ["fd00::5/64"]
    assert choose([LO, ETH, WIFI], ["eth0", "192.168.1.5"]) == [ETH, WIFI]


def test_what_is_wanted_and_absent_is_replaced_by_nothing():
    assert choose([LO, ETH], ["eth7"]) == []


def test_reading_finds_the_loopback_of_this_host():
    found = {each.name: each for each in read_interfaces()}
    loopbacks = [each for each in found.values() if each.loopback]
    assert any(str(address.ip) == "127.0.0.1" for each in loopbacks for address in each.addresses)
    assert all(each.up for each in loopbacks)
    assert read_interfaces() == list(found.values())


def test_no_address_needs_a_scope_and_version_4_comes_first():
    for each in read_interfaces():
        assert not any(address.version == 6 and address.is_link_local for address in each.addresses)
        assert [address.version for address in each.addresses] == sorted(address.version for address in each.addresses)
