"""Decoders by coverage: `python -m tests.fuzz.coverage -max_total_time=60` where atheris is installed.

Not in the tests: atheris has wheels for some versions of Python only. The first two bytes of an input choose the
decoder; the samples are the corpus to begin with. What follows `coverage` is libFuzzer's.
"""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]  # in an environment of its own

with atheris.instrument_imports(include=["peerd", "cli"]):
    from tests.fuzz.decoders import all_decoders

DECODERS = all_decoders()


def test_one(data: bytes) -> None:
    """Let one decoder read one input; what it raises beside its own errors ends the run, and is shown."""
    decoder = DECODERS[int.from_bytes(data[:2], "big") % len(DECODERS)]
    try:
        decoder.decode(data[2:])
    except decoder.errors:
        return


def main() -> None:
    """Run until told otherwise, or until something is found."""
    with tempfile.TemporaryDirectory(prefix="peerd-corpus-") as folder:
        for number, decoder in enumerate(DECODERS):
            for index, sample in enumerate(decoder.samples):
                Path(folder, f"{number}-{index}").write_bytes(number.to_bytes(2, "big") + sample)
        atheris.Setup([*sys.argv, folder], test_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
