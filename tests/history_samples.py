"""What the project's own history says, for tests of what must be older than what."""

import subprocess

import pytest

from saa_lite.files import PACKAGE


def git(*arguments: str) -> str | None:
    """What git answers, None where it cannot."""
    done = subprocess.run(
        ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, check=False
    )
    return done.stdout.decode() if done.returncode == 0 else None


def needs_history() -> None:
    if git("rev-parse", "--is-shallow-repository") != "false\n":
        pytest.skip("the history is not at hand")
