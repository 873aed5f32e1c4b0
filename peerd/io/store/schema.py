"""The database's tables, its version and how an older one is brought up to date.

Triggers keep the counters that the quota goes by, so that no statement can forget to count and no start has to scan.
`links` names roots and blocks by row number: a root being released loses its CID at once and its links in slices.
"""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from peerd.clock import Entropy
from peerd.errors import StoreError, UsageError
from peerd.io.store import bounds
from peerd.io.store.faults import translated
from peerd.io.store.lifetime import Lived

# Rows of `counters`: 0 to RANK_MAX are the bytes of blocks by class.
COUNTER_METADATA_BYTES = 5
COUNTER_RECORDS = 6
COUNTER_ROOTS = 7
COUNTER_ROTTEN = 8
COUNTER_PROVIDERS = 9
COUNTERS = 10
# Made by a later script.
COUNTER_ENTRIES = 10
COUNTER_ENTRY_BYTES = 11

# Where a block's bytes are.
PLACE_ABSENT = 0
PLACE_INLINE = 1
PLACE_FILE = 2

BUSY_TIMEOUT_S = 5.0
LOG_MAX_BYTES = 16 * 1024 * 1024
"""The write-ahead log is folded into the database each 16 MiB: rarely enough that few commits pay for it."""

_LOG_PART = 64
_PAGE_BYTES = 4_096
_CACHE_KIB = 4_096

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);

