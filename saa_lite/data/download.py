"""A download that resumes and proves what it got."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

from saa_lite.errors import DataError

BLOCK = 1 << 16
TIMEOUT = 60  # seconds without a byte


def fetch(url: str, path: Path, md5: str) -> None:
    """Download ``url`` to ``path`` with a bar that says how long it will take.

    An interrupted download leaves ``path`` + ``.part`` and is continued by the next call; the
    file gets its name only once its MD5 checksum is right.

    Raises:
        DataError: no answer, a broken connection, or other bytes than expected.
    """
    if path.is_file() and _md5(path) == md5:
        return
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _continue(url, part)
    except OSError as error:  # urllib's and socket errors are OSErrors
        raise DataError(
            f"the download of {url} broke off ({error}); the same command continues it"
        ) from error
    if (found := _md5(part)) != md5:
        part.unlink()
        raise DataError(f"{url} gave a file with MD5 {found} instead of {md5}; it was deleted")
    os.replace(part, path)


def _continue(url: str, part: Path) -> None:
    """Append what is missing; servers that cannot resume send everything again."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is missing
            return
        raise
    with response:
        resumed = response.status == 206
        length = int(response.headers.get("Content-Length") or 0)
        have = have if resumed else 0
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=have + length or None, initial=have, unit="B", unit_scale=True) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            if length and bar.n < have + length:
                raise OSError(f"{have + length - bar.n} bytes are missing")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
