"""What may stand as a name in a directory, and as the target of a symbolic link.

A name becomes a path component on somebody's disk: '..' or a slash in one, written by a hostile publisher, would write
outside the directory that was asked for.
"""

from peerd.content.limits import PATH_DEPTH_MAX, SYMLINK_TARGET_MAX_BYTES
from peerd.errors import IntegrityError, UsageError
from peerd.ids import NAME_MAX_BYTES


def check_entry_name(name: str) -> None:
    """Raise IntegrityError where `name`, which came from others, cannot be the name of a directory's entry."""
    fault = entry_name_fault(name)
    if fault is not None:
        raise IntegrityError(f"the directory has an entry named {name[:80]!r}: {fault}")


def entry_name_fault(name: str) -> str | None:
    """Return why `name` cannot be a directory's entry, or None where it can."""
    if name in {"", ".", ".."}:
        return "no name of a file"
    if "/" in name or "\0" in name:
        return "a name has no slash and no NUL"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "not UTF-8"
    return f"longer than {NAME_MAX_BYTES} bytes" if length > NAME_MAX_BYTES else None


def split_path(path: str) -> list[str]:
    """Return the components of a path 'a/b/c' that a user gave; raises UsageError where one cannot be a name."""
    components = path.split("/")
    if len(components) > PATH_DEPTH_MAX:
        raise UsageError(f"more than {PATH_DEPTH_MAX} directories deep: {path[:80]!r}…")
    for name in components:
        fault = entry_name_fault(name)
        if fault is not None:
            raise UsageError(f"cannot store {path[:255]!r}: {fault}")
    return components


def check_symlink_target(target: bytes) -> str:
    """Return the target of a symbolic link as the file system takes it (os.fsdecode's form).

    Raises IntegrityError where it is empty, too long or has a NUL. Where it points is not judged: a link is kept and
    never followed.
    """
    if not target or len(target) > SYMLINK_TARGET_MAX_BYTES or b"\0" in target:
        raise IntegrityError("the directory has a symbolic link whose target no file system takes")
    return target.decode("utf-8", "surrogateescape")
