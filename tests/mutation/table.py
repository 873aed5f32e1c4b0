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
    Mutation(
        "1.5",
        "peerd/swarm/schedule.py",
        "        chosen = self._late(peer, source, now, late_s)\n",
        "        chosen = []\n",
        ("tests/unit/swarm/test_schedule.py::test_only_what_is_waited_for_first_is_asked_again_of_who_has_other_work",),
    ),
    Mutation(
        "1.5",
        "peerd/swarm/schedule.py",
        " or (source not in prompt and any(cid not in each.lacks for each in prompt)):",
        ":",
        ("tests/unit/swarm/test_schedule.py::test_who_is_late_gets_nothing_that_a_prompt_one_may_have",),
    ),
    Mutation(
        "1.6",
        "peerd/node/fetch.py",
        '            self._core.trust.note(peer, "wrong_block")\n',
        "",
        ("tests/unit/node/test_fetch.py::test_a_liar_is_named_counted_and_dropped_and_the_bytes_are_right",),
    ),
    Mutation(
        "1.6",
        "peerd/node/providing.py",
        "    return sorted(by_turns.values(), key=lambda contact: core.trust.shunned(contact.peer))\n",
        "    return list(by_turns.values())\n",
        (
            "tests/unit/node/test_providing.py::test_half_of_the_sources_are_those_that_should_have_it_and_liars_come_last",
        ),
    ),
    Mutation(
        "1.6",
        "peerd/trust/faults.py",
        "        while len(self._tallies) > FAULTY_MAX:\n            self._tallies.popitem(last=False)\n",
        "",
        ("tests/unit/trust/test_faults.py::test_many_liars_fill_no_memory_and_the_last_caught_is_remembered",),
    ),
    Mutation(
        "1.7",
        "peerd/node/fetch.py",
        "        if self._candidates:\n            if self._again is not None:\n",
        "        if False:\n            if self._again is not None:\n",
        ("tests/unit/node/test_fetch.py::test_sources_that_fail_or_deny_leave_their_places_to_those_found_after_them",),
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
    Mutation(
        "2.5",
        "peerd/trust/quorum.py",
        "if version.sequence <= reached + SEQUENCE_JUMP_MAX or self._have(version) >= majority(len(self._asked)):",
        "if True:",
        (
            "tests/unit/trust/test_quorum.py::test_a_version_out_of_reach_is_passed_over_unless_most_have_it",
            "tests/unit/node/test_seen.py::test_a_jump_that_liars_show_freezes_nothing",
        ),
    ),
    Mutation(
        "2.5",
        "peerd/trust/quorum.py",
        "        within = (each for each in self._floors.values() if each[0] < reach or each == agreed)\n",
        "        within = iter(self._floors.values())\n",
        (
            "tests/unit/trust/test_quorum.py::test_a_floor_out_of_reach_of_one_is_nothing_to_write_above",
            "tests/unit/node/test_seen.py::test_a_floor_that_liars_show_does_not_lift_writers_out_of_reach",
        ),
    ),
    Mutation(
        "2.5",
        "peerd/node/tombstones.py",
        "        needed = max(1, others) if others <= VOUCHERS_ALL else majority(others)\n",
        "        needed = 1\n",
        ("tests/unit/node/test_seen.py::test_a_jump_needs_the_word_of_most_and_half_of_all_numbers_are_out_of_reach",),
    ),
    Mutation(
        "2.6",
        "peerd/trust/quorum.py",
        "        return floors > having and floors >= majority(len(self._asked))\n",
        "        return floors >= having\n",
        (
            "tests/unit/trust/test_quorum.py::"
            "test_a_version_is_over_where_most_of_all_that_were_asked_show_a_floor_above_it",
            "tests/unit/node/test_seen.py::test_three_of_eight_hide_no_value_behind_floors_while_two_are_slow",
        ),
    ),
    Mutation(
        "2.7",
        "peerd/node/reading.py",
        "        if self.least is not None and is_older(record, self.least):\n            return True\n",
        "",
        (
            "tests/unit/node/test_seen.py::test_a_reader_takes_nothing_older_than_it_has_read",
            "tests/unit/node/test_seen.py::test_what_was_read_is_known_after_a_restart",
            "tests/unit/node/test_seen.py::test_a_deletion_that_was_read_brings_no_value_back",
        ),
    ),
    Mutation(
        "1.9",
        "peerd/node/reading.py",
        "            self.forged.add(peer)\n",
        "",
        (
            "tests/unit/node/test_seen.py::test_where_all_holders_forge_it_is_an_integrity_error_and_they_are_shunned",
            "tests/unit/node/test_seen.py::test_where_holders_forge_and_others_are_silent_the_next_nearest_are_asked",
        ),
    ),
    Mutation(
        "2.10",
        "peerd/wire/session.py",
        '            raise WireError("replayed")\n',
        "            pass\n",
        ("tests/unit/wire/test_session.py::test_a_message_opens_once",),
    ),
    Mutation(
        "2.11",
        "peerd/node/announced.py",
        "if any(peer == provider and providers.read(one).stamp > statement.stamp for peer, one in known):",
        "if False:",
        ("tests/sim/test_replays.py::test_what_was_said_is_said_again_and_nothing_changes",),
    ),
    # 3. Sybil and eclipse
    Mutation(
        "3.1",
        "peerd/kad/crowd.py",
        "if not self.is_crowded(distances):",
        "if True:",
        (
            "tests/unit/kad/test_crowd.py::test_of_those_read_first_some_are_honest_however_a_crowd_stands",
            "tests/sim/test_sybil.py::test_what_is_put_where_a_crowd_stands_is_read_and_outlives_the_crowd",
        ),
    ),
    Mutation(
        "3.2",
        "peerd/trust/quorum.py",
        "if self._crowded and (self._waiting or self._failed):",
        "if False:",
        ("tests/sim/test_sybil.py::test_where_a_crowd_denies_a_key_it_is_not_said_to_be_absent_unless_all_say_so",),
    ),
    Mutation(
        "3.3",
        "peerd/trust/quorum.py",
        "if self._crowded:  # what is unsigned counts for nothing where most may lie; what is here is our own",
        "if False:",
        ("tests/unit/trust/test_quorum.py::test_in_a_crowded_region_only_our_own_floor_hides_a_record",),
    ),
    Mutation(
        "3.4",
        "peerd/kad/size.py",
        "FULLEST_LEFT_OUT = 2",
        "FULLEST_LEFT_OUT = 0",
        ("tests/unit/kad/test_crowd.py::test_a_crowd_hardly_changes_how_large_the_network_seems",),
    ),
    Mutation(
        "3.5",
        "peerd/kad/diversity.py",
        "return entry.group is None or self._in_use[entry.group] < TABLE_MAX",
        "return True",
        ("tests/unit/kad/test_diversity.py::test_of_a_group_two_are_in_a_bucket_and_ten_in_use_whatever_happens",),
    ),
    Mutation(
        "3.5",
        "peerd/kad/diversity.py",
        "return sum(1 for each in nodes if each.group == entry.group) < BUCKET_MAX",
        "return True",
        ("tests/unit/kad/test_diversity.py::test_of_a_group_two_are_in_a_bucket_and_ten_in_use_whatever_happens",),
    ),
    Mutation(
        "3.7",
        "peerd/kad/buckets.py",
        "if not node.sought or 2 * len(came) <= self.ksize:",
        "if True:",
        ("tests/unit/kad/test_diversity.py::test_half_of_a_full_bucket_is_of_those_that_we_found",),
    ),
    Mutation(
        "3.8",
        "peerd/node/members.py",
        "if len(found) < count // 2 and (of is None or groups[of] < BUCKET_MAX):",
        "if False:",
        (
            "tests/unit/node/test_members.py"
            "::test_a_flood_of_newcomers_takes_no_anchor_s_place_and_no_more_than_two_anchors_are_of_a_group",
        ),
    ),
    Mutation(
        "3.8",
        "peerd/io/store/provider_table.py",
        "SELECT peer FROM peers WHERE peer NOT IN ({longest}) ORDER",
        "SELECT peer FROM peers ORDER",
        ("tests/unit/io/store/test_overlay.py::test_the_longest_known_peers_stay_whatever_flood_comes_after_them",),
    ),
    Mutation(
        "3.9",
        "peerd/kad/crowd.py",
        "SIDES = 4",
        "SIDES = 0",
        ("tests/sim/test_sybil.py::test_where_not_all_are_known_a_crowd_is_looked_beside",),
    ),
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
        "        if core.absent.has(contact.peer, contact.address, core.now()):\n",
        "        if False:\n",
        ("tests/unit/node/test_joining.py::test_where_nobody_was_found_nobody_is_tried_for_a_minute",),
    ),
    # 5. Receipts, audits, evidence
    # 5. Receipts, audits, evidence
    Mutation(
        "5.1",
        "peerd/node/watchdog.py",
        "if await self._is_convicted_by(peer, record, raw, said):",
        "if False:",
        ("tests/unit/node/test_watchdog.py::test_who_signs_a_lie_is_convicted_by_its_own_word",),
    ),
    Mutation(
        "5.2",
        "peerd/node/watchdog.py",
        "if pretends(said, record):",
        "if False:",
        ("tests/unit/node/test_watchdog.py::test_who_signs_a_lie_is_convicted_by_its_own_word",),
    ),
    Mutation(
        "5.3",
        "peerd/node/watchdog.py",
        "            if not excused:",
        "            if False:",
        ("tests/unit/node/test_watchdog.py::test_who_evades_is_found_out_and_not_relied_on_and_convicted_of_nothing",),
    ),
    Mutation(
        "5.4",
        "peerd/node/holding.py",
        "if equivocates(winner, loser):",
        "if False:",
        (
            "tests/unit/node/test_convicting.py::test_a_holder_that_is_given_two_contents_of_one_version_convicts_the_writer",
        ),
    ),
    Mutation(
        "5.5",
        "peerd/trust/evidence.py",
        "if accused != said.accused:",
        "if False:",
        ("tests/unit/trust/test_evidence.py::test_who_is_framed_with_what_another_signed_is_not_convicted",),
    ),
    Mutation(
        "5.5",
        "peerd/trust/evidence.py",
        "if not breaks(promise, denial):",
        "if False:",
        ("tests/unit/trust/test_evidence.py::test_an_honest_history_convicts_nobody",),
    ),
    Mutation(
        "5.6",
        "peerd/node/promising.py",
        "if said == HAS_NOT and self.may_have_promised(kind, key, digest):",
        "if False:",
        ("tests/unit/node/test_promising.py::test_what_was_promised_and_lost_is_not_denied",),
    ),
    Mutation(
        "5.6",
        "peerd/trust/evidence.py",
        "        and promise.stamp < said.stamp < promise.stamp + promise.life_s * _MS\n",
        "",
        ("tests/unit/trust/test_evidence.py::test_an_honest_history_convicts_nobody",),
    ),
    Mutation(
        "5.7",
        "peerd/node/restoring.py",
        "return [cid for cid in claimed if cid not in missing]",
        "return claimed",
        ("tests/unit/node/test_watchdog.py::test_a_copy_that_is_said_to_be_kept_and_is_not_shown_does_not_count",),
    ),
    Mutation(
        "5.7",
        "peerd/node/challenge.py",
        "if proof == proof_of(self.nonce, body_bytes(record.raw)):",
        "if any(proof):",
        ("tests/unit/node/test_promising.py::test_a_challenge_is_met_by_who_has_the_version_alone",),
    ),
    Mutation(
        "5.8",
        "peerd/node/convicting.py",
        " or self._is_full(teller, accused):",
        ":",
        ("tests/unit/node/test_convicting.py::test_key_pairs_that_convict_themselves_crowd_out_nobody",),
    ),
    Mutation(
        "5.8",
        "peerd/node/convicting.py",
        " or self._core.trust.shunned(teller):",
        ":",
        ("tests/unit/node/test_convicting.py::test_forged_evidence_convinces_nobody_and_its_teller_is_noted",),
    ),
    Mutation(
        "5.9",
        "peerd/node/handshakes.py",
        '        if self.refused(peer):\n            raise WireError("out")\n',
        "",
        ("tests/unit/node/test_convicting.py::test_evidence_convinces_everybody_and_who_is_convicted_is_nowhere",),
    ),
    Mutation(
        "5.10",
        "peerd/records/record.py",
        "    return raw[:-SIGNATURE_BYTES]\n",
        "    return raw\n",
        ("tests/unit/trust/test_evidence.py::test_who_has_two_good_signatures_of_one_body_is_not_blamed_for_either",),
    ),
    # 6. Work for strangers
    Mutation(
        "6.1",
        "peerd/node/handshakes.py",
        " and len(data) >= envelope.CHALLENGE_BYTES",
        "",
        (
            "tests/live/test_daemon_amplification.py::test_a_forged_sender_gets_no_more_bytes_than_were_sent_in_its_name",
        ),
    ),
    Mutation(
        "6.3",
        "peerd/trust/admission.py",
        "        if not self._group_handshakes.take(group, now):\n            return False\n",
        "",
        (
            "tests/unit/node/test_admission.py::test_one_address_has_so_many_handshakes_and_others_still_have_theirs",
            "tests/unit/node/test_admission.py::test_no_signature_is_checked_of_what_is_too_many",
        ),
    ),
    Mutation(
        "6.4",
        "peerd/trust/admission.py",
        "(known and self._reserve.take(_ALL, now)) or ",
        "",
        (
            "tests/unit/node/test_admission.py::test_members_are_let_in_while_strangers_of_many_addresses_want_more_than_there_is",
        ),
    ),
    Mutation(
        "6.5",
        "peerd/node/handshakes.py",
        "if used in self._used:",
        "if False:",
        ("tests/unit/node/test_admission.py::test_a_finish_makes_one_session_also_when_its_answer_was_forgotten",),
    ),
    Mutation(
        "6.5",
        "peerd/node/handshakes.py",
        "if known.repeats < TRIES_MAX:",
        "if True:",
        ("tests/unit/node/test_admission.py::test_a_finish_makes_one_session_also_when_its_answer_was_forgotten",),
    ),
    Mutation(
        "6.6",
        "peerd/node/sessions.py",
        "group_or_host(session.address), spare=self._spare",
        'b"", spare=self._spare',
        ("tests/unit/node/test_admission.py::test_many_keys_of_one_address_push_out_no_session_of_others",),
    ),
    Mutation(
        "6.6",
        "peerd/node/sessions.py",
        ", spare=self._spare",
        "",
        ("tests/unit/node/test_admission.py::test_keys_of_many_addresses_push_out_no_member_of_the_table",),
    ),
    Mutation(
        "6.7",
        "peerd/io/accepting.py",
        "                whole = await self._has_said_hello(sock)",
        "                whole = True",
        ("tests/unit/io/test_accepting.py::test_the_silent_and_slow_cost_no_tls_and_have_only_so_long",),
    ),
    Mutation(
        "6.7",
        "peerd/io/accepting.py",
        "        if out is not None:\n            out.cancel()\n",
        "",
        ("tests/unit/io/test_accepting.py::test_the_oldest_of_the_largest_group_makes_way",),
    ),
    Mutation(
        "6.8",
        "peerd/node/callers.py",
        "        if out is not None:\n            out.stream.close()\n",
        "",
        ("tests/unit/node/test_bulk.py::test_callers_without_a_proof_keep_nobody_out_who_comes_from_elsewhere",),
    ),
    Mutation(
        "6.9",
        "peerd/node/bulk_pool.py",
        "        if len(open_ones) < self._connections_max:\n            return\n",
        "        if True:\n            return\n",
        (
            "tests/unit/node/test_bulk.py::test_above_the_bound_the_idle_connection_that_was_used_least_makes_way",
            "tests/unit/node/test_bulk.py::test_where_all_connections_are_in_use_no_further_one_is_taken",
        ),
    ),
    Mutation(
        "6.10",
        "peerd/io/descriptors.py",
        "peers = min(settings.connections_max, max(LEAST, part))",
        "peers = settings.connections_max",
        ("tests/unit/io/test_descriptors.py::test_all_connections_together_leave_some_for_the_store",),
    ),
    Mutation(
        "6.11",
        "peerd/api/connection.py",
        " and not self._make_way()",
        "",
        (
            "tests/unit/api/test_connection.py::test_on_tcp_connections_that_nothing_was_admitted_on_make_way_the_oldest_first",
        ),
    ),
    Mutation(
        "6.12",
        "peerd/node/bulk.py",
        '        else:\n            raise WireError("unasked_block")\n',
        "",
        ("tests/unit/node/test_bulk.py::test_a_block_that_was_not_asked_for_is_refused_before_it_is_read",),
    ),
    Mutation(
        "6.13",
        "peerd/node/bulk.py",
        " or not self._inflow.add(self.peer, length)",
        "",
        ("tests/unit/node/test_bulk.py::test_who_has_more_bytes_of_requests_wait_than_may_be_is_cut_off",),
    ),
    Mutation(
        "6.13",
        "peerd/node/bulk.py",
        "async with asyncio.timeout(WRITE_STALLS_MAX * self._stall_s):",
        "async with asyncio.timeout(None):",
        ("tests/unit/node/test_bulk.py::test_who_asks_and_does_not_read_is_cut_off",),
    ),
    Mutation(
        "6.14",
        "peerd/node/endpoint.py",
        "if not self._admission.request(session.peer, cost_of(request), now):",
        "if False:",
        (
            "tests/unit/node/test_admission.py::test_a_member_that_asks_for_more_than_its_share_is_told_so_and_others_are_answered",
        ),
    ),
    Mutation(
        "6.15",
        "peerd/node/shares.py",
        "        own = self.group_of(writer)\n",
        "        own = bytes(writer)\n",
        ("tests/unit/node/test_floods.py::test_another_key_of_a_group_has_no_share_of_its_own",),
    ),
    Mutation(
        "6.15",
        "peerd/node/shares.py",
        "return free - size < sum(max(0, surely - by_group[group]) for group in every if group != own)",
        "return False",
        ("tests/unit/node/test_floods.py::test_each_group_has_its_part_of_the_kept_tenth_whatever_others_use",),
    ),
    Mutation(
        "6.16",
        "peerd/node/responder.py",
        "if not self._is_near(record.key):",
        "if False:",
        ("tests/unit/node/test_floods.py::test_a_record_that_others_should_keep_is_taken_only_of_who_has_few_here",),
    ),
    Mutation(
        "6.17",
        "peerd/node/accepting.py",
        "            if raw is None:\n                await core.room.require_row(peer, REGISTER_ROW_BYTES)\n",
        "",
        ("tests/unit/node/test_floods.py::test_a_register_is_counted_for_who_makes_it",),
    ),
    Mutation(
        "6.17",
        "peerd/node/placing.py",
        "if one.row in new:",
        "if False:",
        ("tests/unit/node/test_floods.py::test_a_claim_on_what_others_claimed_is_counted_for_who_makes_it",),
    ),
    Mutation(
        "6.18",
        "peerd/node/announced.py",
        "if provider != asker and not core.members.met(provider):",
        "if False:",
        ("tests/unit/node/test_floods.py::test_a_provider_that_was_never_met_is_not_noted",),
    ),
    Mutation(
        "6.18",
        "peerd/node/announced.py",
        "        before[group] += 1\n",
        "",
        ("tests/unit/node/test_floods.py::test_a_crowd_of_providers_hides_none_of_another_group",),
    ),
    Mutation(
        "6.18",
        "peerd/io/store/provider_table.py",
        "_DROP_OWN if own > max(1, most // bounds.PROVIDERS_PART) else _DROP_ANY",
        "_DROP_ANY",
        (
            "tests/unit/io/store/test_overlay.py::test_a_peer_with_more_than_its_part_of_all_providers_displaces_its_own",
        ),
    ),
    # 7. mDNS
    Mutation(
        "7.1",
        "peerd/io/mdns_hints.py",
        "return (not speaker or self._new_of.spend(speaker, now)) and self._new.spend(now)",
        "return self._new.spend(now)",
        ("tests/unit/io/test_mdns.py::test_an_inventor_at_one_address_leaves_room_for_the_others",),
    ),
    Mutation(
        "7.1",
        "peerd/io/mdns_hints.py",
        "            if not free and not self._spend(speaker, now):",
        "            if not self._spend(speaker, now):",
        ("tests/unit/io/test_mdns.py::test_a_peer_that_was_met_before_is_heard_in_the_midst_of_a_flood",),
    ),
    Mutation(
        "7.2",
        "peerd/io/mdns_hints.py",
        "if len(own) >= SPEAKER_HINTS_MAX:",
        "if False:",
        ("tests/unit/io/test_mdns.py::test_who_tells_of_ever_more_peers_pushes_out_its_own_and_nobody_elses",),
    ),
    Mutation(
        "7.3",
        "peerd/io/mdns_budget.py",
        "return self._speakers.spend(speaker, now, cost) and (speaker in self.friends or self._all.spend(now, cost))",
        "return self._all.spend(now, cost)",
        ("tests/unit/io/test_mdns.py::test_a_flood_of_one_speaker_or_of_all_is_cut_to_what_it_may_cost",),
    ),
    Mutation(
        "7.3",
        "peerd/io/mdns_gate.py",
        "if not self._allowance.admits(len(data), addr[0], self._now()):",
        "if False:",
        ("tests/unit/io/test_mdns.py::test_a_flood_is_counted_and_never_reaches_the_parser",),
    ),
    Mutation(
        "7.3",
        "peerd/io/mdns.py",
        "            spoken.link.allowance.friends = friends\n",
        "            pass\n",
        ("tests/unit/io/test_mdns.py::test_where_members_live_a_flood_by_others_is_no_hindrance",),
    ),
    Mutation(
        "7.4",
        "peerd/io/mdns_gate.py",
        "if data[2] & _IS_ANSWER and LABEL not in data.lower():",
        "if False:",
        ("tests/unit/io/test_mdns.py::test_answers_that_are_not_about_our_service_never_reach_the_parser",),
    ),
    Mutation(
        "7.5",
        "peerd/io/mdns_link.py",
        "cache.async_remove_records([record for name in cache.names() for record in cache.entries_with_name(name)])",
        "pass",
        ("tests/live/test_mdns_link.py::test_what_is_kept_of_others_is_bounded_and_each_is_heard_all_the_same",),
    ),
    Mutation(
        "7.6",
        "peerd/io/mdns_link.py",
        "self._denied |= record.text != self._info.text",
        "pass",
        ("tests/live/test_mdns_link.py::test_who_speaks_in_our_name_is_noticed_and_our_own_echo_is_not",),
    ),
    Mutation(
        "7.6",
        "peerd/io/mdns.py",
        "if spoken is not None and now - spoken.contradicted_at >= CONTRADICT_GAP_S:",
        "if spoken is not None:",
        ("tests/unit/io/test_mdns.py::test_who_speaks_in_our_name_is_counted_and_contradicted_at_most_once_a_second",),
    ),
    Mutation(
        "7.7",
        "peerd/io/mdns_hints.py",
        "(called == name and source[1] == speaker)",
        "called == name",
        ("tests/unit/io/test_mdns.py::test_a_goodbye_of_another_forgets_nothing",),
    ),
    Mutation(
        "7.8",
        "peerd/io/mdns_hints.py",
        "if address[0] == speaker]",
        "if False]",
        ("tests/unit/io/test_mdns.py::test_who_speaks_falsely_of_a_peer_does_not_unsay_what_it_said_itself",),
    ),
    Mutation(
        "7.8",
        "peerd/io/mdns_hints.py",
        "        if len(self.said) > SOURCES_MAX:\n            del self.said[next(iter(self.said))]\n",
        "",
        ("tests/unit/io/test_mdns.py::test_what_is_remembered_of_one_peer_is_bounded_whoever_speaks_of_it",),
    ),
    Mutation(
        "7.9",
        "peerd/io/mdns_hints.py",
        "Hint(peer, tuple(good[:ADDRESSES_MAX]))",
        "Hint(peer, tuple(good))",
        ("tests/unit/io/test_mdns.py::test_one_peer_has_at_most_four_addresses",),
    ),
    Mutation(
        "7.10",
        "peerd/io/mdns_hints.py",
        "for ip in _parsed(addresses) if on_link(ip, interface)]",
        "for ip in _parsed(addresses)]",
        ("tests/unit/io/test_mdns.py::test_bad_addresses_are_left_out_and_none_good_is_refused",),
    ),
    Mutation(
        "7.11",
        "peerd/io/mdns_hints.py",
        '    if peer is None:\n        return "mdns_txt"\n',
        "    assert peer\n",
        ("tests/unit/io/test_mdns.py::test_a_service_of_others_or_malformed_is_refused_with_its_reason",),
    ),
    Mutation(
        "7.12",
        "peerd/io/mdns_hints.py",
        "            if now - known.heard_at > HINT_LIFE_S:\n                del self._known[peer]\n",
        "            pass\n",
        ("tests/unit/io/test_mdns.py::test_a_peer_long_unheard_is_forgotten",),
    ),
    # 8. Hostile content
    Mutation(
        "8.1",
        "peerd/content/directory_reader.py",
        "            check_entry_name(entry.name)\n",
        "",
        ("tests/unit/content/test_hostile.py::test_hostile_content_is_refused_in_bounded_time_and_memory",),
    ),
    Mutation(
        "8.1",
        "cli/extract.py",
        'if name in ("", ".", "..") or "\\0" in name or len(name.encode()) > NAME_MAX_BYTES:',
        "if False:",
        ("tests/unit/cli/test_get.py::test_a_hostile_directory_is_an_integrity_failure_and_nothing_gets_out",),
    ),
    Mutation(
        "8.2",
        "cli/extract.py",
        "            os.mkdir(name, dir_fd=self._fds[-1])\n",
        "            if name not in os.listdir(self._fds[-1]):\n                os.mkdir(name, dir_fd=self._fds[-1])\n",
        ("tests/unit/cli/test_strangers.py::test_a_directory_that_is_returned_to_is_another_one_of_its_name",),
    ),
    Mutation(
        "8.3",
        "peerd/content/directory_reader.py",
        "if self._entries_bytes + shards_bytes > LISTING_MAX_BYTES:",
        "if False:",
        ("tests/unit/content/test_directory_reader.py::test_a_directory_of_too_many_entries_is_refused",),
    ),
    Mutation(
        "8.3",
        "peerd/node/listing.py",
        "if len(entries) > ENTRIES_LISTED_MAX:",
        "if False:",
        (
            "tests/unit/node/test_hostile_content.py::test_a_directory_of_more_entries_than_are_listed_at_a_time_says_so",
        ),
    ),
    Mutation(
        "8.4",
        "peerd/content/file_reader.py",
        "if part.depth == FILE_DEPTH_MAX:",
        "if False:",
        ("tests/unit/content/test_hostile.py::test_hostile_content_is_refused_in_bounded_time_and_memory",),
    ),
    Mutation(
        "8.4",
        "peerd/content/dag_walk.py",
        "if depth > DAG_DEPTH_MAX or self._pending > WALK_PENDING_MAX:",
        "if self._pending > WALK_PENDING_MAX:",
        (
            "tests/unit/content/test_dag_walk.py::test_a_chain_without_end_is_refused",
            "tests/unit/content/test_hostile.py::test_hostile_content_is_refused_in_bounded_time_and_memory",
        ),
    ),
    Mutation(
        "8.4",
        "peerd/node/tarring.py",
        "if len(stack) >= PATH_DEPTH_MAX:",
        "if False:",
        (
            "tests/unit/node/test_hostile_content.py::test_a_get_of_hostile_content_is_an_integrity_error_or_what_it_says",
        ),
    ),
    Mutation(
        "8.5",
        "peerd/content/unixfs.py",
        " or size > SIZE_MAX:",
        ":",
        (
            "tests/unit/content/test_unixfs.py::test_what_is_no_unixfs_is_a_wire_error",
            "tests/unit/content/test_hostile.py::test_hostile_content_is_refused_in_bounded_time_and_memory",
        ),
    ),
    Mutation(
        "8.5",
        "peerd/content/file_reader.py",
        "            if part.size != node.file_size:\n",
        "            if False:\n",
        ("tests/unit/content/test_hostile.py::test_hostile_content_is_refused_in_bounded_time_and_memory",),
    ),
    Mutation(
        "8.6",
        "cli/place.py",
        "if free is not None and count > free:",
        "if False:",
        ("tests/unit/cli/test_strangers.py::test_a_file_larger_than_the_disk_is_refused_before_it_is_begun",),
    ),
    Mutation(
        "8.6",
        "cli/extract.py",
        "if free is not None and entry.size > free:",
        "if False:",
        ("tests/unit/cli/test_strangers.py::test_an_entry_larger_than_the_disk_is_refused_before_it_is_begun",),
    ),
    Mutation(
        "8.6",
        "peerd/node/get.py",
        "            if self._opened.size > most:\n",
        "            if False:\n",
        (
            "tests/unit/node/test_hostile_content.py::test_content_larger_than_all_room_is_handed_out_and_pushes_nothing_out",
        ),
    ),
    Mutation(
        "8.7",
        "peerd/node/tarring.py",
        "            if self.repeated > most + self.files_bytes // REPEATED_ENTRY_BYTES:\n",
        "            if False:\n",
        (
            "tests/unit/node/test_hostile_content.py::test_the_same_directory_in_many_places_is_handed_out_and_not_without_end",
        ),
    ),
    Mutation(
        "8.8",
        "peerd/content/dag_walk.py",
        "if len(data) > wanted.size:",
        "if False:",
        ("tests/unit/content/test_dag_walk.py::test_a_block_larger_than_the_link_to_it_says_is_refused",),
    ),
    Mutation(
        "8.8",
        "peerd/node/tarring.py",
        "if len(block) > entry.tsize > 0:",
        "if False:",
        (
            "tests/unit/node/test_hostile_content.py::test_a_get_of_hostile_content_is_an_integrity_error_or_what_it_says",
        ),
    ),
    Mutation(
        "8.9",
        "peerd/node/copying.py",
        "            _check_claimed(size, writer.dag_bytes, walk.seen_count)\n",
        "",
        (
            "tests/unit/node/test_hostile_content.py::test_no_more_is_held_than_was_claimed",
            "tests/unit/node/test_hostile_content.py::test_very_many_tiny_blocks_are_no_more_than_was_claimed_either",
        ),
    ),
    Mutation(
        "8.10",
        "cli/output.py",
        "    if line.isprintable() or not is_terminal(STDOUT):\n",
        "    if True:\n",
        (
            "tests/unit/cli/test_strangers.py::test_json_of_ls_and_of_an_error_is_printable_on_a_terminal_and_means_the_same",
        ),
    ),
    Mutation(
        "8.11",
        "peerd/content/car.py",
        "if not check(cid, data):",
        "if False:",
        ("tests/unit/content/test_car.py::test_a_hostile_car_is_an_integrity_error",),
    ),
    Mutation(
        "8.11",
        "peerd/content/car.py",
        "if not 0 < length <= most or (self._left is not None and end > self._left):",
        "if False:",
        ("tests/unit/content/test_car.py::test_what_is_too_large_is_refused_before_it_came",),
    ),
    # 9. The local API
    Mutation(
        "9.1",
        "peerd/api/guard.py",
        "if parsed is not None and parsed[1] == bound.port and _is_ours(parsed[0], bound, local_ip):",
        "if True:",
        ("tests/unit/api/test_security.py::test_a_foreign_host_is_refused",),
    ),
    Mutation(
        "9.2",
        "peerd/api/server.py",
        '            check_origin(headers.getall("Origin", ()), host)\n',
        "",
        (
            "tests/unit/api/test_foreign.py::test_what_pages_and_strangers_try_of_any_route_is_refused_and_asks_nothing_of_the_peer",
        ),
    ),
    Mutation(
        "9.3",
        "peerd/api/server.py",
        '            check_site(headers.getall("Sec-Fetch-Site", ()))\n',
        "",
        (
            "tests/unit/api/test_foreign.py::test_what_pages_and_strangers_try_of_any_route_is_refused_and_asks_nothing_of_the_peer",
        ),
    ),
    Mutation(
        "9.4",
        "peerd/api/server.py",
        "        check_form(request.method, request.content_type, headers)\n",
        "",
        (
            "tests/unit/api/test_foreign.py::test_what_pages_and_strangers_try_of_any_route_is_refused_and_asks_nothing_of_the_peer",
        ),
    ),
    Mutation(
        "9.4",
        "peerd/api/guard.py",
        'BROWSER_MARKS = frozenset({"origin", "cookie", "referer"})',
        'BROWSER_MARKS = frozenset({"origin", "cookie"})',
        (
            "tests/unit/api/test_foreign.py::test_what_pages_and_strangers_try_of_any_route_is_refused_and_asks_nothing_of_the_peer",
        ),
    ),
    Mutation(
        "9.5",
        "peerd/api/server.py",
        '            if exchange.query.get("pin") and not exchange.local:',
        "            if False:",
        (
            "tests/unit/api/test_foreign.py::test_what_pages_and_strangers_try_of_any_route_is_refused_and_asks_nothing_of_the_peer",
        ),
    ),
    Mutation(
        "9.6",
        "peerd/api/guard.py",
        'if given is not None and hmac.compare_digest(given, token.encode("utf-8", "surrogateescape")):',
        "if given is not None:",
        ("tests/unit/api/test_security.py::test_the_token_counts_as_bearer_or_as_basic_password",),
    ),
    Mutation(
        "9.7",
        "peerd/api/server.py",
        "            self._token = new_token()",
        "            new_token()",
        ("tests/unit/api/test_foreign.py::test_a_token_that_was_rotated_away_opens_nothing_from_then_on",),
    ),
    Mutation(
        "9.7",
        "peerd/api/server.py",
        "            if not local:\n                task.cancel()",
        "            pass",
        ("tests/unit/api/test_foreign.py::test_events_that_the_old_token_watches_end_and_those_of_the_socket_go_on",),
    ),
    Mutation(
        "9.8",
        "peerd/api/listen.py",
        "    if mode & OTHERS:",
        "    if False:",
        ("tests/unit/api/test_listen.py::test_a_socket_in_a_directory_that_others_may_enter_is_refused",),
    ),
    # 10. Fuzz
    Mutation(
        "10.1",
        "peerd/content/dagpb.py",
        "except UnicodeDecodeError:",
        "except KeyError:",
        ("tests/unit/test_fuzz_registry.py::test_no_decoder_ends_in_anything_but_a_value_or_its_error",),
    ),
    Mutation(
        "10.2",
        "peerd/node/endpoint.py",
        "        except WireError as error:\n            self.counts.rejected[error.reason] += 1",
        "        except KeyError as error:\n            self.counts.rejected[str(error)] += 1",
        ("tests/fuzz/test_short.py::test_mutated_datagrams_neither_stop_nor_hold_a_peer",),
    ),
    Mutation(
        "10.3",
        "peerd/api/server.py",
        "except PeerdError as error:",
        "except KeyError as error:",
        ("tests/fuzz/test_short.py::test_mutated_requests_are_answered_as_the_description_tells",),
    ),
    # 11. Secrets
    Mutation(
        "11.1",
        "peerd/config/secret.py",
        "    if mode & (_OTHERS if",
        "    if 0 & (_OTHERS if",
        ("tests/unit/config/test_secret.py::test_a_secret_that_others_can_get_at_is_refused",),
    ),
    Mutation(
        "11.1",
        "peerd/io/datadir.py",
        "    if found & OTHERS:",
        "    if False:",
        ("tests/unit/io/test_datadir.py::test_a_directory_open_to_others_is_refused_before_anything_is_written",),
    ),
    Mutation(
        "11.2",
        "peerd/io/sealed_identity.py",
        ".encrypt(nonce, seed, head)",
        ".encrypt(nonce, seed, head[:17])",
        ("tests/unit/io/test_identity_file.py::test_only_the_passphrase_opens_it_and_whose_it_is_shows_without",),
    ),
    Mutation(
        "11.3",
        "peerd/io/sealed_identity.py",
        "    if costs[0] not in LOG_N_RANGE or costs[1] not in R_RANGE or costs[2] not in P_RANGE:",
        "    if False:",
        ("tests/unit/io/test_identity_file.py::test_a_file_may_not_ask_for_more_work_or_memory_than_an_honest_one",),
    ),
    Mutation(
        "11.4",
        "peerd/io/tls.py",
        '_pem("CERTIFICATE", certificate_of(seed)) + key.decode()',
        '_pem("CERTIFICATE", certificate_of(seed)) + _pem("PRIVATE KEY",'
        ' bytes.fromhex("302e020100300506032b657004220420") + seed)',
        (
            "tests/unit/io/test_identity_file.py::"
            "test_the_key_that_tls_loads_is_on_no_disk_in_the_plain_and_gone_at_once",
        ),
    ),
    Mutation(
        "11.5",
        "peerd/start.py",
        "    resource.setrlimit(resource.RLIMIT_CORE, (0, most))",
        "    assert most is not None",
        ("tests/unit/test_main.py::test_no_core_is_written_of_a_daemon",),
    ),
    Mutation(
        "11.6",
        "peerd/node/revoking.py",
        '        core.trust.put_out(peer, "revoked")\n        core.events',
        "        core.events",
        ("tests/unit/node/test_revoking.py::test_all_of_twenty_refuse_a_revoked_peer_within_two_seconds",),
    ),
    Mutation(
        "11.6",
        "peerd/node/handshakes.py",
        "        if self.refused(peer):  # put out since it sent its challenge",
        "        if False:",
        ("tests/unit/node/test_revoking.py::test_a_peer_that_is_put_out_in_the_middle_of_a_handshake_gets_no_session",),
    ),
    Mutation(
        "11.7",
        "peerd/records/revocation.py",
        "    if said.signer != said.peer and not authority(PeerId(said.signer)):",
        "    if False:",
        ("tests/unit/node/test_revoking.py::test_only_the_key_itself_revokes",),
    ),
    Mutation(
        "11.7",
        "peerd/records/revocation.py",
        "    return revocations.verify(raw, verifier)",
        "    return said",
        ("tests/unit/node/test_revoking.py::test_only_the_key_itself_revokes",),
    ),
    Mutation(
        "11.8",
        "peerd/node/revoking.py",
        '            self._core.trust.put_out(PeerId(said.peer), "revoked")\n',
        "",
        ("tests/unit/node/test_revoking.py::test_it_is_refused_after_a_restart_from_the_first_moment",),
    ),
    Mutation(
        "11.8",
        "peerd/node/revoking.py",
        "            if raw != self._digest():",
        "            if False:",
        ("tests/unit/node/test_revoking.py::test_a_peer_that_was_away_refuses_it_once_it_has_met_the_others",),
    ),
    Mutation(
        "11.9",
        "peerd/node/revoking.py",
        "self._strangers_of[teller] < STRANGERS_TOLD_MAX",
        "True",
        (
            "tests/unit/node/test_revoking.py::test_keys_that_nobody_knows_are_kept_within_a_bound_and_never_keep_out_a_member",
        ),
    ),
    Mutation(
        "11.9",
        "peerd/node/revoking.py",
        "self._strangers < STRANGERS_MAX and",
        "",
        (
            "tests/unit/node/test_revoking.py::test_keys_that_nobody_knows_are_kept_within_a_bound_and_never_keep_out_a_member",
        ),
    ),
    Mutation(
        "11.10",
        "peerd/node/holding.py",
        "    if core.trust.is_doubted(record) and not await _is_standing(core, record):",
        "    if False:",
        ("tests/unit/node/test_revoking.py::test_what_its_key_signs_from_then_on_is_kept_by_nobody_whoever_brings_it",),
    ),
    Mutation(
        "11.11",
        "peerd/trust/quorum.py",
        "        return len(showing) >= majority(voices)",
        "        return True",
        (
            "tests/unit/node/test_revoking.py::test_who_shows_what_its_key_signs_now_is_believed_by_nobody",
            "tests/unit/trust/test_quorum.py::test_what_is_doubted_counts_where_most_of_those_asked_show_it",
        ),
    ),
    Mutation(
        "11.12",
        "peerd/node/providing.py",
        "    if statement.kind == GONE or core.trust.is_out(peer):",
        "    if statement.kind == GONE:",
        ("tests/unit/node/test_revoking.py::test_what_it_says_it_has_is_not_believed",),
    ),
]

NOTHING_TO_REMOVE: dict[str, str] = {
    "3.6": "nothing but a handshake puts anybody into the table: there is no check to take out",
    "6.2": "that cheap checks come before dear ones is the order in which a datagram is read; they have rows below",
    "4.10": "all checks of the sections above and below, each of which has its own entry",
    "4.2": "disjoint paths are how a look-up is made, not a check in it",
}
"""Rows of THREATS.md without an entry above, and why."""
