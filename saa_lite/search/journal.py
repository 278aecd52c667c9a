"""The journal of a search: whole lines, of this very search, or a sentence that says what else.

Optuna keeps trials in a file that is only ever appended to. A process that is killed while it
appends leaves half a line, which Optuna would stumble over for ever after. Whoever appends next
drops it, under the same lock.
"""

import json
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileOpenLock

from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.locks import WRITING, locked

JOURNAL, STUDY, IDENTITY = "journal.log", "saa-lite search", "search"


class MendingLock(JournalFileOpenLock):
    """Held by a process while it appends; what the last one left torn is dropped first.

    The system releases it when a process is killed, so that none is ever left behind.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self._held = ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(locked(self.journal.parent, purpose=WRITING))
        mend(self.journal)
        return True

    def release(self) -> None:
        self._held.close()


def mend(journal: Path) -> None:
    """Cut a journal back to its last whole line, with a word about it."""
    try:
        with journal.open("r+b") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                file.truncate(whole)
                warnings.warn(
                    f"the last line of {journal} was torn, by a process killed while it wrote, and "
                    "has been dropped",
                    UserWarning,
                    stacklevel=3,
                )
    except OSError as error:
        raise SaaLiteError(f"cannot write {journal}: {error.strerror or error}") from error


def check_journal(journal: Path, settings: dict[str, Any]) -> bool:
    """Whether the journal holds the search of these settings; False if there is none yet.

    Raises:
        SaaLiteError: it cannot be read, or is of something else or another search.
    """
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SaaLiteError(f"cannot read {journal}: {error.strerror or error}") from error
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    if not whole:
        if content and not content.startswith(b"{"):
            raise SaaLiteError(f"{journal} is no journal of a search")
        return False
    try:
        logs = [json.loads(line) for line in whole]
        names = [log["study_name"] for log in logs if "study_name" in log and "directions" in log]
    except (ValueError, TypeError) as error:
        raise SaaLiteError(f"{journal} is no journal of a search, or is damaged: {error}") from None
    if names != [STUDY]:
        raise SaaLiteError(f"{journal} holds another program's studies: {', '.join(names) or '-'}")
    stored = next((log["user_attr"][IDENTITY] for log in logs if _has_identity(log)), None)
    if stored is None:
        return False  # killed before it said what it searches
    asked = json.loads(json.dumps(settings))
    differing = [key for key in asked if stored.get(key) != asked[key]]
    if differing:
        name = differing[0]
        raise UsageError(
            f"the search in {journal.parent} has {said(name, stored)}, and this one has "
            f"{said(name, asked)}; give it a folder of its own"
        )
    return True


def said(name: str, settings: dict[str, Any]) -> str:
    """One setting of a search, in a sentence."""
    text = json.dumps(settings.get(name), ensure_ascii=False)
    return f"{name} {text if len(text) < 200 else text[:200] + '…'}"


def _has_identity(log: Any) -> bool:
    found = log.get("user_attr") if isinstance(log, dict) else None
    return isinstance(found, dict) and IDENTITY in found and "trial_id" not in log
