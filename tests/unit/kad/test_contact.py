import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import WireError
from peerd.ids import NodeId, PeerId, node_id
from peerd.kad.contact import ENTRY_4_BYTES, ENTRY_6_BYTES, Contact, can_be_told, pack_contacts, unpack_contacts
from tests.unit.kad.overlay import NETWORK

ALICE, BOB = PeerId(b"a" * 32), PeerId(b"b" * 32)


def contact(peer: PeerId, host: str = "192.168.1.7", port: int = 7433) -> Contact:
    return Contact.of(NETWORK, peer, (host, port))


def test_the_place_of_a_contact_is_derived_from_its_peer_and_network():
    assert contact(ALICE).place == node_id(NETWORK, ALICE)


def test_entries_are_peer_family_ip_and_port_in_network_order():
    raw = pack_contacts([contact(ALICE, "1.2.3.4", 258), contact(BOB, "2001:db8::1", 7433)], 1000)
    four = ALICE + b"\x04\x01\x02\x03\x04\x01\x02"
    six = BOB + b"\x06\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + b"\x1d\x09"
    assert raw == four + six
    assert (len(four), len(six)) == (ENTRY_4_BYTES, ENTRY_6_BYTES)


hosts = st.ip_addresses().map(str)
contacts = st.lists(
    st.builds(contact, st.binary(min_size=32, max_size=32).map(PeerId), hosts, st.integers(1, 65535)),
    max_size=20,
    unique_by=lambda c: c.peer,
)


@given(contacts)
def test_what_is_packed_is_unpacked_in_the_same_order(given_contacts):
    told = [c for c in given_contacts if can_be_told(c.address)]
    found = unpack_contacts(pack_contacts(given_contacts, 20 * ENTRY_6_BYTES), 20)
    assert [peer for peer, _ in found] == [c.peer for c in told]
    assert pack_contacts([contact(peer, *address) for peer, address in found], 2000) == pack_contacts(told, 2000)


@given(contacts, st.integers(0, 1100))
def test_a_list_is_cut_to_fit_from_its_far_end(given_contacts, max_bytes):
    raw = pack_contacts(given_contacts, max_bytes)
    whole = pack_contacts(given_contacts, 2000)
    assert len(raw) <= max_bytes
    assert whole.startswith(raw)
    assert len(raw) == len(whole) or len(raw) + ENTRY_6_BYTES > max_bytes
    unpack_contacts(raw, 20)


@given(st.binary(max_size=300))
def test_hostile_bytes_are_a_list_or_a_wire_error(raw):
    try:
        found = unpack_contacts(raw, 20)
    except WireError:
        return
    assert pack_contacts([contact(peer, *address) for peer, address in found], 300) == raw


def entry(peer: bytes, tail: str) -> bytes:
    return peer + bytes.fromhex(tail)


@pytest.mark.parametrize(
    "raw",
    [
        ALICE,
        entry(ALICE, "04"),
        entry(ALICE, "04 01020304 1d"),
        entry(ALICE, "05 01020304 1d09"),
        entry(ALICE, "00"),
        entry(ALICE, "04 01020304 1d09") + b"\x00",
        entry(ALICE, "06 20010db8 1d09"),
    ],
)
def test_a_cut_entry_or_an_unknown_family_is_refused(raw):
    with pytest.raises(WireError):
        unpack_contacts(raw, 20)


def test_every_truncation_inside_an_entry_is_refused():
    raw = pack_contacts([contact(ALICE), contact(BOB, "2001:db8::1")], 1000)
    for length in range(len(raw)):
        if length in (0, ENTRY_4_BYTES):
            continue
        with pytest.raises(WireError):
            unpack_contacts(raw[:length], 20)


@pytest.mark.parametrize(
    "tail",
    [
        "04 00000000 1d09",
        "04 ffffffff 1d09",
        "04 e0000001 1d09",
        "04 01020304 0000",
        "06 00000000000000000000000000000000 1d09",
        "06 ff020000000000000000000000000001 1d09",
        "06 fe800000000000000000000000000001 1d09",
        "06 00000000000000000000ffff01020304 1d09",
    ],
)
def test_addresses_that_are_no_single_host_or_not_in_their_one_form_are_refused(tail):
    with pytest.raises(WireError, match="contact address"):
        unpack_contacts(entry(ALICE, tail), 20)


def test_more_contacts_than_asked_for_are_refused():
    raw = pack_contacts([contact(ALICE), contact(BOB)], 1000)
    assert len(unpack_contacts(raw, 2)) == 2
    with pytest.raises(WireError, match="too many"):
        unpack_contacts(raw, 1)


def test_a_peer_that_is_named_twice_is_refused():
    raw = pack_contacts([contact(ALICE), contact(ALICE, "1.2.3.4")], 1000)
    with pytest.raises(WireError, match="twice"):
        unpack_contacts(raw, 20)


def test_an_address_that_means_nothing_elsewhere_is_not_told():
    bob = contact(BOB)
    told = pack_contacts([contact(ALICE, "fe80::1%eth0"), contact(ALICE, "fe80::1"), contact(ALICE, "::"), bob], 1000)
    assert unpack_contacts(told, 20) == [(BOB, bob.address)]


def test_a_mapped_address_is_told_as_ipv4():
    assert pack_contacts([contact(ALICE, "::ffff:1.2.3.4")], 100) == pack_contacts([contact(ALICE, "1.2.3.4")], 100)


def test_a_contact_is_a_value():
    assert contact(ALICE) == Contact(ALICE, NodeId(node_id(NETWORK, ALICE)), ("192.168.1.7", 7433))
    assert len({contact(ALICE), contact(ALICE)}) == 1
