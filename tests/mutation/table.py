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
        ),
    ),
    Mutation(
        "1.2",
        "peerd/records/statement.py",
        "if not verifier.check(PeerId(getattr(body, self._signer_field)), self._tag, raw):",
        "if False:",
        (
            "tests/unit/records/test_statement.py::test_every_altered_byte_is_refused",
            "tests/unit/node/test_reading.py::test_a_lie_of_mallory_is_no_answer",
        ),
    ),
    Mutation(
        "1.3",
        "peerd/node/reading.py",
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
