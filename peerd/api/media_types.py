"""The media type of a file by its name, or by its first bytes. Pure.

What can run in a browser (HTML, SVG, scripts) is only so called where the name says so, never by what the bytes look
like: nobody makes a page of what was put as text. The names are a fixed table, the same on every host.
"""

import mimetypes

OCTETS = "application/octet-stream"
SNIFFED_BYTES = 512

_TYPES = mimetypes.MimeTypes(filenames=())
_MORE = {
    ".avif": "image/avif",
    ".car": "application/vnd.ipld.car",
    ".gz": "application/gzip",
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"OggS\0", "application/ogg"),
    (b"\0asm", "application/wasm"),
)
_CONTROLS = bytes(range(9)) + b"\x0b" + bytes(range(14, 27)) + bytes(range(28, 32))


def media_type(name: str, head: bytes) -> str:
    """Return the type of a file of that name (empty where it has none) that begins with `head`."""
    _, dot, ending = name.rpartition(".")
    if dot:
        ending = dot + ending.lower()
        found = _MORE.get(ending) or _TYPES.types_map[True].get(ending)
        if found is not None:
            return f"{found}; charset=utf-8" if found.startswith("text/") else found
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    return "text/plain; charset=utf-8" if _is_text(head[:SNIFFED_BYTES]) else OCTETS


def _is_text(head: bytes) -> bool:
    if not head or head.translate(None, _CONTROLS) != head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and len(head) - error.start < 4  # cut within a letter
    return True
