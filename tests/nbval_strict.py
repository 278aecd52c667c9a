"""What nbval lets pass, and a reader would see as broken: loaded as its plugin by test_notebooks.

Its cells fail where the kernel sends an error, but not where only the reply says so (an unknown
magic), nor where something stands on stderr, nor where a traceback is printed as text.
"""

from collections.abc import Generator
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from nbval.plugin import IPyNbCell

from saa_lite.report.notebooks import visible_errors


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    if not isinstance(item, IPyNbCell):
        yield
        return
    replies: list[dict[str, Any]] = []
    kernel = item.parent.kernel
    received = kernel.get_message

    def kept(stream: str, timeout: float | None = None) -> dict[str, Any]:
        message: dict[str, Any] = received(stream, timeout)
        if message["msg_type"] == "execute_reply":
            replies.append(message["content"])
        return message

    kernel.get_message = kept
    try:
        yield
    finally:
        kernel.get_message = received
    if broken := [reply for reply in replies if reply["status"] != "ok"]:
        pytest.fail(f"the kernel answers: {broken[0].get('evalue')}")
    cell = new_code_cell(item.cell.source, outputs=item.test_outputs)
    if broken := list(visible_errors(new_notebook(cells=[cell]))):
        pytest.fail("; ".join(broken))
