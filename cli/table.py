"""Every command with its operands and options, in one table: what the parser takes, what --help and completion show.

Not here: what the commands do; `run` names the module and function, imported when the command is chosen.
"""

from __future__ import annotations


class Option:
    """An option: its spellings, what kind of value it takes, and its line of help.

    Kinds: `flag` (no value), `text`, `choice` (of `choices`), `count` (0, 1, …), `natural` (1, 2, …), `seconds`
    (above 0, fractions too), `off` (a flag that sets its destination to False).
    """

    __slots__ = ("choices", "dest", "help", "kind", "metavar", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        dest: str,
        kind: str,
        help: str,  # noqa: A002 (the word that help texts have everywhere)
        *,
        metavar: str = "",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.names = names
        self.dest = dest
        self.kind = kind
        self.help = help
        self.metavar = metavar
        self.choices = choices

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return self.kind not in ("flag", "off")


class Operand:
    """A positional argument; `complete` says what a shell offers for it: `key`, `path`, `choice` or nothing.

    `many` takes all that follows.
    """

    __slots__ = ("choices", "complete", "many", "metavar", "required")

    def __init__(
        self,
        metavar: str,
        *,
        required: bool = True,
        complete: str = "",
        choices: tuple[str, ...] = (),
        many: bool = False,
    ) -> None:
        self.many = many
        self.metavar = metavar
        self.required = required
        self.complete = complete
        self.choices = choices


class Command:
    """A command: `run` is `module:function`; `raw` hands all that follows the name on unread."""

    __slots__ = ("details", "name", "operands", "options", "raw", "run", "summary")

    def __init__(
        self,
        name: str,
        run: str,
        summary: str,
        *,
        operands: tuple[Operand, ...] = (),
        options: tuple[Option, ...] = (),
        details: str = "",
        raw: bool = False,
    ) -> None:
        self.name = name
        self.run = run
        self.summary = summary
        self.operands = operands
        self.options = options
        self.details = details
        self.raw = raw


API = Option(
    ("--api",), "api", "text", "Where the daemon listens: unix:PATH or HOST:PORT (also PEER_API).", metavar="ADDR"
)
JSON = Option(("--json",), "json", "flag", "Print JSON on standard output.")
QUIET = Option(("-q", "--quiet"), "quiet", "flag", "Print no messages, only data and errors.")
TIMEOUT = Option(
    ("--timeout",), "timeout", "seconds", "Give up after this long without progress (30).", metavar="SECONDS"
)
HELP = Option(("-h", "--help"), "help", "flag", "Show this help and exit.")
VERSION = Option(("--version",), "version", "flag", "Print the version of this program and exit.")

GLOBAL_OPTIONS = (API, JSON, QUIET, TIMEOUT, HELP)
"""Taken before and after the name of every command."""

_CONSISTENCY = Option(
    ("--consistency",),
    "consistency",
    "choice",
    "How many holders must agree (quorum).",
    metavar="LEVEL",
    choices=("one", "quorum", "strong"),
)
_AFTER = Option(
    ("--after",),
    "after",
    "text",
    "begin after this version, `none`: with the first that is known; from now on where not given",
    metavar="VERSION",
)
_IF_VERSION = Option(
    ("--if-version",),
    "if-version",
    "text",
    "Only if the newest version is V; `none`: only if there is none. Else exit 10.",
    metavar="V",
)
_REQUIRE = Option(("--require",), "require", "natural", "Exit 6 if fewer than N copies are acknowledged.", metavar="N")
_TTL = Option(
    ("--ttl",), "ttl", "natural", "Let it expire after this long; without it nothing expires.", metavar="SECONDS"
)
_OWN = Option(("--own",), "own", "flag", "The name under this peer's own id, which nobody else can write.")
_PIN = Option(("--pin",), "pin", "flag", "Keep it on this peer whatever happens.")
_NO_CACHE = Option(("--no-cache",), "no-cache", "flag", "Keep no cached copy of what is fetched.")
_PROGRESS = Option(("--progress",), "progress", "flag", "Show progress, also with --quiet; on a terminal only.")
_NO_PROGRESS = Option(("--no-progress",), "progress", "off", "Show no progress.")
_IGNORED_REQUIRE = Option(("--require",), "require", "natural", "Of a write; a read takes and ignores it.", metavar="N")
_IGNORED_TTL = Option(("--ttl",), "ttl", "natural", "Of a write; a read takes and ignores it.", metavar="SECONDS")
_VALUE = Option(("--value",), "value", "text", "Store this text.", metavar="TEXT")
_OUT = Option(("-o", "--output"), "out", "text", "Write to PATH instead; `-` is standard output.", metavar="PATH")
_OFFSET = Option(("--offset",), "offset", "count", "Begin at this byte (0).", metavar="N")
_LENGTH = Option(("--length",), "length", "count", "At most this many bytes.", metavar="N")
_PING_COUNT = Option(("-c", "--count"), "count", "natural", "Ask this many times, a second apart (1).", metavar="N")

_KEY = Operand("KEY", complete="key")
_TARGET = Operand("KEY|CID", complete="key")

_COMMANDS = (
    Command(
        "put",
        "put:put",
        "Store a file, a directory or standard input under a key.",
        operands=(_KEY, Operand("[PATH|-]", required=False, complete="path")),
        options=(
            _VALUE,
            _IF_VERSION,
            _REQUIRE,
            _CONSISTENCY,
            _TTL,
            _OWN,
            _PIN,
            _NO_CACHE,
            _PROGRESS,
            _NO_PROGRESS,
        ),
        details="Give either PATH (`-` is standard input, and so is nothing where a pipe or file is standard input) or "
        "--value. In a directory, symbolic links are kept as "
        "links and never followed, and special files are refused; modes and times are not kept. With -q nothing is "
        "printed; the exit status says what was acknowledged.",
    ),
    Command(
        "add",
        "put:add",
        "Store without a name; prints the content id (CID).",
        operands=(Operand("PATH|-", complete="path"),),
        options=(_REQUIRE, _CONSISTENCY, _TTL, _PIN, _PROGRESS, _NO_PROGRESS),
    ),
    Command(
        "get",
        "get:get",
        "Fetch to standard output, or to a file or directory.",
        operands=(_TARGET,),
        options=(
            _OUT,
            _CONSISTENCY,
            _OWN,
            _PIN,
            _NO_CACHE,
            _IF_VERSION,
            _IGNORED_REQUIRE,
            _IGNORED_TTL,
            _PROGRESS,
            _NO_PROGRESS,
        ),
        details="Nothing stands at PATH until it is whole: it is written beside it and renamed. A file that is there "
        "is replaced; a directory is only written where nothing, or an empty directory, is.",
    ),
    Command(
        "cat",
        "get:cat",
        "A byte range to standard output.",
        operands=(_TARGET,),
        options=(_OFFSET, _LENGTH, _CONSISTENCY, _OWN, _PIN, _NO_CACHE),
        details="A range beyond the end gives what there is of it, perhaps nothing.",
    ),
    Command(
        "ls",
        "listing:ls",
        "Entries of a directory; with nothing named: what this peer keeps.",
        operands=(Operand("[KEY|CID]", required=False, complete="key"),),
        details="With -q names only, one a line, and the CID of what has no name.",
    ),
    Command(
        "stat",
        "listing:stat",
        "Size, version, writer, copies wanted and found, who holds them.",
        operands=(_TARGET,),
        options=(_OWN,),
    ),
    Command(
        "rm",
        "names:rm",
        "Delete everywhere; of a CID: withdraw what this peer added.",
        operands=(_TARGET,),
        options=(_IF_VERSION, _REQUIRE, _CONSISTENCY, _OWN),
    ),
    Command("history", "names:history", "The versions known of a key.", operands=(_KEY,), options=(_OWN,)),
    Command(
        "watch",
        "watch:watch",
        "Print each new version of a key, deletions too, until interrupted.",
        operands=(_KEY,),
        options=(_AFTER, _OWN),
        details="Each version once and in order. Goes on by itself when the daemon is started again, for which it "
        "waits as long as --timeout says. The last version printed, given with --after, goes on where a watch ended.",
    ),
    Command(
        "export",
        "car:export",
        "Write the whole of it, with its blocks as they are, to a CAR file.",
        operands=(_TARGET, Operand("FILE.car|-", complete="path")),
        options=(_CONSISTENCY, _OWN, _NO_CACHE, _PROGRESS, _NO_PROGRESS),
        details="CAR version 1 with one root, each block once and depth first, as Kubo and Helia read it. Nothing "
        "stands at FILE until it is whole.",
    ),
    Command(
        "import",
        "car:import_",
        "Store what a CAR file holds; prints its roots.",
        operands=(Operand("FILE.car|-", complete="path"),),
        options=(_REQUIRE, _PIN, _PROGRESS, _NO_PROGRESS),
        details="CAR version 1, or version 2, whose index is not read. Every root must be there with all that hangs "
        "below it: raw and dag-pb blocks under their sha2-256. Else exit 8, and nothing is kept.",
    ),
    Command("pin", "names:pin", "Keep on this peer whatever happens.", operands=(_TARGET,)),
    Command("unpin", "names:unpin", "Keep no longer whatever happens.", operands=(_TARGET,)),
    Command("find", "names:find", "The look-up, hop by hop: who was asked, what they answered.", operands=(_TARGET,)),
    Command(
        "audit",
        "audit:audit",
        "Ask every holder what it has; names those that differ or lack it.",
        operands=(Operand("[KEY]", required=False, complete="key"),),
        options=(_OWN,),
        details="Without KEY, all keys that this peer keeps. Exits 0 whatever is found; --json tells how many keys "
        "diverge. A holder that does not answer is shown as silent: it may have anything.",
    ),
    Command("status", "node:status", "The daemon about itself."),
    Command("id", "node:identity", "The id of this peer."),
    Command("peers", "node:peers", "Every peer known, the alive first."),
    Command(
        "evidence",
        "evidence:evidence",
        "Who lied, by what it signed itself.",
        operands=(Operand("[PEER]", required=False),),
        details="Such a peer is out for good: nobody who has seen the evidence has anything to do with it. What it "
        "wrote stays good. --json has the signed statements, which anybody can check.",
    ),
    Command(
        "ping", "node:ping", "Measure the round trip to a peer.", operands=(Operand("PEER"),), options=(_PING_COUNT,)
    ),
    Command(
        "forget",
        "keeping:forget",
        "A host that will not come back: no longer counted.",
        operands=(Operand("PEER"),),
        details="Silence alone never does that: until then its copies may come back, and what only it may have is "
        "not known in time rather than not found. All others are told. Should it come back all the same, it is a "
        "member again. Exit 2 where it is there.",
    ),
    Command("gc", "keeping:gc", "Free what may go: caches, what nothing wants or has ended, what broken puts left."),
    Command(
        "verify",
        "keeping:verify",
        "Re-hash all that is kept and fetch again what is damaged.",
        details="Reads everything once, which takes a while; what it finds is mended from other peers. Exit 8 where "
        "something could not be mended.",
    ),
    Command(
        "lock",
        "lock:lock",
        "Run a command while holding a fenced lock; unlocks when it ends.",
        operands=(Operand("NAME"), Operand("-- CMD [ARGS]", many=True)),
        details="Waits for the lock as long as --timeout says, else exits 5. Exits with the command's status. The "
        "command finds in PEER_LOCK_FENCE a number that grows with each holder: what it writes to should refuse a "
        "lower one. A lock that is lost sends it SIGTERM, and the exit status is 10.",
    ),
    Command("paths", "node:paths", "Where the settings, the data, the token and the API's socket are."),
    Command("version", "node:version", "The versions of this program and of the daemon."),
    Command("lab", "lab:lab", "Several daemons on this machine, to try things: up, status, exec, kill …", raw=True),
    Command(
        "revoke",
        "revoke:revoke",
        "A key that may be stolen: nobody has anything to do with its peer any more.",
        operands=(Operand("FILE", complete="path"),),
        details="FILE is a revocation as `peerd identity revoke` writes it; any member may hand it in, and all others "
        "are told. It cannot be taken back.",
    ),
    Command(
        "token",
        "token:token",
        "rotate: give the API another token; the old one is refused at once.",
        operands=(Operand("rotate", complete="choice", choices=("rotate",)),),
        details="The new one is in the same file (`peer paths` names it), where `peer` finds it; it is not printed. "
        "What was begun with the old one ends as it would have, watched events apart: they end.",
    ),
    Command(
        "keygen",
        "keygen:keygen",
        "Write 32 random bytes for --network-key.",
        operands=(Operand("FILE", complete="path"),),
    ),
    Command(
        "completion",
        "completion:completion",
        "Print the completion script for a shell.",
        operands=(Operand("bash|zsh|fish", complete="choice", choices=("bash", "zsh", "fish")),),
        details='bash: eval "$(peer completion bash)" in ~/.bashrc. zsh: the same in ~/.zshrc. '
        "fish: peer completion fish > ~/.config/fish/completions/peer.fish",
    ),
)

COMMANDS = {command.name: command for command in _COMMANDS}

NOT_IN_THIS_VERSION = frozenset(
    (
        "doctor",
        "invite",
        "join",
        "members",
        "open",
    )
)
"""Names that are promised for other versions, so that they are told apart from a mistyped one."""
