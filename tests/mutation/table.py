"""The checks that docs/THREATS.md names, each with what removes it and the tests that then must go red.

One entry a check: the row of THREATS.md, the file, a text that occurs in it exactly once, the text without the check,
and the tests (`path::name`, of a parametrized one without its brackets). `make mutate` tries them all;
tests/unit/test_mutations.py sees to it that they can be tried. A row whose defence is no check in one place says why in
NOTHING_TO_REMOVE.
"""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One check removed."""

    threat: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


TABLE: list[Mutation] = [
    # 1. Never a wrong byte
    Mutation(
        "1.1",
        "peerd/node/fetch.py",
        "if not check(Cid.from_bytes(raw), data):",
        "if False:",
        (
            "tests/unit/node/test_fetch.py::test_a_liar_is_named_counted_and_dropped_and_the_bytes_are_right",
            "tests/unit/node/test_fetch.py::test_where_all_lie_it_is_an_integrity_error",
            "tests/sim/test_liars.py::test_where_all_eight_holders_lie_nothing_wrong_is_read",
        ),
    ),
    Mutation(
        "1.2",
        "peerd/records/statement.py",
        "if not verifier.check(PeerId(getattr(body, self._signer_field)), self._tag, raw):",
        "if False:",
        (
            "tests/unit/records/test_statement.py::test_every_altered_byte_is_refused",
            "tests/sim/test_liars.py::test_where_all_eight_holders_lie_nothing_wrong_is_read",
            "tests/unit/node/test_reading.py::test_a_lie_of_mallory_is_no_answer",
        ),
    ),
    Mutation(
        "1.3",
        "peerd/node/holding.py",
        '    if record.key != key:\n        raise WireError("other_key")\n',
        "",
        ("tests/unit/node/test_reading.py::test_a_lie_of_mallory_is_no_answer",),
    ),
    Mutation(
        "1.4",
        "peerd/records/record.py",
        '    if body.key != name_key(network, body.name, owner):\n        raise WireError("record_key")\n',
        "",
        ("tests/unit/records/test_record.py::test_a_record_stands_under_the_key_of_its_name_and_owner",),
    ),
    Mutation(
        "1.4",
        "peerd/records/record.py",
        '    if owner is not None and body.writer != owner:\n        raise WireError("record_owner")\n',
        "",
        ("tests/unit/records/test_record.py::test_only_its_owner_writes_an_own_name_and_everybody_a_shared_one",),
    ),
    # 2. Rollback, replay, resurrection, freezing
    Mutation(
        "2.1",
        "peerd/node/holding.py",
        "            if record.body.sequence > base + reach:\n                return None\n",
        "",
        (
            "tests/unit/node/test_tombstones.py::"
            "test_a_jump_is_kept_where_the_others_have_it_and_refused_where_one_alone_says_so",
        ),
    ),
    Mutation(
        "2.2",
        "peerd/node/holding.py",
        "                return Over(floor)\n",
        "                pass\n",
        ("tests/unit/node/test_tombstones.py::test_a_record_at_or_below_a_floor_is_refused_and_one_above_is_kept",),
    ),
    Mutation(
        "2.3",
        "peerd/node/gossip.py",
        "        if peer == teller or contact is None:\n",
        "        if True:\n",
        (
            "tests/unit/node/test_departures.py::"
            "test_an_old_leave_notice_replayed_to_one_that_restarted_sends_nobody_away",
        ),
    ),
    Mutation(
        "2.4",
        "peerd/trust/forgotten.py",
        "SIGNERS_MIN = 2\n",
        "SIGNERS_MIN = 1\n",
        (
            "tests/unit/trust/test_forgotten.py::test_the_word_of_one_member_is_not_enough_and_that_of_two_is",
            "tests/unit/node/test_tombstones.py::test_a_tombstone_does_not_wait_for_who_was_forgotten",
        ),
    ),
    Mutation(
        "2.4",
        "peerd/trust/forgotten.py",
        "sum(1 for each in members if each in signers) > len(members) // 2",
        "peer in self",
        ("tests/unit/trust/test_forgotten.py::test_in_the_list_of_a_register_a_majority_of_it_must_say_so",),
    ),
    # 3. Sybil and eclipse
    # 4. Look-ups among liars
    Mutation(
        "4.1",
        "peerd/kad/lookup.py",
        "            if room == 0:\n                break\n",
        "",
        (
            "tests/unit/kad/test_lookup.py::"
            "test_no_more_than_the_referrer_s_share_of_new_contacts_is_taken_and_the_nearest_of_them",
        ),
    ),
    Mutation(
        "4.3",
        "peerd/trust/hearsay.py",
        "        return yes > 0 and 2 * yes >= len(self._words)\n",
        "        return yes > 0\n",
        (
            "tests/unit/trust/test_hearsay.py::test_one_of_two_is_believed_and_one_of_three_is_not",
            "tests/unit/node/test_joining.py::"
            "test_one_member_cannot_make_the_others_believe_that_the_network_is_too_large",
        ),
    ),
    Mutation(
        "4.4",
        "peerd/node/lanes.py",
        "referrer.waiting and referrer.under_way < referrer.window and self._has_room(by, referrer)",
        "referrer.waiting and sum(self._under_way.values()) < HANDSHAKES_MAX",
        (
            "tests/unit/node/test_lanes.py::test_a_flood_of_one_referrer_leaves_the_others_their_turn",
            "tests/unit/node/test_joining.py::test_invented_contacts_do_not_keep_the_true_ones_waiting",
        ),
    ),
    Mutation(
        "4.5",
        "peerd/node/joining.py",
        "            known = not core.absent.note(peer, candidate.address, core.now())  # each counts once\n",
        "            pass\n",
        (
            "tests/unit/node/test_joining.py::"
            "test_who_invents_contacts_is_noted_and_its_contacts_are_tried_once_a_minute",
        ),
    ),
    # 5. Receipts, audits, evidence
    # 6. Work for strangers
    # 7. mDNS
    # 8. Hostile content
    # 9. The local API
    # 10. Fuzz
    # 11. Secrets
]

NOTHING_TO_REMOVE: dict[str, str] = {
    "4.2": "disjoint paths are how a look-up is made, not a check in it",
}
"""Rows of THREATS.md without an entry above, and why."""
