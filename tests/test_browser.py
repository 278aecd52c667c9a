"""Notebooks with panels as a reader meets them: JupyterLab in a browser, every control moved.

No other test sees what a moved control does: runners of notebooks move none. The same execution is
checked as nbval checks those of other notebooks, see :mod:`test_notebooks`. Pictures of the panels
are left in ``test-artifacts/``, to be looked at; nothing is compared with them.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser_lab import ROOT, WITH_PANELS, Lab, browser_path, chromium, jupyterlab, panel_cells
from nbval_strict import complaints

NOT_TESTED = "the slider panels of the notebooks were not tested in a browser: "
playwright = pytest.importorskip(
    "playwright.sync_api",
    reason=f"{NOT_TESTED}Playwright is not installed (pip install playwright)",
)
pytestmark = pytest.mark.browser

PICTURES = ROOT / "test-artifacts"
OPEN, RUN, PATIENCE = 60_000, 400_000, 20_000  # milliseconds: a page, all cells, one reaction
LOOK_AGAIN = 200  # milliseconds; at every frame, looking takes as long as the cells
CELL = ".jp-Notebook .jp-Cell"
PANEL = ".jp-OutputArea-output > .widget-box:has(.widget-output)"
PRINTED = '[data-mime-type="application/vnd.jupyter.stdout"], .widget-html'
BROKEN = (
    '.jp-OutputArea [data-mime-type="application/vnd.jupyter.error"], '
    '.jp-OutputArea [data-mime-type="application/vnd.jupyter.stderr"], '
    ".jp-Dialog"  # the kernel has died
)
CONTROLS = ".noUi-handle, .widget-dropdown select, .widget-toggle-buttons"
STRANGERS = """(panel, known) => [...panel.querySelectorAll("input, select, textarea, button")]
    .filter(e => !e.closest(known + ", .widget-output, .saa-reset")).map(e => e.outerHTML)"""
NUMBERS = f"""panel => [...panel.querySelectorAll('{PRINTED}')]
    .flatMap(text => text.innerText.match(/[-+]?\\d[\\d.]*(e[-+]?\\d+)?/g) || []).join(" ")"""
# The picture is sent last: while it is missing, only part of the numbers may have arrived.
OTHER_NUMBERS = f"""([panel, before]) =>
    panel.querySelector("img") && ({NUMBERS})(panel) !== before"""
SAME_NUMBERS = OTHER_NUMBERS.replace("!==", "===")
# JupyterLab still knows the sessions that were ended when a notebook of the same name was closed.
OPEN_ANOTHER = """async path => {
    await jupyterapp.serviceManager.sessions.refreshRunning();
    await jupyterapp.commands.execute("docmanager:open", {path})}"""
CLOSE_ALL = """() => [...jupyterapp.shell.widgets("main")].forEach(opened => opened.dispose())"""
RAN_OR_BROKE = """([count, broken]) => document.querySelector(broken) || count ===
    [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputPrompt")]
    .filter(prompt => /\\[\\d+\\]/.test(prompt.innerText)).length"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (path := browser_path()):
        pytest.skip(
            f"{NOT_TESTED}neither Chromium nor Chrome was found (apt install chromium, or "
            "python -m playwright install chromium; .ci/run installs it)"
        )
    with chromium(path) as started:
        yield started.new_context(viewport={"width": 1280, "height": 1600})  # a panel fits in


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Serves a copy: JupyterLab saves what it has open."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    with jupyterlab(home / "notebooks", home) as started:
        yield started


@pytest.fixture
def page(browser: Any, lab: Lab) -> Iterator[Any]:
    """The page from before, emptied: for a new one JupyterLab takes ten processor seconds.

    Unless something was broken in it: where a kernel died, a dialog stays.
    """
    [opened] = browser.pages or [browser.new_page()]
    opened.set_default_timeout(OPEN)
    yield opened
    if opened.locator(BROKEN).count():
        opened.close()
    else:
        opened.evaluate(CLOSE_ALL)
    lab.stop_kernels()


def test_some_notebook_has_a_panel() -> None:
    assert WITH_PANELS, "nothing would be tested below"


@pytest.mark.parametrize("path", WITH_PANELS, ids=lambda path: path.stem)
def test_runs_through_and_every_control_moves_a_printed_number(
    page: Any, lab: Lab, path: Path
) -> None:
    with picture_of_failure(page, path.stem):
        open_notebook(page, lab, path.name)
        for index in panel_cells(path):
            with otherwise(f"cell {index}: no stored picture for readers without a kernel"):
                page.locator(CELL).nth(index).locator("img").first.wait_for()
        run_all_cells(page, lab.folder / path.name)
        assert complaints(path, saved(page, lab.folder / path.name)) == []
        for index in panel_cells(path):
            seconds = move_everything(page, index)
            name = f"{path.stem}-cell{index}"
            page.locator(CELL).nth(index).screenshot(path=PICTURES / f"{name}.png")
            times = "".join(f"{s:.3f}\n" for s in seconds)
            (PICTURES / f"{name}-seconds.txt").write_text(times, encoding="utf-8")
        assert_nothing_broken(page)


SMALL = """from matplotlib.figure import Figure
from saa_lite.viz.panel import Choice, Slider, panel
controls = {"x": Slider(0, 1, 0.1, 1.0), "kind": Choice(("a", "b"), "a")}
panel(lambda x, kind: Figure((2, 1)), controls, numbers=lambda x, kind: {"y": NUMBER})"""
DROPDOWN = """import ipywidgets as widgets
from IPython.display import Image, display
from saa_lite.viz.panel import png
def show(n): print(n); display(Image(png(Figure((2, 1)))))
choice = widgets.Dropdown(options=[1, 2])
widgets.VBox([choice, widgets.interactive_output(show, {"n": choice})])"""
STRANGE = """import ipywidgets as widgets
text = widgets.Text()
widgets.VBox([text, widgets.interactive_output(print, {"end": text})])"""
FLAWED = {
    SMALL.replace("NUMBER", "1.0"): "slider .*: no printed number changed",
    SMALL.replace("NUMBER", "x"): "button b: no printed number changed",
    STRANGE: "no way to move",
    SMALL.replace("NUMBER", "1 / (x == 1)"): "division by zero",  # only when moved
    "n = []\n" + SMALL.replace("NUMBER", "len(n.append(x) or n)"): "not the numbers from before",
}


def test_the_check_passes_good_panels_and_none_that_is_flawed(page: Any, lab: Lab) -> None:
    good = SMALL.replace("NUMBER", "x + (kind == 'b')")  # the slider starts at its end
    run_small(page, lab, [good, DROPDOWN, *FLAWED])
    for index in range(2):
        move_everything(page, index)
    assert_nothing_broken(page)
    for index, complaint in enumerate(FLAWED.values(), start=2):
        with pytest.raises(AssertionError, match=f"(?s){complaint}"):
            move_everything(page, index, patience=3_000)


CHANGING = """from matplotlib.figure import Figure
from saa_lite.viz.panel import Slider, panel
panel(lambda x: Figure((2 + x, 1)), {"x": Slider(0, 1, 0.1, 0.5)}, numbers=lambda x: {"y": x})"""
ELSEWHERE = "import os\nassert not os.path.exists('small.ipynb')"  # as nbval starts its kernels
PICTURE = "panel => panel.querySelector('img').src"
COUNT_REMOVED_PICTURES = """panel => {
    window.removed = 0;
    const pictures = node => node.tagName === "IMG" ||
        node.querySelector && node.querySelector("img");
    new MutationObserver(changes => changes.forEach(change => window.removed +=
        [...change.removedNodes].filter(pictures).length)
    ).observe(panel, {childList: true, subtree: true})}"""


def test_a_panel_changes_its_picture_in_place(page: Any, lab: Lab) -> None:
    """Taken away and put back, as in an output area, a picture flickers."""
    run_small(page, lab, [CHANGING, DROPDOWN, ELSEWHERE])
    removed = []
    for index in range(2):
        panel = page.locator(CELL).nth(index).locator(PANEL)
        before = panel.evaluate(PICTURE)
        panel.evaluate(COUNT_REMOVED_PICTURES)
        move_everything(page, index)
        removed.append(page.evaluate("window.removed"))
        assert (panel.evaluate(PICTURE) == before) == (index == 1)
    assert removed[0] == 0
    assert removed[1] > 0, "the count sees nothing"
    panel = page.locator(CELL).first.locator(PANEL)
    before = panel.evaluate(NUMBERS)
    panel.locator(".noUi-handle").press("End")
    assert changed(page, panel, before, PATIENCE)
    panel.locator(".saa-reset").click()
    with otherwise("reset: not the numbers from the start"):
        arguments = [panel.element_handle(), before]
        page.wait_for_function(SAME_NUMBERS, arg=arguments, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("source", "complaint"),
    {"1 / 0": "ZeroDivisionError", "import os; os._exit(1)": "Kernel Restarting"}.items(),
)
def test_the_check_sees_a_cell_that_fails(page: Any, lab: Lab, source: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        run_small(page, lab, [source, "print(1)"])


def run_small(page: Any, lab: Lab, sources: list[str]) -> None:
    """Run these cells in a notebook of their own."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = lab.folder / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    open_notebook(page, lab, path.name)
    run_all_cells(page, path)


def open_notebook(page: Any, lab: Lab, name: str) -> None:
    """Wait for the kernel too: with none, *Run All Cells* would ask for one."""
    if page.url.startswith(lab.address):
        page.evaluate(OPEN_ANOTHER, name)
    else:
        page.goto(lab.page_of(name))
    with otherwise(f"{name} did not open, or its kernel did not start"):
        page.get_by_text("| Idle").wait_for()


def run_all_cells(page: Any, path: Path) -> None:
    """Through the menus, from cleared outputs: nothing stored is taken for new."""
    choose(page, "Edit", "Clear Outputs of All Cells")
    cells = nbformat.read(path, as_version=4).cells
    count = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in cells)
    choose(page, "Run", "Run All Cells")
    with otherwise(f"the cells of {path.name} did not finish within {RUN // 1000} s"):
        page.wait_for_function(RAN_OR_BROKE, arg=[count, BROKEN], timeout=RUN, polling=LOOK_AGAIN)
    assert_nothing_broken(page)


def saved(page: Any, path: Path) -> Path:
    """The notebook as JupyterLab saves it, its outputs with it."""
    with page.expect_response(
        lambda answer: answer.request.method == "PUT" and path.name in answer.url
    ):
        choose(page, "File", re.compile("^Save Notebook(?! As)"))  # and its keys
    return path


def choose(page: Any, menu: str, entry: str | re.Pattern[str]) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=entry, exact=True).click()


def assert_nothing_broken(page: Any) -> None:
    """No error, nothing on stderr, no widget that does not show."""
    assert page.locator(BROKEN).all_inner_texts() == []
    for text in ("Error displaying widget", "Loading widget..."):
        with otherwise(f"a widget does not show: {text}"):
            output = page.locator(".jp-OutputArea-output", has_text=text)
            output.first.wait_for(state="detached")


def move_everything(page: Any, index: int, patience: float = PATIENCE) -> list[float]:
    """Move every control of every panel that the cell shows; seconds until each had its effect."""
    panels = page.locator(CELL).nth(index).locator(PANEL)
    with otherwise(f"cell {index} shows no panel"):
        panels.first.wait_for()
    seconds = []
    for panel in panels.all():
        strangers = panel.evaluate(STRANGERS, CONTROLS)
        assert not strangers, f"the test knows no way to move {strangers}"
        controls = panel.locator(CONTROLS).all()
        assert controls, "a panel without controls"
        seconds += [move(page, panel, control, patience) for control in controls]
    return seconds


def move(page: Any, panel: Any, control: Any, patience: float) -> float:
    """Move one control until a printed number has changed, with the picture there; seconds.

    Then back: a panel that reads a variable which a later cell overwrites shows other numbers.
    """
    tried = []
    for name, act, undo in moves(page, control):
        before = panel.evaluate(NUMBERS)
        assert before, "the panel prints no number"
        started = time.perf_counter()
        act()
        tried.append(name)
        if changed(page, panel, before, patience):
            seconds = time.perf_counter() - started
            undo()
            with otherwise(f"{name} and back: not the numbers from before"):
                arguments = [panel.element_handle(), before]
                page.wait_for_function(SAME_NUMBERS, arg=arguments, timeout=patience)
            return seconds
    assert_nothing_broken(page)
    raise AssertionError(f"{', '.join(tried)}: no printed number changed")


def changed(page: Any, panel: Any, before: str, patience: float) -> bool:
    arguments = [panel.element_handle(), before]
    try:
        page.wait_for_function(OTHER_NUMBERS, arg=arguments, timeout=patience)
    except playwright.TimeoutError:
        return False
    return True


def moves(page: Any, control: Any) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """What a reader can do to the control, and undo: one step of a slider, each other option."""
    if control.get_attribute("role") == "slider":
        value, end = (control.get_attribute(f"aria-value{name}") for name in ("now", "max"))
        keys = ("ArrowLeft", "ArrowRight")
        key, back = keys if float(value) >= float(end) else keys[::-1]
        yield f"slider at {value}, {key}", partial(control.press, key), partial(control.press, back)
    for chosen in control.locator("option:checked").all_inner_texts():
        undo = partial(control.select_option, label=chosen)
        for name in control.locator("option:not(:checked)").all_inner_texts():
            yield f"option {name}", partial(control.select_option, label=name), undo
    for chosen in control.locator("button.mod-active").all_inner_texts():
        undo = control.get_by_role("button", name=chosen, exact=True).click
        for name in control.locator("button:not(.mod-active)").all_inner_texts():
            press = control.get_by_role("button", name=name, exact=True).click
            yield f"button {name}", press, undo


@contextmanager
def otherwise(complaint: str) -> Iterator[None]:
    """Say what is wrong instead of how long Playwright waited."""
    try:
        yield
    except playwright.TimeoutError as error:
        raise AssertionError(complaint) from error


@contextmanager
def picture_of_failure(page: Any, name: str) -> Iterator[None]:
    path = PICTURES / f"{name}-failed.png"
    path.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        page.screenshot(path=path)
        raise
