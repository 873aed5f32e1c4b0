"""What `make mutate` removes is there to be removed, and so are the tests that it runs (tests/mutation)."""

import re
from pathlib import Path

import pytest

from tests.mutation.table import NOTHING_TO_REMOVE, TABLE, Mutation

ROOT = Path(__file__).parents[2]
THREATS = (ROOT / "docs" / "THREATS.md").read_text()
ROWS = re.findall(r"^\| (\d+\.\d+[a-z]?) \|", THREATS, re.MULTILINE)


@pytest.mark.parametrize("mutation", TABLE, ids=lambda each: f"{each.threat} {each.file}")
def test_what_is_removed_is_there_exactly_once(mutation: Mutation) -> None:
    text = (ROOT / mutation.file).read_text()
    assert text.count(mutation.old) == 1, mutation.old
    changed = text.replace(mutation.old, mutation.new)
    assert changed != text
    compile(changed, mutation.file, "exec")  # what is no Python any more would be noticed by anything


@pytest.mark.parametrize("mutation", TABLE, ids=lambda each: f"{each.threat} {each.file}")
def test_the_tests_that_must_notice_are_there(mutation: Mutation) -> None:
    assert mutation.tests
    for test in mutation.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), test


def test_every_row_of_the_threats_has_a_check_to_remove_or_says_why_not() -> None:
    tried = {mutation.threat for mutation in TABLE}
    assert len(ROWS) == len(set(ROWS))
    assert tried <= set(ROWS)
    assert set(NOTHING_TO_REMOVE) <= set(ROWS) - tried
    assert set(ROWS) == tried | set(NOTHING_TO_REMOVE)
