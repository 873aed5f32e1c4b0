import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from peerd import logs
from peerd.ids import PeerId

Started = Callable[..., io.StringIO]


@pytest.fixture
def start() -> Iterator[Started]:
    """Set up the logs on a text that is returned; afterwards all is as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def start(level: logs.Level = "info", form: logs.Form = "text") -> io.StringIO:
        stream = io.StringIO()
        logs.setup(level, form, stream)
        return stream

    yield start
    logger.remove()
    logging.captureWarnings(capture=False)
    root.handlers[:] = before
    root.setLevel(level)


def _events(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_time_level_message_and_fields(start: Started) -> None:
    stream = start()
    logger.info("peer joined", peer="abc", rtt_ms=1.5, via=["mdns"], why="a b")
    stamp, _, rest = stream.getvalue().partition(" ")
    assert stamp.endswith("Z")
    assert rest == 'INFO peer joined peer=abc rtt_ms=1.5 via="[\'mdns\']" why="a b"\n'


def test_json_is_one_object_a_line_with_the_fields_in_it(start: Started) -> None:
    stream = start(form="json")
    logger.bind(peer="abc").warning("peer lost", rtt_ms=1.5, raw=b"\xff" * 20, odd=float("nan"), none=None)
    (event,) = _events(stream)
    assert list(event)[:3] == ["ts", "level", "event"]
    del event["ts"]
    assert event == {
        "level": "warning",
        "event": "peer lost",
        "peer": "abc",
        "rtt_ms": 1.5,
        "raw": "ffffffffffffffff…",
        "odd": "nan",
        "none": None,
    }


def test_a_field_cannot_take_the_place_of_time_level_or_event(start: Started) -> None:
    stream = start(form="json")
    logger.bind(ts="never", level="error", event="forged").info("true")
    (event,) = _events(stream)
    assert (event["level"], event["event"]) == ("info", "true")
    assert event["ts"] != "never"


@given(st.text())
def test_no_text_of_others_makes_a_second_line_or_drives_a_terminal(text: str) -> None:
    escaped = logs.escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in escaped)
    escaped.encode()


@pytest.mark.parametrize("evil", ["\n", "\r", "\x1b[2J", "\x9b2J", "\u2028", "\u202e", "\ud800", "\x00", "\x85"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_control_characters_are_escaped_in_both_forms(evil: str, form: logs.Form, start: Started) -> None:
    stream = start(form=form)
    logger.info("name taken", name=f"a{evil}b")
    line = stream.getvalue()
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert line.removesuffix("\n").isprintable()


def test_a_quote_in_a_value_cannot_forge_a_field(start: Started) -> None:
    stream = start()
    logger.info("name taken", name='x" level="error')
    assert 'name="x\\" level=\\"error"' in stream.getvalue()


def test_braces_in_the_text_of_libraries_are_no_template(start: Started) -> None:
    stream = start()
    logging.getLogger("aiohttp").warning("odd {name} %s", "{0}")
    assert "WARNING odd {name} {0} library=aiohttp" in stream.getvalue()


def test_control_characters_in_the_text_of_libraries_and_in_traces_are_escaped(start: Started) -> None:
    stream = start()
    try:
        raise ValueError("a\x1b[2J\u2028b")
    except ValueError:
        logging.getLogger("zeroconf").exception("odd \x1b[2J\nINFO forged")
    assert stream.getvalue().replace("\n", "").isprintable()
    assert not any(line.startswith("INFO") for line in stream.getvalue().splitlines())


def test_libraries_speak_from_warning_on_and_at_debug_always(start: Started) -> None:
    stream = start("info")
    logging.getLogger("aiohttp.access").info("GET /")
    assert stream.getvalue() == ""
    stream = start("debug")
    logging.getLogger("aiohttp.access").info("GET /")
    assert "GET /" in stream.getvalue()


def test_warnings_of_python_are_logged(start: Started) -> None:
    stream = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").warning("old")
    assert "old library=py.warnings" in stream.getvalue()


def test_a_level_hides_what_is_below_it(start: Started) -> None:
    stream = start("warning")
    logger.info("quiet")
    logger.warning("loud")
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_trace_is_logged_without_the_values_of_variables(form: logs.Form, start: Started) -> None:
    stream = start(form=form)
    token = "very-" + "secret"
    try:
        raise ValueError(len(token))
    except ValueError:
        logger.exception("failed")
    assert "ValueError: 11" in stream.getvalue()
    assert token not in stream.getvalue()
    if form == "json":
        assert len(_events(stream)) == 1


def test_a_stream_that_is_gone_stops_nothing(start: Started, capsys: pytest.CaptureFixture[str]) -> None:
    start().close()
    logger.info("nobody hears")
    assert capsys.readouterr().err == ""


def test_long_values_and_lists_are_cut(start: Started) -> None:
    stream = start(form="json")
    logger.info("long", text="a" * 5000, many=list(range(1000)))
    (event,) = _events(stream)
    assert event["text"] == "a" * 1024 + "…"
    assert event["many"] == list(range(32))


def test_setting_up_again_replaces_what_was(start: Started) -> None:
    first, second = start(), start()
    logger.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_the_ready_line_is_as_scripts_know_it_whatever_the_level(start: Started) -> None:
    start("error")
    text, objects = io.StringIO(), io.StringIO()
    logs.ready_line("text", id="abc", listen="0.0.0.0:1", api=["unix:/a", "127.0.0.1:2"], stream=text)
    logs.ready_line("json", id="abc", listen="0.0.0.0:1", api=["unix:/a", "127.0.0.1:2"], stream=objects)
    assert text.getvalue() == "peerd ready id=abc listen=0.0.0.0:1 api=unix:/a,127.0.0.1:2\n"
    (event,) = _events(objects)
    assert (event["event"], event["id"], event["listen"]) == ("peerd ready", "abc", "0.0.0.0:1")
    assert event["api"] == ["unix:/a", "127.0.0.1:2"]


def test_a_peer_is_shown_by_its_first_letters() -> None:
    assert logs.short(PeerId(bytes(32))) == logs.short("a" * 52) == "a" * 10
