"""PUT, GET, HEAD, DELETE, stat and history of a name, and what its characters may be."""

from urllib.parse import quote

import pytest

from .conftest import Api
from .double import ID, tar_of

STRANGE = [
    "a/b",
    "/",
    "//",
    "..",
    ".",
    "../../etc/passwd",
    "a%2Fb",
    "%",
    "100%",
    "?x=1#y",
    "a b+c",
    "\n",
    "nul\0nul",
    "ключ/鍵/🔑",
    "x/stat",
    "stat",
    "history",
    "a;b=c&d",
]


def path(key: str) -> str:
    return "/v1/kv/" + quote(key, safe="").replace(".", "%2E")


async def test_a_first_put_is_201_and_the_next_is_200_with_the_version_as_etag(api: Api) -> None:
    first = await api.unix.ask("PUT", "/v1/kv/greeting", b"hello")
    second = await api.unix.ask("PUT", "/v1/kv/greeting", b"hello again")

    assert (first.status, second.status) == (201, 200)
    assert first.json["key"] == "greeting"
    assert first.json["size"] == 5
    assert first.headers["etag"] == f'"{first.json["version"]}"'
    assert first.json["version"] != second.json["version"]


@pytest.mark.parametrize("key", STRANGE)
async def test_a_key_of_any_characters_arrives_as_it_was_meant(api: Api, key: str) -> None:
    put = await api.unix.ask("PUT", path(key), b"value")
    got = await api.tcp.ask("GET", path(key))
    stat = await api.unix.ask("GET", path(key) + "/stat")
    history = await api.unix.ask("GET", path(key) + "/history")

    assert list(api.peer.names) == [key]
    assert (put.status, got.status, got.body) == (201, 200, b"value")
    assert stat.json["key"] == key
    assert history.json[0]["version"] == put.json["version"]


async def test_dots_and_slashes_are_not_normalised_when_they_come_raw(api: Api) -> None:
    for target, key in [("a/../b", "a/../b"), ("..", ".."), ("./x", "./x"), ("a//b", "a//b"), ("a/b", "a/b")]:
        await api.unix.ask("PUT", f"/v1/kv/{target}", b"value")
        assert key in api.peer.names


async def test_an_encoded_stat_is_part_of_the_key_and_a_raw_one_is_not(api: Api) -> None:
    api.peer.keep("a", b"of a")
    api.peer.keep("a/stat", b"of a/stat")

    assert (await api.unix.ask("GET", "/v1/kv/a%2Fstat")).body == b"of a/stat"
    assert (await api.unix.ask("GET", "/v1/kv/a/stat")).json["key"] == "a"
    assert (await api.unix.ask("GET", "/v1/kv/a%2Fstat/stat")).json["key"] == "a/stat"


@pytest.mark.parametrize("raw", ["%FF", "a%C3", "%zz", "a%2", "", "/stat", "a#b", "%ED%A0%80"])
async def test_a_key_that_is_no_text_is_a_usage_error(api: Api, raw: str) -> None:
    answer = await api.unix.ask("GET", f"/v1/kv/{raw}")

    assert answer.status == 400
    assert answer.code == "usage"


@pytest.mark.parametrize("raw", ["é", "\udcff"])
async def test_raw_bytes_in_the_path_are_refused(api: Api, raw: str) -> None:
    assert (await api.unix.ask("GET", f"/v1/kv/{raw}")).code == "usage"


async def test_delete_answers_200_and_of_an_absent_key_404(api: Api) -> None:
    api.peer.keep("a", b"value")

    gone, absent = await api.unix.ask("DELETE", "/v1/kv/a"), await api.unix.ask("DELETE", "/v1/kv/a")

    assert (gone.status, gone.json["key"]) == (200, "a")
    assert (absent.status, absent.code, absent.json.get("hint")) == (
        404,
        "not_found",
        None,
    )


async def test_a_content_id_may_be_read_but_not_written_under_kv(api: Api) -> None:
    cid = api.peer.keep("a", b"value").cid

    got = await api.unix.ask("GET", f"/v1/kv/{cid}")

    assert got.body == b"value"
    assert got.headers["etag"] == f'"{cid}"'
    assert (await api.unix.ask("PUT", f"/v1/kv/{cid}", b"x")).status == 400


