"""The shared secret of a run's processes, and the proof that the other side of a connection has it.

Both sides prove it by an HMAC (RFC 2104) of random values from both, so the secret is never sent and an overheard proof
is useless. Messages after that are neither signed nor encrypted.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from flaxcnn.errors import ConfigError
from flaxcnn.files import open_regular

VARIABLE = "FLAXCNN_SECRET"
_BYTES = range(16, 4097)
_HOW = (
    f"make one with: export {VARIABLE}=$(openssl rand -hex 32), and start all processes with it; "
    "or name a file that holds one: --processes.secret_file FILE"
)


def given_secret(file: str | None) -> bytes | None:
    """Return the secret in a file or, where that is None, in the environment; None where there is none.

    Raises:
        ConfigError: the file cannot be read, is no regular one or open to all; or the secret is too short or long.
    """
    if file is None:
        value = os.environ.get(VARIABLE)
        return None if value is None else _checked(os.fsencode(value), VARIABLE)
    where = f"processes.secret_file {file}"
    try:
        path = Path(file).expanduser()
        with open_regular(path, error=ConfigError) as opened:
            if os.fstat(opened.fileno()).st_mode & stat.S_IRWXO:
                raise ConfigError("open to all users of the machine", where=where, fix=f"run: chmod 600 {file}")
            return _checked(opened.read(_BYTES.stop), where)
    except (FileNotFoundError, RuntimeError) as error:  # of a home that nobody has
        raise ConfigError("cannot be read", where=where, found=getattr(error, "strerror", None) or error) from error


def own_secret() -> bytes:
    """Return the secret of this user on this machine, made the first time; other users cannot read it.

    It serves a run whose processes are all on one machine, where nobody gave another.

    Raises:
        ConfigError: there is no folder that only this user may enter.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (chosen if chosen.is_absolute() else Path.home() / ".cache") / "flaxcnn"
    except RuntimeError as error:
        raise ConfigError("no home folder to keep a secret in", where="processes.coordinator", fix=_HOW) from error
    path = folder / "secret"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        with open(descriptor, "r+b") as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise ConfigError("not this user's alone", where=path, fix="delete it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # of all that begin at the same time, one makes it
            secret = opened.read(_BYTES.stop + 1)
            if not secret:
                secret = secrets.token_hex(32).encode()
                opened.write(secret)
    except OSError as error:
        raise ConfigError("no secret can be kept", where=path, found=error.strerror, fix=_HOW) from error
    return _checked(secret, str(path))


def no_secret(address: str) -> ConfigError:
    """Return the error for an address that other machines reach, where no secret was given."""
    expected = "one, since other machines reach this address"
    return ConfigError("not without a secret", where=f"processes.coordinator {address}", expected=expected, fix=_HOW)


def nonce() -> str:
    """Return what nobody can guess, and what never comes twice: 32 bytes in hexadecimal."""
    return secrets.token_hex(32)


def proof(secret: bytes, role: str, purpose: str, challenge: str, answer: str) -> str:
    """Return what only who knows the secret can say, in hexadecimal.

    Args:
        secret: of the run.
        role: which side says it, so that the other's is no answer.
        purpose: of the connection.
        challenge: the nonce of the side that accepted the connection.
        answer: the nonce of the side that opened it.
    """
    said = "\n".join(("flaxcnn processes 1", role, purpose, challenge, answer))
    return hmac.new(secret, said.encode(), hashlib.sha256).hexdigest()


def _checked(secret: bytes, where: str) -> bytes:
    secret = secret.strip()
    if len(secret) not in _BYTES:
        expected = f"{_BYTES.start} to {_BYTES.stop - 1} bytes, such as openssl rand -hex 32 prints"
        raise ConfigError("no secret", where=where, expected=expected, found=f"{len(secret)} bytes")
    return secret
