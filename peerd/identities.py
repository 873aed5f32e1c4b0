"""`peerd identity …`: who a peer is, looked after while its daemon does not run.

Nothing here speaks to other peers or to a daemon. What changes the identity holds the data directory meanwhile.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from peerd.config import Settings, load, read_network_key, read_passphrase
from peerd.identity import ED25519, Identity
from peerd.ids import network_id, peer_id_text
from peerd.io import passphrase
from peerd.io.datadir import STORE_NAME, DataDirectory, KnownStore
from peerd.io.identity_file import IdentityFile, read_backup, write_new
from peerd.io.store.sqlite import SqliteStore
from peerd.io.system import SystemClock, system_entropy
from peerd.records.revocation import REASONS, Revocation, pack_text, revocations

_STORE_ID_BYTES = 16

Command = Callable[..., None]


@click.group()
def identity() -> None:
    """Look after who this peer is: the key that its id is made of."""


def _on_data(command: Command) -> Command:
    """Give a command the flags that say which identity, and under which passphrase."""
    command = click.option("--config", metavar="FILE", help="TOML settings  [PEERD_CONFIG]")(command)
    command = click.option("--data", metavar="DIR", help="the data directory  [PEERD_DATA]")(command)
    return click.option(
        "--passphrase-file",
        "passphrase_file",
        metavar="FILE",
        help="file with the present passphrase  [PEERD_PASSPHRASE_FILE]",
    )(command)


@identity.command()
@_on_data
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(as_json: bool, **flags: str | None) -> None:
    """Say the id, the file, and whether a passphrase protects it; needs none, and the daemon may run."""
    file = IdentityFile(_settings(flags).data)
    told: dict[str, Any] = {
        "id": peer_id_text(file.peer()),
        "file": str(file.path).encode("utf-8", "backslashreplace").decode(),
        "protected": file.is_protected(),
    }
    if as_json:
        click.echo(msgspec.json.encode(told))
        return
    for name, value in told.items():
        click.echo(f"{name:<10} {'yes' if value is True else 'no' if value is False else value}")


@identity.command()
@_on_data
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path, **flags: str | None) -> None:
    """Copy the identity to FILE, as it is: protected where it is; the daemon may run."""
    ours = IdentityFile(_settings(flags).data)
    peer = ours.backup(file)
    click.echo(f"the identity of {peer_id_text(peer)} is in {file}", err=True)
    if not ours.is_protected():
        click.echo("no passphrase protects it: who reads the file can be this peer", err=True)


@identity.command()
@_on_data
@click.argument("file", type=click.Path(path_type=Path))
def restore(file: Path, **flags: str | None) -> None:
    """Put the identity of a backup into a data directory that has none, with an empty store where it lacks one.

    What the peer kept it learns from the others before it answers for anything. Never let two peers run with one
    identity. Where --passphrase-file is given, a protected backup that it does not open is refused.
    """
    settings = _settings(flags)
    known = None if settings.passphrase_file is None else read_passphrase(settings.passphrase_file)
    raw = read_backup(file, known)
    with _held(settings) as data:
        peer = IdentityFile(data.path).restore(raw, lambda: _empty_store(settings, data))
    click.echo(f"{peer_id_text(peer)} is restored in {settings.data}", err=True)


@identity.command()
@_on_data
@click.option("--new", "new_file", metavar="FILE", type=click.Path(path_type=Path), help="file with the new passphrase")
def protect(new_file: Path | None, **flags: str | None) -> None:
    """Protect the identity by a passphrase, or by another one than before; the old bytes may stay on the disk."""
    settings = _settings(flags)
    with _held_with_identity(settings) as data:
        file = IdentityFile(data.path)
        seed = file.seed(_present(settings, file))
        new = (
            read_passphrase(new_file)
            if new_file is not None
            else passphrase.ask("new passphrase", twice=True, flag="--new")
        )
        file.protect(seed, new, system_entropy)
    click.echo(f"a passphrase protects {file.path}: without it nobody can be this peer", err=True)


@identity.command()
@_on_data
def unprotect(**flags: str | None) -> None:
    """Keep the identity without a passphrase from now on."""
    settings = _settings(flags)
    with _held_with_identity(settings) as data:
        file = IdentityFile(data.path)
        file.unprotect(file.seed(_present(settings, file)))
    click.echo(f"no passphrase protects {file.path} any more", err=True)


@identity.command()
@_on_data
@click.option("--network", metavar="NAME", help="the network it is revoked in  [PEERD_NETWORK]")
@click.option("--network-key", "network_key", metavar="FILE", help="its shared secret  [PEERD_NETWORK_KEY]")
@click.option("--reason", type=click.Choice(REASONS), default="unsaid", help="shown to the others")
@click.option("--backup", "backup_file", metavar="FILE", type=click.Path(path_type=Path), help="of this backup instead")
@click.option("-o", "--output", "out", metavar="FILE", type=click.Path(path_type=Path), help="write to a new FILE")
def revoke(out: Path | None, backup_file: Path | None, reason: str, **flags: str | None) -> None:
    """Sign that this key is no peer any more; it counts once `peer revoke FILE` told a member, and then for good.

    Nothing is changed and nobody is told by this command: make one in advance and keep it where you keep the backup.
    """
    settings = _settings(flags)
    file = IdentityFile(settings.data) if backup_file is None else IdentityFile.at(backup_file)
    key = ED25519.signing_key(file.seed(_present(settings, file)))
    secret = None if settings.network_key is None else read_network_key(settings.network_key)
    signer = Identity(key, network_id(settings.network, secret), ED25519)
    stamp = int(SystemClock().wall() * 1000)
    said = Revocation(format=1, signer=key.public, peer=key.public, stamp=stamp, reason=REASONS.index(reason))
    text = pack_text(revocations.sign(signer, said))
    if out is None:
        click.echo(text, nl=False)
        return
    write_new(out, text)
    click.echo(f"who has {out} can end {peer_id_text(key.public)} in the network {settings.network}", err=True)


def _settings(flags: dict[str, str | None]) -> Settings:
    return load(flags).settings


@contextmanager
def _held(settings: Settings) -> Iterator[DataDirectory]:
    with DataDirectory.open(settings.data) as data:
        yield data


@contextmanager
def _held_with_identity(settings: Settings) -> Iterator[DataDirectory]:
    # Read before the directory is taken, which would make one where there is none.
    IdentityFile(settings.data).read()
    with _held(settings) as data:
        yield data


def _present(settings: Settings, file: IdentityFile) -> bytes | None:
    """Return the passphrase that protects the identity now, None where none does."""
    if not file.is_protected():
        return None
    if settings.passphrase_file is not None:
        return read_passphrase(settings.passphrase_file)
    return passphrase.ask("passphrase of the identity")


def _empty_store(settings: Settings, data: DataDirectory) -> None:
    """Have a store for an identity that had another one: noted as lost, so that it is believed in nothing at first."""

    async def make() -> None:
        quota = settings.quota_of(shutil.disk_usage(data.path).total)
        store = await SqliteStore.open(data.path / STORE_NAME, quota, system_entropy, SystemClock())
        await store.close()

    asyncio.run(make())
    # Another store than the one that is there: the next start takes it for what it is, a copy that lacks the latest.
    data.note_store(KnownStore(system_entropy(_STORE_ID_BYTES), 1))