async def test_options_of_the_commands_reach_the_node(api: Api) -> None:
    await api.unix.ask(
        "PUT", "/v1/kv/a?require=3&consistency=one&ttl=60&own&pin=true&timeout=2.5&no-cache=1&if-version=none", b"x"
    )

    (_, _, options) = api.peer.put_calls[0]
    assert (options.require, options.consistency, options.ttl_s, options.own, options.pin, options.timeout_s) == (
        3,
        "one",
        60,
        True,
        True,
        2.5,
    )
    assert options.if_version == "none"


async def test_own_reads_the_name_under_this_peers_id_and_the_node_is_told_of_it_on_writes(api: Api) -> None:
    api.peer.keep(f"{ID}/a", b"mine")

    assert (await api.unix.ask("GET", "/v1/kv/a?own")).body == b"mine"
    assert (await api.unix.ask("GET", f"/v1/kv/{ID}%2Fa?own")).body == b"mine"
    assert (await api.unix.ask("GET", "/v1/kv/a/stat?own")).status == 200
    assert (await api.unix.ask("GET", "/v1/kv/a?own=0")).status == 404
    await api.unix.ask("DELETE", f"/v1/kv/{ID}%2Fa?own")
    assert api.peer.put_calls[-1][2].own


@pytest.mark.parametrize(
    "query",
    [
        "requires=3",
        "require=0",
        "require=x",
        "require=1&require=2",
        "require=٣",
        "require=%2B1",
        "consistency=all",
        "ttl=0",
        "ttl=1.5",
        "own=maybe",
        "timeout=0",
        "timeout=nan",
        "timeout=inf",
        "timeout=-1",
        "timeout=1_0",
        "if-version=",
        "if-version=a&if_version=a",
        "target=a",
        "ttl=99999999999999999999999",
        "%FF=1",
    ],
)
async def test_an_unknown_repeated_or_bad_parameter_is_a_usage_error_before_anything_is_stored(
    api: Api, query: str
) -> None:
    answer = await api.unix.ask("PUT", f"/v1/kv/a?{quote(query, safe='=&%')}", b"x")

    assert answer.status == 400
    assert answer.code == "usage"
    assert not api.peer.names


async def test_if_match_and_if_none_match_are_conditions_on_the_version(api: Api) -> None:
    api.peer.keep("a", b"one", version="v1")

    async def put(headers: dict[str, str], target: str = "/v1/kv/a") -> int:
        return (await api.unix.ask("PUT", target, b"two", headers)).status

    assert await put({"If-Match": '"v0"'}) == 412
    assert await put({"If-None-Match": "*"}) == 412
    assert await put({"If-Match": 'W/"v1"'}) == 412
    assert api.peer.names["a"].data == b"one"
    assert await put({"If-Match": '"v1"'}) == 200
    assert await put({"If-None-Match": "*"}, "/v1/kv/new") == 201
    assert await put({"If-Match": "*"}) == 200
    assert await put({"If-Match": "*"}, "/v1/kv/absent") == 412
    for wrong in ({"If-Match": '"a", "b"'}, {"If-Match": "v1"}, {"If-None-Match": '"v1"'}):
        assert await put(wrong) == 400
    assert await put({"If-Match": '"a"'}, "/v1/kv/a?if-version=b") == 400


@pytest.mark.parametrize(
    "lines",
    [
        ('If-Match: "v1"', 'If-Match: "v0"'),
        ('If-Match: "v1"', "If-Match: *"),
        ('If-Match: "v1"', 'If-Match: "v1"'),
        ("If-Match:", 'If-Match: "v1"'),
        ("If-None-Match: *", 'If-None-Match: "v1"'),
    ],
)
async def test_a_condition_in_two_lines_is_one_list_and_never_the_first_line_alone(
    api: Api, lines: tuple[str, str]
) -> None:
    name = "new" if lines[0].startswith("If-None") else "a"
    api.peer.keep("a", b"one", version="v1")
    head = api.unix.head("PUT", f"/v1/kv/{name}", body=b"two").removesuffix(b"\r\n")

    answer = await api.unix.raw(head + "\r\n".join([*lines, "", ""]).encode() + b"two", "PUT")

    assert answer.status == 400
    assert api.peer.names["a"].data == b"one" and "new" not in api.peer.names


async def test_a_tar_body_is_stored_as_a_directory(api: Api) -> None:
    tar = tar_of({"x": b"1"})

    answer = await api.unix.ask("PUT", "/v1/kv/d", tar, {"Content-Type": "application/x-tar"})

    assert answer.json["kind"] == "directory"
    assert api.peer.put_calls[0][1] == "tar"
    assert api.peer.names["d"].data == tar
