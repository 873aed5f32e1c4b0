from peerd.sim.ledger import Ledger, Write, wrong_absence, wrong_value


def _ledger():
    ledger = Ledger()
    name = ledger.name("a")
    name.tried = {b"one": None, b"two": None}
    name.acknowledged = [Write(1, b"one", 1.0, ("alice",)), Write(2, b"two", 2.0, ("alice",))]
    return ledger, name


def test_bytes_that_nobody_wrote_are_wrong_even_where_nothing_is_promised():
    _, name = _ledger()
    assert "wrong bytes" in wrong_value(name, b"three", 9, known=None)


def test_an_older_version_than_the_one_acknowledged_before_is_wrong():
    _, name = _ledger()
    assert "older" in wrong_value(name, b"one", 1, known=name.newest_before(2.5))
    assert wrong_value(name, b"one", 1, known=name.newest_before(1.5)) is None
    assert wrong_value(name, b"two", 2, known=name.newest_before(1.5)) is None


def test_to_deny_what_was_acknowledged_is_wrong():
    _, name = _ledger()
    assert "denied" in wrong_absence(name, known=name.newest)
    assert wrong_absence(name, known=name.newest_before(0.5)) is None


def test_an_unsure_delete_allows_both_answers():
    ledger, name = _ledger()
    name.unsure_deletes = 1
    assert wrong_absence(name, known=name.newest) is None
    assert ledger.readable() == []


def test_what_was_deleted_may_not_come_back():
    ledger, name = _ledger()
    name.acknowledged.append(Write(3, None, 3.0, ("alice",)))
    assert ledger.readable() == []
    assert wrong_absence(name, known=name.newest) is None
    assert "older" in wrong_value(name, b"two", 2, known=name.newest)
