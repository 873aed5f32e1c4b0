"""Six real daemons, one of which acknowledges and drops: it is convicted by its own word, and out for all."""

import pytest

from tests.live.daemons import Daemons, meet, until

pytestmark = pytest.mark.slow

QUICK = {"PEERD_AUDIT_INTERVAL_S": "0.5", "PEERD_AUDIT_SHARE": "0.5", "PEERD_REPAIR_INTERVAL_S": "2"}
HONEST, NAMES = 5, 12
CONVICTED_S = 60.0


@pytest.mark.timeout(180)
def test_a_daemon_that_acknowledges_and_drops_is_out_and_nothing_is_lost(tmp_path):
    with Daemons() as daemons:
        first = daemons.start(env=QUICK)
        joined = "--bootstrap", first.listen
        honest = [first, *(daemons.start(None, *joined, env=QUICK) for _ in range(HONEST - 1))]
        liar = daemons.prepare_liar("tests.hostile.audits:Drops", tmp_path / "clan", *joined, env=QUICK)
        mallory = liar.launch().wait_ready()
        meet([*honest, mallory])
        who = mallory.id
        for at in range(NAMES):
            assert honest[at % HONEST].peer("put", f"name-{at}", "--value", f"value {at}").code == 0

        def convicted(daemon):
            return [each["kind"] for each in daemon.peer("evidence", who, "--json").json()]

        until(lambda: all(convicted(each) for each in honest), CONVICTED_S)
        assert all(convicted(each)[0] in ("broken_promise", "retraction") for each in honest)
        for daemon in honest:
            assert who not in [each["id"] for each in daemon.peer("peers", "--json").json()]
            assert {each["id"] for each in daemon.peer("evidence", "--json").json()} == {who}
        assert "denied what it had" in honest[1].peer("evidence").out.decode()
        mallory.stop()
        assert mallory.launch().wait_ready()
        restarted = daemons.start(None, *joined, env=QUICK)
        until(lambda: convicted(restarted), CONVICTED_S)
        for at in range(NAMES):
            assert restarted.peer("get", f"name-{at}").out.decode() == f"value {at}"
