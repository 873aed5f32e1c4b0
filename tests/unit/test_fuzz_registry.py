"""Every decoder in the code is in the registry of the fuzzer, which a short run of is here."""

import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from peerd.errors import WireError
from tests.fuzz.bytes_in import TAGS, fuzz_decoders, try_one
from tests.fuzz.decoders import Decoder, all_decoders
from tests.fuzz.judge import Judge
from tests.fuzz.mutate import Mutator

ROOT = Path(__file__).parents[2]
TRIES = 20_000

# Functions of these modules whose names say that they make values of bytes or text from elsewhere.
MODULES = ("ids", "wire/*", "records/*", "kad/*", "content/*", "swarm/*", "trust/*", "config/*", "api/*", "node/*")
READS = re.compile(r"(parse|unpack|decode|split|read|find|told|check)_|(fields|varints|decode|answer|looks_like_\w+)$")
MAKES = {"Codec", "Statements"}

# What is so named and decodes nothing from elsewhere, or is reached through the decoder named.
OTHERS = {
    "api.conditions:check_if_match": "by api.conditions:wanted_version, beside which it is tried",
    "api.guard:check_effect": "looks at the method and at names of headers",
    "api.guard:check_origin": "compares",
    "api.guard:check_form": "looks at the method and at names of headers",
    "node.claims:check_claim": "by records.claim:claims, whose root it compares",
    "node.entry_lookup:check_entry": "by records.entry:entries, whose writer it looks up",
    "node.holding:check_incoming": "by records.record:verify_record",
    "node.holding:check_record_receipt": "by records.receipt:receipts, whose fields it compares",
    "config.address:check_unix_path": "by config.address:parse_api_address",
    "content.cid:looks_like_cid": "by content.cid:find_cid",
}
CLASSES = {"Cid", "DagWalk", "DirectoryReader", "FileReader", "Comparing", "TarReader", "Wire"}


def _decoders_in_code() -> Iterator[str]:
    paths = [path for pattern in MODULES for path in (ROOT / "peerd").glob(f"{pattern}.py")]
    for path in sorted(paths):
        module = ".".join(path.relative_to(ROOT / "peerd").with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and READS.match(node.name) and _takes_bytes(node):
                yield f"{module}:{node.name}"
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in MAKES:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                yield f"{module}:{ast.unparse(target)}"


def _takes_bytes(function: ast.FunctionDef) -> bool:
    kinds = {ast.unparse(each.annotation) for each in function.args.args if each.annotation is not None}
    return bool(kinds & {"bytes", "str", "str | None", "memoryview", "bytes | memoryview"})


@pytest.fixture(scope="module")
def decoders() -> list[Decoder]:
    return all_decoders()


def test_every_decoder_of_the_code_is_fuzzed(decoders: list[Decoder]) -> None:
    covered = {name for decoder in decoders for name in decoder.covers} | set(OTHERS)
    assert sorted(set(_decoders_in_code()) - covered) == []


def test_the_registry_names_nothing_that_is_gone(decoders: list[Decoder]) -> None:
    named = {name for decoder in decoders for name in decoder.covers} | set(OTHERS)
    gone = []
    for each in named:
        module, _, name = each.partition(":")
        folder = ROOT if module.startswith("cli.") else ROOT / "peerd"
        path = (folder / module.replace(".", "/")).with_suffix(".py")
        if not path.exists() or not re.search(rf"\b{name}\b", path.read_text()):
            gone.append(each)
    assert gone == []


def test_each_sample_is_sound_or_refused_as_it_should_be(decoders: list[Decoder]) -> None:
    for decoder in decoders:
        assert decoder.samples, decoder.name
        sound = 0
        for sample in decoder.samples:
            try:
                decoder.decode(sample)
            except decoder.errors:
                continue
            sound += 1
        assert sound, f"{decoder.name}: mutations of what is refused anyhow reach nothing"


def test_no_decoder_ends_in_anything_but_a_value_or_its_error(seed: int) -> None:
    logger.remove()
    with Judge() as judge:
        fuzz_decoders(judge, seed=seed, count=TRIES)
    assert judge.faults == []
    assert judge.tries == TRIES


def test_a_decoder_that_raises_something_else_is_found(seed: int) -> None:
    def decode(raw: bytes) -> object:
        if raw[:1] == b"x":
            return raw[2]
        raise WireError("malformed")

    with Judge() as judge:
        mutator = Mutator(random.Random(seed), [b"xyz"])
        for number in range(2000):
            try_one(judge, Decoder("planted", decode, (b"xyz",), ()), mutator, str(number))
    assert any("IndexError" in fault for fault in judge.faults)


def test_statements_are_signed_with_the_tags_of_the_code() -> None:
    text = "".join(path.read_text() for path in (ROOT / "peerd" / "records").glob("*.py"))
    assert sorted(TAGS.values()) == sorted({ast.literal_eval(tag) for tag in re.findall(r'tag=(b"[^"]+")', text)})


def test_a_seed_is_a_sequence(seed: int) -> None:
    one, other = (Mutator(random.Random(seed), [b"abc"]) for _ in range(2))
    assert [one.mutate(b"sample") for _ in range(100)] == [other.mutate(b"sample") for _ in range(100)]
    packed = b"\x93\x01\xc4\x02ab\xa1c"
    assert [one.mutate_packed(packed) for _ in range(100)] == [other.mutate_packed(packed) for _ in range(100)]
