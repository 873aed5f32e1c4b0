"""Who waits to be tried: lanes and those who named the candidates share the handshakes, whoever floods them."""

from peerd.ids import PeerId
from peerd.node.lanes import (
    CANDIDATES_MAX,
    HANDSHAKES_MAX,
    INVENTED_EACH,
    LANE_KEEPS,
    WINDOW_FIRST,
    WINDOW_MIN,
    Candidate,
    Lanes,
)

ALICE, MALLORY = (PeerId(bytes([n]) * 32) for n in range(1, 3))


def named(number: int, by: PeerId = MALLORY, source: str = "overlay") -> Candidate:
    peer = PeerId(by[:4] + number.to_bytes(28, "big"))
    return Candidate((f"10.{by[0]}.{number // 250}.{number % 250}", 1), peer, source, referrer=by)  # type: ignore[arg-type]


def told(number: int, source: str) -> Candidate:
    return Candidate((f"10.{len(source)}.{200 + number // 250}.{number % 250}", 1), None, source)  # type: ignore[arg-type]


def taken(lanes: Lanes) -> list[Candidate]:
    found = []
    while (candidate := lanes.take()) is not None:
        found.append(candidate)
    assert len(found) <= HANDSHAKES_MAX
    return found


def test_a_flood_of_one_referrer_leaves_the_others_their_turn() -> None:
    lanes = Lanes()
    for number in range(640):
        lanes.put(named(number))
    assert len(taken(lanes)) == WINDOW_FIRST
    assert lanes.put(named(1, ALICE))
    assert [each.referrer for each in taken(lanes)] == [ALICE]


def test_each_lane_keeps_its_share_whatever_the_others_hold() -> None:
    lanes = Lanes()
    for referrer in range(1, 9):
        for number in range(50):
            lanes.put(named(number, PeerId(bytes([referrer]) * 32)))
    assert len(taken(lanes)) <= HANDSHAKES_MAX - 3 * LANE_KEEPS
    for number in range(50):
        for source in ("bootstrap", "mdns", "remembered"):
            lanes.put(told(number, source))
    others = [each.lane for each in taken(lanes)]
    assert min(others.count(lane) for lane in ("configured", "mdns", "remembered")) >= LANE_KEEPS
    assert lanes.take() is None


def test_whoever_invents_is_tried_two_at_a_time_and_noted() -> None:
    lanes = Lanes()
    for number in range(INVENTED_EACH):
        lanes.put(named(number))
    noted = 0
    while len(lanes):
        for candidate in taken(lanes):
            noted += lanes.done(candidate, answered=False, known=False)
    assert noted == 1
    assert lanes.is_doubtful(MALLORY)
    assert not lanes.is_doubtful(ALICE)
    for number in range(100, 200):
        lanes.put(named(number))
    assert len(taken(lanes)) == WINDOW_MIN


def test_whoever_names_the_living_gets_a_larger_window_and_no_blame() -> None:
    lanes = Lanes()
    noted = False
    for round_ in range(20):
        for number in range(20):
            lanes.put(named(20 * round_ + number, ALICE))
        for number, candidate in enumerate(taken(lanes)):
            noted |= lanes.done(candidate, answered=number % 2 == 0, known=False)
    assert not noted
    assert not lanes.is_doubtful(ALICE)


def test_the_dead_that_we_knew_are_nobodys_invention() -> None:
    lanes = Lanes()
    for number in range(4 * INVENTED_EACH):
        lanes.put(named(number, ALICE))
    while len(lanes):
        for candidate in taken(lanes):
            assert not lanes.done(candidate, answered=False, known=True)


def test_beyond_the_bound_the_last_of_whoever_named_most_go() -> None:
    lanes = Lanes()
    for number in range(2 * CANDIDATES_MAX):
        lanes.put(named(number))
    assert len(lanes) <= CANDIDATES_MAX + HANDSHAKES_MAX
    assert lanes.put(named(1, ALICE))
    assert lanes.put(told(1, "mdns"))
    assert len(lanes) <= CANDIDATES_MAX + HANDSHAKES_MAX
    assert lanes.dropped_count > 0
