import pytest

from peerd.errors import UsageError
from peerd.sim import scenario as steps
from peerd.sim.__main__ import main
from peerd.sim.scenario import check, read_scenario


def test_a_file_becomes_its_steps(tmp_path):
    path = tmp_path / "cut.toml"
    path.write_text("""
        name = "cut"
        peers = 4
        [faults]
        loss = 0.1
        [settings]
        probe_interval_s = 0.5
        [[step]]
        do = "join"
        at_s = 0
        [[step]]
        do = "partition"
        at_s = 3
        islands = [2, 2]
    """)
    scenario = read_scenario(path)
    assert (scenario.name, scenario.peers, scenario.faults.loss) == ("cut", 4, 0.1)
    assert scenario.step == [steps.Join(at_s=0), steps.Partition(at_s=3, islands=[2, 2])]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"peers": 0}, "peers"),
        ({"faults": {"loss": 2}}, "loss"),
        ({"faults": {"los": 0.2}}, "los"),
        ({"settings": {"probe_intervall_s": 1}}, "no such setting: probe_intervall_s"),
        ({"settings": {"probe_interval_s": "soon"}}, "probe_interval_s"),
        ({"step": [{"do": "explode", "at_s": 1}]}, "explode"),
        ({"step": [{"do": "crash", "at_s": 1}]}, "count"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_named(content, said):
    with pytest.raises(UsageError, match=said):
        check(content)


@pytest.mark.parametrize("text", ["peers = ", "\x00", None])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "x.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError):
        read_scenario(path)


@pytest.mark.parametrize("arguments", [["--peers", "0"], ["--seed", "x"], ["--nosuch"]])
def test_wrong_arguments_are_a_usage_error(arguments):
    with pytest.raises(UsageError):
        main(arguments)
