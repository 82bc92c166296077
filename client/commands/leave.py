"""Removal of photo copies, or of a whole store, from this machine."""

import shutil
from pathlib import Path

from fedshelf.client.audit import AUDIT_FILE, AuditLog, AuditNote
from fedshelf.client.health import FACTS_FILE, PAGE_FILE
from fedshelf.client.identity.enrolment import SingleInstanceLock, load_key
from fedshelf.client.identity.home import KEY_FILE, MODELS_FOLDER, SECRET_FILE
from fedshelf.client.policy.policy import POLICY_FILE
from fedshelf.client.privacy.charges import LEDGER_FILE
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.cache.forget import forget_all
from fedshelf.common.wording import format_list

# Kept in a store's home beside the audit log: the person's policy, the delivered models, and what
# was told of photos, which counts for as long as the photos may come back. The secret stays with
# it: with another one, a question that is in the ledger already would be answered with new noise.
KEPT_FILES = (POLICY_FILE, MODELS_FOLDER, LEDGER_FILE, SECRET_FILE)


def forget(home: Path) -> str:
    """Remove every copy of photos: this user's pixel cache and the page of `check` in the home.

    Return what went.

    Raises ConfigError or RunError while the store is at work, OSError.
    """
    with SingleInstanceLock(home.name), _lock_audit_log(home):
        return _forget_photos(home)


def leave(home: Path, *, is_confirmed: bool, has_log: bool) -> str:
    """Remove all that makes this machine the store.

    Return a text of what was removed and what stays.

    Raises ConfigError if it is not confirmed, ConfigError or RunError while the store is at work,
    OSError.

    Args:
        is_confirmed: False: nothing is removed.
        has_log: Keep the audit log, the policy and the models; else remove the whole home.
    """
    names = ", ".join(path.name for path in _files_to_remove(home, has_log=has_log)) or "nothing"
    if not is_confirmed:
        raise ConfigError(
            f"Leaving removes {names} from {home}, and the pixel cache, for ever; add --yes to"
            " do so."
        )
    with SingleInstanceLock(home.name), _lock_audit_log(home) as log:
        summary = _forget_photos(home)
        log.record(AuditNote("left", why="for good: key and states are removed"))
        for path in _files_to_remove(home, has_log=has_log):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    if not has_log:
        shutil.rmtree(home)
        return f"{summary} {home} is removed."
    return (
        f"{summary} Removed from {home}: {names}. The audit log stays, and"
        f" {format_list(KEPT_FILES)} if they were there."
    )


def _lock_audit_log(home: Path) -> AuditLog:
    """Return the store's audit log, which a running store holds for itself. Raises RunError."""
    key = home / KEY_FILE
    return AuditLog(home / AUDIT_FILE, key=load_key(key) if key.exists() else None)


def _forget_photos(home: Path) -> str:
    size = forget_all()
    for name in (PAGE_FILE, FACTS_FILE):
        (home / name).unlink(missing_ok=True)
    return (
        f"Every copy of photos is removed: {size / 1e6:.1f} MB of decoded photos, and the"
        f" health page in {home}."
    )


def _files_to_remove(home: Path, *, has_log: bool) -> list[Path]:
    """Return all files and folders in the home that leaving removes."""
    return [path for path in sorted(home.iterdir()) if not has_log or not _is_kept(path)]


def _is_kept(path: Path) -> bool:
    return path.name in KEPT_FILES or path.name.lstrip(".").startswith(Path(AUDIT_FILE).stem)
