"""Every bound on content that others made, each with the attack that it stops; and the sizes we write.

Not here: the bounds of messages (wire) and of what is stored (the store's quota).
"""

KIB = 1024
MIB = 1024 * KIB

# What we write: the IPFS profile unixfs-v1-2025 (IPIP-499). Another value here is another CID for the same bytes.
CHUNK_BYTES = MIB
LINKS_MAX = 1024
DIRECTORY_BLOCK_MAX_BYTES = 256 * KIB  # a directory whose one block would be larger than this is sharded
HAMT_FANOUT = 256

# What we read: twice what we write, as IPFS does.
BLOCK_MAX_BYTES = 2 * MIB
"""A block that does not fit in memory, or that can be checked only after very much of it was taken."""

LINKS_IN_BLOCK_MAX = 16_384
"""A block packed with the smallest links there can be, that takes long to decode; more than twice what any IPFS
profile writes."""

SIZE_MAX = 2**53 - 1
"""Sizes that overflow a signed 64-bit column, or a sum, or that a JSON number cannot say: 8 PiB are in no network."""

CID_TEXT_MAX = 128
"""A long text in a base that takes quadratic time to decode."""

DIGITS_OF_VARINT_MAX = 10
"""A number without an end."""

FANOUT_MAX = 1024
"""A sharded directory whose shard claims a table of any size."""

FILE_DEPTH_MAX = 32
"""A file as a chain of nodes with one child each: a depth bomb. The profile's files of 1 TiB are 3 deep."""

DAG_DEPTH_MAX = 1024
"""The same through directories and shards: 128 directories deep, each sharded, each entry a file still fits."""

PATH_DEPTH_MAX = 128
"""A path of very many components, which no file system takes and every walk must hold."""

PENDING_LINKS_MAX = 131_072
"""Nodes that widen at every level: links which a reader knows and has not yet followed are held in memory."""

WALK_PENDING_MAX = 294_912
"""The same for the walk of a whole DAG, which holds only 39 bytes for each."""

WALK_BLOCKS_MAX = 1_100_000
"""A DAG without an end: a walk remembers each block that it has seen, 50 bytes for each. 1 TiB of our chunks."""

NODES_AHEAD_MAX = 16
"""Inner nodes asked for at once by a walk; each may bring LINKS_IN_BLOCK_MAX pending links."""

BURST_PIECES_MAX = 1024
"""One small block linked billions of times: it is handed out at most this often for one arrival."""

LISTING_MAX_BYTES = 32 * MIB
"""A directory that fills the memory of who lists it, or directories in each other: what their entries take, packed, and
what their shards take. 200,000 entries with names of 20 bytes always fit."""

CLAIMED_SLACK_BYTES = MIB
CLAIMED_BLOCK_BYTES = 512
CLAIMED_BLOCKS_MIN = 524_288
"""Content said to be small, so that it is taken, and larger than the room that was made for it. Its blocks may have 5 %
more bytes than was claimed, the slack, and for each block what names and links take; and be CLAIMED_BLOCKS_MIN, and one
more for each CLAIMED_BLOCK_BYTES claimed (very many small files)."""

REPEATED_ENTRIES_MIN = 16_384
REPEATED_ENTRIES_SHARE = 2
REPEATED_ENTRY_BYTES = KIB
"""A directory linked from itself over and over, a thousand times at each of many levels: so many entries of directories
met before are walked, so many more for each entry of a directory met first, and one more for so many bytes of files
(the same large directory in hundreds of places is nobody's harm)."""

CAR_HEADER_MAX_BYTES = 64 * KIB
CAR_ROOTS_MAX = 1024
CAR_PADDING_MAX_BYTES = MIB
"""A CAR whose header, list of roots or padding never ends; its blocks are bounded as all blocks are."""

SYMLINK_TARGET_MAX_BYTES = 4096
"""A target longer than any system takes (PATH_MAX)."""
