"""``saa-lite search``: look for networks under a budget, alone or with others."""

import zlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tqdm.auto import tqdm

from saa_lite.augment import AugmentedNet
from saa_lite.cli.options import change
from saa_lite.cli.output import show, show_json, stdout_for_json
from saa_lite.cluster.processes import companions
from saa_lite.errors import UsageError, check_choice
from saa_lite.files import check_writable, read_json, write_json
from saa_lite.search import (
    METRICS,
    SETTINGS,
    Budget,
    Inside,
    Search,
    SearchConfig,
    Setting,
    image_sets,
    trained_supernet,
    winner_of,
)
from saa_lite.search.setting import inherited_accuracy
from saa_lite.train.checkpoint import stop_politely

WINNER = "winner.json"


def main(arguments: Namespace) -> int:
    """Train the SuperNet unless the folder has it, then search until all trials are finished."""
    if arguments.workers < 1:
        raise UsageError(f"--workers must be at least 1; got {arguments.workers}")
    check_choice("--setting", arguments.setting, SETTINGS)
    setting: Setting = change(SETTINGS[arguments.setting], arguments.changes)
    budget = Budget(dict(map(limit_of, arguments.budget)))
    check_writable(arguments.folder)
    with stdout_for_json(arguments.json), stop_politely():
        found = search_in(arguments, setting, budget)
    if arguments.json:
        show_json(found)
    else:
        show([{k: f"{v:.6g}" for k, v in found.items() if k != "network"}], as_json=False)
        print(f"The network is in {arguments.folder / WINNER}.")
    return 0


def search_in(arguments: Namespace, setting: Setting, budget: Budget) -> dict[str, Any]:
    """The winner, also written to the folder."""
    sets = image_sets(setting, arguments.data_root, arguments.download)
    space = setting.space(sets[0])
    home = arguments.folder
    if arguments.within is not None:
        home, network = arguments.within, read_json(arguments.within / WINNER)["network"]
        space = Inside.of(space, space.candidate(network))
    budget.check(space)
    quiet = arguments.quiet
    model = trained_supernet(setting, sets, home, progress=not quiet)
    scored = setting.as_settings() | {"supernet": fingerprint(model)}
    config = SearchConfig(
        space, budget, scored, arguments.algorithm, arguments.seed, arguments.population,
        arguments.generations,
    )  # fmt: skip
    search = Search(arguments.folder, config)
    accuracy = inherited_accuracy(setting, sets, model)
    with (
        companions(worker_arguments(arguments), arguments.workers) as others,
        one_thread(),
        tqdm(total=config.trials, disable=quiet, unit="network") as bar,
    ):
        show_progress(search, bar)
        search.run(
            accuracy,
            after=lambda searched: show_progress(searched, bar),
            idle=lambda: [process.poll() for process in others],
        )
    found = winner_of(search)
    write_json(arguments.folder / WINNER, found)
    return found


def show_progress(search: Search, bar: Any) -> None:
    """Trials of all processes, best accuracy, and the share of drawn networks that kept the budget.

    The time left is the bar's own.
    """
    winner, share = search.winner, search.feasible_share
    bar.n = len(search.trials)
    bar.set_postfix(
        best="-" if winner is None else f"{winner.accuracy:.2f} %",
        feasible="-" if share is None else f"{share:.0%}",
    )


def limit_of(text: str) -> tuple[str, float]:
    """``NAME=LIMIT`` of ``--budget``.

    Raises:
        UsageError: another text.
    """
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        listed = ", ".join(METRICS)
        raise UsageError(
            f"--budget takes NAME=LIMIT with a name of {listed}; got {text!r}"
        ) from None


def fingerprint(model: AugmentedNet) -> str:
    """CRC-32 of all weights: a SuperNet trained elsewhere may differ in its last bits."""
    crc = 0
    for tensor in model.state_dict().values():
        crc = zlib.crc32(tensor.contiguous().numpy().tobytes(), crc)
    return f"{crc:08x}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Candidates are evaluated by one thread, so that their number does not change the sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def worker_arguments(arguments: Namespace) -> Sequence[str]:
    """The command that another worker of the same search is started with."""
    words = ["search", str(arguments.folder), "--setting", arguments.setting, "--quiet"]
    words += [f"--set={text}" for text in arguments.changes]
    words += [f"--budget={text}" for text in arguments.budget]
    for name in ("algorithm", "seed", "population", "generations", "within", "data_root"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return [*words, "--download"] if arguments.download else words
