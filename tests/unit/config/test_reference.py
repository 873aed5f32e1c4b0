from pathlib import Path

from peerd.config.entries import entries
from peerd.config.reference import reference
from peerd.config.table import LATER

ROOT = Path(__file__).parents[3]

FLAGS = {
    "--data",
    "--listen",
    "--api",
    "--network",
    "--network-key",
    "--passphrase-file",
    "--bootstrap",
    "--no-mdns",
    "--quota",
    "--copies",
    "--limit-up",
    "--limit-down",
}
FLAGS |= {"--gateway", "--log-level", "--log-format"}


def test_the_settings_page_is_what_the_table_says() -> None:
    assert (ROOT / "docs" / "SETTINGS.md").read_text() == reference(), "run make docs"


def test_every_promised_flag_is_there() -> None:
    assert {entry.option for entry in entries()} - {None} == FLAGS
    assert set(LATER) == {"coordinator"}


def test_keys_variables_and_flags_are_each_given_once() -> None:
    for names in zip(*((entry.key, entry.variable, entry.option or entry.key) for entry in entries()), strict=True):
        assert len(set(names)) == len(names)


def test_every_number_says_its_unit_in_its_name_and_has_a_bound() -> None:
    for entry in entries():
        if entry.kind in {int, float}:
            assert entry.bounds, entry.name
            assert entry.unit or entry.name.endswith(("copies", "_share", "_slots")), entry.name


def test_a_rate_is_no_duration() -> None:
    rates = {entry.unit for entry in entries() if entry.name.endswith("_per_s")}
    assert rates == {"a second"}


def test_every_default_is_within_its_bounds() -> None:
    for entry in entries():
        if isinstance(entry.default, int | float):
            assert (entry.about.least or 0) <= entry.default <= (entry.about.most or entry.default), entry.name
