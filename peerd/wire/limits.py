"""Every bound of the protocol, each with the attack or failure that it stops (PROTOCOL.md, "Limits")."""

PROTOCOL_VERSION = 1

# Fits the IPv6 minimum MTU of 1,280 with IPv6 and UDP headers: nothing of ours is ever fragmented, and fragments of
# forged datagrams cannot be mixed into ours.
DATAGRAM_MAX_BYTES = 1232

# A hello is as long as the longest thing that is answered to it before its address is proven: no amplification.
HELLO_BYTES = 1024

# Nothing that can be shorter is a message of ours; the cheapest check of all, done first.
DATAGRAM_MIN_BYTES = 20

# A record and its signature. With envelope and reply fields it fits one datagram.
RECORD_MAX_BYTES = 1024

# Name of a record, UTF-8 bytes.
NAME_MAX_BYTES = 255

# Contacts in one answer: enough for a bucket, cut further to fit the datagram. More would let one liar fill a lookup.
CONTACTS_MAX = 20

# Provider statements in one answer; each is about 200 bytes, so that the datagram is the narrower bound.
PROVIDERS_PER_ANSWER_MAX = 5

# A certificate in the handshake (coordinator networks).
CERTIFICATE_MAX_BYTES = 384

# How far behind the newest a sealed message's counter may be: reordering by the network is far smaller.
REPLAY_WINDOW = 1024

# A cookie older than this proves nothing about who can receive at an address now.
COOKIE_LIFE_S = 10.0

# A session is replaced by a new handshake after so many messages, far below what AES-GCM allows (RFC 8446 5.5).
SESSION_MESSAGES_MAX = 2**32

# A version may be at most so far above what a holder has: a liar cannot use up the number space (DESIGN.md 6).
SEQUENCE_JUMP_MAX = 2**32
SEQUENCE_MAX = 2**62

# Bulk: one frame holds a block of at most 2 MiB and its header; a longer length is refused before anything is read.
FRAME_MAX_BYTES = 2 * 1024 * 1024 + 1024
WANTS_PER_FRAME_MAX = 64

# A promise or an announcement lives at most so long without being renewed.
RECEIPT_LIFE_MAX_S = 400 * 86400
PROVIDER_LIFE_MAX_S = 2 * 86400
TTL_MAX_S = 100 * 365 * 86400

COPIES_MAX = 64

# Size of content: 2^53 - 1 is the last integer that JSON readers agree on; refused before anything is allocated.
CONTENT_MAX_BYTES = 2**53 - 1
