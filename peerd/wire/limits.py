"""Every bound of the protocol, each with the attack or failure that it stops (PROTOCOL.md, "Limits")."""

PROTOCOL_VERSION = 1

# Fits the IPv6 minimum MTU of 1,280 with IPv6 and UDP headers: nothing of ours is ever fragmented, and fragments of
# forged datagrams cannot be mixed into ours.
DATAGRAM_MAX_BYTES = 1232

# The shortest sealed message, a reply of three bytes; the cheapest check of all, done first.
DATAGRAM_MIN_BYTES = 38

# At least as long as the challenge that answers it, so that nobody is flooded through us; and no longer, because peers
# say hello to addresses that others merely told them of.
HELLO_BYTES = 80

# Asks whether somebody is there, padded so that a challenge in answer is not longer.
PING_PADDING_BYTES = 36
VOUCH_PADDING_BYTES = 28

# Items of news in one datagram, and the room for them: what a member can make us check and pass on at a time.
NEWS_MAX = 8
NEWS_MAX_BYTES = 320

# Members that the asker of a page says it has, 4 bytes each, so that they are not told again.
MEMBERS_HAVE_MAX = 256

# A record and its signature. With envelope and reply fields it fits one datagram.
RECORD_MAX_BYTES = 1024

# A record that a register has chosen: beside it a message carries two lists of holders and what was there before.
STRONG_RECORD_MAX_BYTES = 512

# Peer ids in one list of a register's holders.
REGISTER_HOLDERS_MAX = 8

# Marks of the versions before the present one, 6 bytes each: by them a writer learns what became of its write.
REGISTER_PAST_MAX = 10

# Number of a ballot: 30 bits of round and 32 of chance.
BALLOT_MAX = 2**62

# Name of a record, UTF-8 bytes.
NAME_MAX_BYTES = 255

# Other signed statements: what a liar can make us decode, keep and pass on. The longest of each kind is shorter.
RECEIPT_MAX_BYTES = 320
ATTESTATION_MAX_BYTES = 288
PROVIDER_MAX_BYTES = 256
NOTICE_MAX_BYTES = 160
CLAIM_MAX_BYTES = 512

# An entry of a build cache and the bytes that ride in it: with the other fields of the reply it fits one datagram.
ENTRY_MAX_BYTES = 1024
ENTRY_VALUE_MAX_BYTES = 800

# How long an entry of a build cache may live: what strangers have us remember ends.
ENTRY_LIFE_MAX_S = 400 * 86400

# Statements that convict somebody, two records at most: what a liar can have us read before it is thrown away.
EVIDENCE_MAX_BYTES = 2304
EVIDENCE_PER_FRAME_MAX = 16

# Versions proven in one datagram, 64 bytes each, and content in one frame, where each costs the disk a leaf and what is
# above it.
PROVEN_MAX = 13
PROVEN_ROOTS_MAX = 16

# A cached record lives at most so long: who gave it and then lies or is cut off leaves an old one no longer than that.
CACHED_LIFE_MAX_S = 600

# Revocations in one frame, and how much of a digest says that two peers know the same ones: each costs a signature.
REVOCATIONS_PER_FRAME_MAX = 256
REVOKED_MAX_BYTES = 3 + REVOCATIONS_PER_FRAME_MAX * (2 + NOTICE_MAX_BYTES)
REVOKED_DIGEST_BYTES = 16

# Contacts in one answer: enough for a bucket, cut further to fit the datagram. More would let one liar fill a lookup.
CONTACTS_MAX = 20

# Provider statements in one answer; each is about 160 bytes, so that they leave room for contacts.
PROVIDERS_PER_ANSWER_MAX = 5

# Floors in one message, 84 bytes each: as many as fit the datagram. Each costs a look at the disk.
FLOORS_MAX = 13

# The text of a refusal: remote text that ends in our counters and logs.
REFUSAL_CODE_MAX = 32

# A certificate in the handshake (coordinator networks).
CERTIFICATE_MAX_BYTES = 384

# How far behind the newest a sealed message's counter may be: reordering by the network is far smaller.
REPLAY_WINDOW = 1024

# A cookie older than this proves nothing about who can receive at an address now.
COOKIE_LIFE_S = 10.0

# A session is replaced by a new handshake after so many messages either way: of our size a sixteenth of what AES-GCM
# allows (RFC 8446 5.5 counts 2^34.5 blocks), and keys that were stolen open no more than that.
SESSION_MESSAGES_MAX = 2**24

# A version may be at most so far above what a holder has: a liar cannot use up the number space (DESIGN.md 6).
SEQUENCE_JUMP_MAX = 2**32
SEQUENCE_MAX = 2**62

# Stamps order the statements of one signer: Unix milliseconds, far below what 63 bits hold.
STAMP_MAX = 2**62

# Bulk: a block of at most 2 MiB after its CID; a longer length is refused before anything is read.
BLOCK_MAX_BYTES = 2 * 1024 * 1024
FRAME_MAX_BYTES = BLOCK_MAX_BYTES + 36
WANTS_PER_FRAME_MAX = 64
HOLD_MAX_BYTES = 4608
CLAIMS_PER_HOLD_MAX = 8
VERSIONS_MAX = 32
HISTORY_MAX_BYTES = 4096

# Sharing: others that a peer is told of at a time, each of whom it may call; blocks named as had in one frame, each of
# which is looked up.
SHARERS_TOLD_MAX = 32
HAVE_PER_FRAME_MAX = 1024

# Keys or roots that somebody may have us look up for one frame, and the longest answer about so many keys.
AUDITED_PER_FRAME_MAX = 512
AUDITED_MAX_BYTES = 3 + AUDITED_PER_FRAME_MAX * 73

# Reconciliation: ranges and bytes of one question or answer, which bound the work and memory that one frame asks for;
# bounds of ranges in one datagram;
# records that are named or carried by one frame, and their bytes.
RANGES_MAX = 2048
RANGES_MAX_BYTES = 128 * 1024
SCOPE_MAX_BYTES = 1024
ENTRIES_MAX = 64
ENTRIES_MAX_BYTES = ENTRIES_MAX * (RECORD_MAX_BYTES + 16) + 8

# A promise or an announcement lives at most so long without being renewed.
RECEIPT_LIFE_MAX_S = 400 * 86400
PROVIDER_LIFE_MAX_S = 2 * 86400

# A record's life: sums with any clock stay exact.
TTL_MAX_S = 100 * 365 * 86400

# Copies that somebody may ask the others to keep of one piece of content.
COPIES_MAX = 64

# Size of content: 2^53 - 1 is the last integer that JSON readers agree on; refused before anything is allocated.
CONTENT_MAX_BYTES = 2**53 - 1

# Leases. Who takes one counts so long from before it asked, who gives it so long from after: with clocks that drift by
# a tenth the giver's is the longer. What is read by a lease is never older than that, and who is silent while it has
# one delays a write no longer.
LEASE_TAKER_MS = 1300
LEASE_GIVER_MS = 1600

# A follower is told of changes for so long after it asked: what the dead and the idle have us remember ends.
FOLLOW_LIFE_S = 30