CREATE TABLE records (
    key BLOB NOT NULL UNIQUE, record BLOB NOT NULL, cid BLOB, expires REAL
);
CREATE INDEX records_by_cid ON records (cid, key) WHERE cid IS NOT NULL;
CREATE INDEX records_by_end ON records (expires, key) WHERE expires IS NOT NULL;
CREATE TABLE history (
    key BLOB NOT NULL, sequence INTEGER NOT NULL, writer BLOB NOT NULL, nonce BLOB NOT NULL,
    name TEXT NOT NULL, owner BLOB, cid BLOB, size INTEGER NOT NULL, deleted INTEGER NOT NULL,
    expires REAL, written_at REAL NOT NULL, conflict INTEGER NOT NULL,
    PRIMARY KEY (key, sequence, writer, nonce)
) WITHOUT ROWID;
CREATE TABLE registers (key BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sequences (key BLOB PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, cid BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, place INTEGER NOT NULL,
    rank INTEGER NOT NULL, run INTEGER NOT NULL, put_at REAL NOT NULL
);
CREATE INDEX blocks_unlinked ON blocks (id) WHERE rank = 0;
CREATE TABLE block_data (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE trash (cid BLOB PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE roots (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cid BLOB UNIQUE, kind TEXT NOT NULL,
    size INTEGER NOT NULL, dag_size INTEGER NOT NULL, rank INTEGER NOT NULL, name TEXT NOT NULL,
    copies INTEGER NOT NULL, complete INTEGER NOT NULL,
    added_at REAL NOT NULL, used_at REAL NOT NULL
);
CREATE INDEX roots_by_use ON roots (rank, copies > 0, used_at, cid) WHERE cid IS NOT NULL;
CREATE INDEX roots_released ON roots (id) WHERE cid IS NULL;
CREATE TABLE links (root INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (root, block)) WITHOUT ROWID;
CREATE INDEX links_by_block ON links (block, root);
CREATE TABLE claims (cid BLOB NOT NULL, claim BLOB NOT NULL, PRIMARY KEY (cid, claim)) WITHOUT ROWID;
CREATE INDEX claims_by_claim ON claims (claim, cid);
CREATE TABLE additions (cid BLOB PRIMARY KEY, withdrawn_at REAL) WITHOUT ROWID;

CREATE TABLE providers (
    key BLOB NOT NULL, peer BLOB NOT NULL, statement BLOB NOT NULL, expires REAL NOT NULL, PRIMARY KEY (key, peer)
) WITHOUT ROWID;
CREATE INDEX providers_by_end ON providers (expires, key, peer);
CREATE TABLE peers (peer BLOB PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL, last_seen REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX peers_by_sight ON peers (last_seen, peer);
"""


def _add(counter: int | str, amount: str) -> str:
    return f"UPDATE counters SET value = value + ({amount}) WHERE id = {counter};"  # noqa: S608  our own constants


def _cost_triggers(table: str, cost: str, counter: int | None = None) -> str:
    """Return the triggers that count a table's rows: `cost` is an expression with ROW for the row."""

    def trigger(event: str, body: str) -> str:
        return f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} BEGIN {body} END;\n"

    new, old = cost.replace("ROW", "NEW"), cost.replace("ROW", "OLD")
    text = trigger("INSERT", _add(COUNTER_METADATA_BYTES, new) + (_add(counter, "1") if counter else ""))
    text += trigger("DELETE", _add(COUNTER_METADATA_BYTES, f"-({old})") + (_add(counter, "-1") if counter else ""))
    if new != old:
        text += trigger("UPDATE", _add(COUNTER_METADATA_BYTES, f"({new}) - ({old})"))
    return text


def _block_cost(row: str) -> str:
    return f"{bounds.BLOCK_ROW_BYTES} + {bounds.PADDING_SQL.replace('ROW', row)}"


_BLOCK_TRIGGERS = f"""
CREATE TRIGGER blocks_insert AFTER INSERT ON blocks BEGIN
    {_add("NEW.rank", "NEW.size")} {_add(COUNTER_METADATA_BYTES, _block_cost("NEW"))}
END;
CREATE TRIGGER blocks_delete AFTER DELETE ON blocks BEGIN
    {_add("OLD.rank", "-OLD.size")} {_add(COUNTER_METADATA_BYTES, f"-({_block_cost('OLD')})")}
END;
CREATE TRIGGER blocks_update AFTER UPDATE OF size, rank ON blocks BEGIN
    {_add("OLD.rank", "-OLD.size")} {_add("NEW.rank", "NEW.size")}
    {_add(COUNTER_METADATA_BYTES, f"({_block_cost('NEW')}) - ({_block_cost('OLD')})")}
END;
"""

_TRIGGERS = (
    _BLOCK_TRIGGERS
    + _cost_triggers("records", f"length(ROW.record) + {bounds.RECORD_ROW_BYTES}", COUNTER_RECORDS)
    + _cost_triggers("history", str(bounds.HISTORY_ROW_BYTES))
    + _cost_triggers("registers", f"length(ROW.state) + {bounds.REGISTER_ROW_BYTES}")
    + _cost_triggers("sequences", str(bounds.SEQUENCE_ROW_BYTES))
    + _cost_triggers("roots", str(bounds.ROOT_ROW_BYTES), COUNTER_ROOTS)
    + _cost_triggers("links", str(bounds.LINK_ROW_BYTES))
    + _cost_triggers("claims", f"2 * length(ROW.claim) + {bounds.CLAIM_ROW_BYTES}")
    + _cost_triggers("additions", str(bounds.ADDITION_ROW_BYTES))
    + _cost_triggers("providers", f"length(ROW.statement) + {bounds.PROVIDER_ROW_BYTES}", COUNTER_PROVIDERS)
    + _cost_triggers("peers", str(bounds.PEER_ROW_BYTES))
)

_COUNTER_ROWS = "".join(f"INSERT INTO counters VALUES ({counter}, 0);\n" for counter in range(COUNTERS))  # noqa: S608

# Floors, who has a tombstone, and times by the store's own clock, which begins here: what was in Unix seconds is taken
# from the present moment, so that lives and the order of uses stay.
_NOW = "CAST(strftime('%s', 'now') AS REAL)"
_FLOORS = f"""
CREATE TABLE floors (
    key BLOB PRIMARY KEY, sequence INTEGER NOT NULL, writer BLOB NOT NULL, nonce BLOB NOT NULL, ends REAL
) WITHOUT ROWID;
CREATE INDEX floors_by_end ON floors (ends, key) WHERE ends IS NOT NULL;
CREATE TABLE holders (
    key BLOB NOT NULL, peer BLOB NOT NULL, confirmed INTEGER NOT NULL, PRIMARY KEY (key, peer)
) WITHOUT ROWID;
ALTER TABLE records ADD COLUMN deleted_at REAL;
CREATE INDEX tombstones ON records (key) WHERE deleted_at IS NOT NULL;
UPDATE records SET deleted_at = 0 WHERE (SELECT deleted FROM history WHERE history.key = records.key
    ORDER BY sequence DESC, writer DESC, nonce DESC LIMIT 1) = 1;
UPDATE records SET expires = expires - {_NOW} WHERE expires IS NOT NULL;
UPDATE history SET expires = expires - {_NOW} WHERE expires IS NOT NULL;
UPDATE providers SET expires = expires - {_NOW};
UPDATE roots SET used_at = used_at - {_NOW}, added_at = added_at - {_NOW};
UPDATE peers SET last_seen = last_seen - {_NOW};
"""  # noqa: S608  our own constants

# Who will not come back, and the notice that says so.
_FORGOTTEN = """
CREATE TABLE forgotten (id INTEGER PRIMARY KEY AUTOINCREMENT, peer BLOB NOT NULL UNIQUE, notice BLOB NOT NULL);
"""

# More than one says it of a peer.
_FORGOTTEN_BY_SEVERAL = """
CREATE TABLE notices (id INTEGER PRIMARY KEY AUTOINCREMENT, peer BLOB NOT NULL, notice BLOB NOT NULL UNIQUE);
INSERT INTO notices (peer, notice) SELECT peer, notice FROM forgotten ORDER BY id;
DROP TABLE forgotten;
ALTER TABLE notices RENAME TO forgotten;
CREATE INDEX forgotten_by_peer ON forgotten (peer);
"""

# What others promised us, and what convicts somebody.
_EVIDENCE = """
CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL, holder BLOB NOT NULL, receipt BLOB NOT NULL,
    UNIQUE (key, holder)
);
CREATE TABLE evidence (id INTEGER PRIMARY KEY AUTOINCREMENT, accused BLOB NOT NULL UNIQUE, evidence BLOB NOT NULL);
"""

# Whose keys count no more, for good; `known` says that it was a member here.
_REVOKED = """
CREATE TABLE revoked (peer BLOB PRIMARY KEY, statement BLOB NOT NULL, known INTEGER NOT NULL) WITHOUT ROWID;
"""

# What this peer has read: in the order of noting, so that the first go first.
_SEEN = """
CREATE TABLE seen (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE,
    sequence INTEGER NOT NULL, writer BLOB NOT NULL, nonce BLOB NOT NULL, strong INTEGER NOT NULL, ends REAL
);
"""

# The plain digests of files, in the order of noting, so that the first go first.
_DIGESTS = """
CREATE TABLE digests (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, root BLOB NOT NULL);
"""

_ENTRIES = f"""
INSERT INTO counters VALUES ({COUNTER_ENTRIES}, 0);
INSERT INTO counters VALUES ({COUNTER_ENTRY_BYTES}, 0);
CREATE TABLE entries (
    key BLOB PRIMARY KEY, statement BLOB NOT NULL, expires REAL NOT NULL, used_at REAL NOT NULL, kept INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX entries_by_use ON entries (used_at, key);
CREATE INDEX entries_by_end ON entries (expires, key);
CREATE INDEX entries_kept ON entries (used_at, key) WHERE kept > 0;
CREATE TRIGGER entries_come AFTER INSERT ON entries BEGIN {_add(COUNTER_ENTRY_BYTES, "NEW.kept")} END;
CREATE TRIGGER entries_change AFTER UPDATE OF kept ON entries BEGIN
    {_add(COUNTER_ENTRY_BYTES, "NEW.kept - OLD.kept")}
END;
CREATE TRIGGER entries_go AFTER DELETE ON entries BEGIN {_add(COUNTER_ENTRY_BYTES, "-OLD.kept")} END;
"""  # noqa: S608  our own constants

MIGRATIONS: tuple[str, ...] = (
    _TABLES + _TRIGGERS + _COUNTER_ROWS,
    _FLOORS
    + _cost_triggers("floors", str(bounds.FLOOR_ROW_BYTES))
    + _cost_triggers("holders", str(bounds.HOLDER_ROW_BYTES)),
    "ALTER TABLE records ADD COLUMN checksum INTEGER;",
    _FORGOTTEN + _cost_triggers("forgotten", str(bounds.FORGOTTEN_ROW_BYTES)),
    _FORGOTTEN_BY_SEVERAL + _cost_triggers("forgotten", str(bounds.FORGOTTEN_ROW_BYTES)),
    _EVIDENCE
    + _cost_triggers("receipts", f"length(ROW.receipt) + {bounds.RECEIPT_ROW_BYTES}")
    + _cost_triggers("evidence", f"length(ROW.evidence) + {bounds.EVIDENCE_ROW_BYTES}"),
    "ALTER TABLE peers ADD COLUMN lived_s REAL NOT NULL DEFAULT 0; CREATE INDEX peers_by_life ON peers (lived_s);",
    _REVOKED + _cost_triggers("revoked", str(bounds.REVOKED_ROW_BYTES)),
    _SEEN + _cost_triggers("seen", str(bounds.SEEN_ROW_BYTES)),
    _ENTRIES + _cost_triggers("entries", f"length(ROW.statement) + {bounds.ENTRY_ROW_BYTES}", COUNTER_ENTRIES),
    _DIGESTS + _cost_triggers("digests", str(bounds.DIGEST_ROW_BYTES)),
)
"""Script n brings a store from version n to n + 1; a released one is never changed."""

VERSION = len(MIGRATIONS)


# Auto-vacuum is taken up by an empty database only, and so comes first.
_WRITER_PRAGMAS = (
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = FULL",
    "fullfsync = ON",
    f"journal_size_limit = {LOG_MAX_BYTES}",
)


def lost(where: Path) -> UsageError:
    """Return the error of a store that is not where it was."""
    return UsageError(
        f"the store of this peer is gone: there is none in {where}",
        hint=f"mount its disk, or restore it from a backup; to begin anew as another peer, move {where.parent} away",
    )


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open a connection for one thread at a time; transactions are begun and ended by hand.

    Never makes a file: the directory may be a mount point that has lost its disk.
    """
    database = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        database.execute(f"PRAGMA query_only = {'OFF' if writable else 'ON'}")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        database.close()
        raise
    except UnicodeDecodeError:
        # The message names a damaged table with the bytes that stand in the file.
        database.close()
        damaged = sqlite3.DatabaseError("malformed database schema")
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged from None
    return database


def prepare(database: sqlite3.Connection, where: Path, entropy: Entropy, *, create: bool = True) -> bytes:
    """Create the tables or bring them up to date; returns the store's id.

    Raises UsageError where a newer peerd wrote the store or there is none and none may be made, StoreError where it is
    no store.
    """
    found = _found_version(database, where)
    if found == 0 and not create:
        raise lost(where)
    if found > VERSION:
        raise UsageError(
            f"the store in {where} was written by a newer peerd (form {found}, this one knows {VERSION})",
            hint="upgrade peerd, or use another directory with --data",
        )
    try:
        set_up(database)
        return _bring_up_to_date(database, found, entropy)
    except sqlite3.Error as error:
        raise translated(error, f"the store in {where} cannot be opened") from error


def _bring_up_to_date(database: sqlite3.Connection, found: int, entropy: Entropy) -> bytes:
    for version in range(found, VERSION):
        _migrate(database, version, entropy)
    return store_id(database)


def set_up(database: sqlite3.Connection) -> None:
    """Have a connection write as it must, every commit synced."""
    for pragma in _WRITER_PRAGMAS:
        database.execute(f"PRAGMA {pragma}")


def limit_log(database: sqlite3.Connection, disk_bytes: int) -> None:
    """Have the write-ahead log folded in at 16 MiB, earlier on a disk where that would be more than a 64th."""
    pages = max(1, min(LOG_MAX_BYTES, disk_bytes // _LOG_PART) // _PAGE_BYTES)
    database.execute(f"PRAGMA wal_autocheckpoint = {pages}")
    database.execute(f"PRAGMA journal_size_limit = {pages * _PAGE_BYTES}")


def begin_run(database: sqlite3.Connection, above: int = 0) -> int:
    """Count this start of the store; returns its number, which is larger than `above`."""
    statement = "UPDATE meta SET value = max(value, ?) + 1 WHERE name = 'run' RETURNING value"
    return int(database.execute(statement, (above,)).fetchone()[0])


def last_run(database: sqlite3.Connection) -> int:
    """Return the number of the last start."""
    return int(database.execute("SELECT value FROM meta WHERE name = 'run'").fetchone()[0])


def store_id(database: sqlite3.Connection) -> bytes:
    """Return the store's id."""
    return bytes(database.execute("SELECT value FROM meta WHERE name = 'store_id'").fetchone()[0])


def rename(database: sqlite3.Connection, store_id: bytes) -> None:
    """Give the store, which came back from a copy, another id."""
    database.execute("INSERT OR REPLACE INTO meta VALUES ('copy', 1)")  # first: known by the old id, it is done again
    database.execute("UPDATE meta SET value = ? WHERE name = 'store_id'", (store_id,))


def is_copy(database: sqlite3.Connection) -> bool:
    """Return whether the store ever came back from a copy."""
    return database.execute("SELECT 1 FROM meta WHERE name = 'copy'").fetchone() is not None


def lived(database: sqlite3.Connection) -> Lived:
    """Return what was noted of the store's clock."""
    row = database.execute("SELECT value FROM meta WHERE name = 'lived'").fetchone()
    if row is None:
        return Lived()
    lived_s, boot, up_s, stamp = str(row[0]).split("|")
    return Lived(float(lived_s), boot, float(up_s), int(stamp))


def note_lived(database: sqlite3.Connection, lived: Lived) -> None:
    """Note the store's clock."""
    text = f"{lived.lived_s}|{lived.boot}|{lived.up_s}|{lived.stamp}"
    database.execute("INSERT OR REPLACE INTO meta VALUES ('lived', ?)", (text,))


def counters(database: sqlite3.Connection) -> list[int]:
    """Return all counters by number."""
    return [row[0] for row in database.execute("SELECT value FROM counters ORDER BY id")]


def _found_version(database: sqlite3.Connection, where: Path) -> int:
    try:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "schema" not in tables:
            if tables:
                raise StoreError(f"{where} holds a database that is not a store of peerd")
            return 0
        return int(database.execute("SELECT max(version) FROM schema").fetchone()[0])
    except sqlite3.Error as error:
        raise translated(error, f"the store in {where} cannot be read") from error


def _migrate(database: sqlite3.Connection, version: int, entropy: Entropy) -> None:
    """Run one script and note its version, in one transaction."""
    database.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            database.execute("CREATE TABLE schema (version INTEGER PRIMARY KEY)")
        for statement in _statements(MIGRATIONS[version]):
            database.execute(statement)
        if version == 0:
            database.execute("INSERT INTO meta VALUES ('store_id', ?)", (entropy(bounds.STORE_ID_BYTES),))
            database.execute("INSERT INTO meta VALUES ('run', 0)")
        database.execute("INSERT INTO schema VALUES (?)", (version + 1,))
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Split a script; `executescript` would commit what is open."""
    statements, text = [], ""
    for part in script.split(";"):
        text += part + ";"
        if sqlite3.complete_statement(text):
            if text.strip(" \n;"):
                statements.append(text)
            text = ""
    return statements
