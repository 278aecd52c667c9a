"""The state of a run on disk, and where it may be stopped.

**Save and restore a model, its optimiser and the state of a run: one file, one fallback.**

``last.safetensors`` is the newest checkpoint, ``previous.safetensors`` the one before it. Both are
only ever put in place by a rename, so a kill leaves at least one of them whole; if the newest is
damaged (say, by a full disk or a copy that broke off), the previous one is used, with a warning.

**Ctrl-C between steps instead of in the middle of one, and signals that are treated alike.**

Whoever lends a machine asks politely before it is taken away: by SIGTERM, or by a signal of the
user's choice, mostly SIGUSR1. Both stop as Ctrl-C does, but raise
:class:`~saa_lite.errors.Stopped`.
"""

import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from saa_lite.container import previous_path, read_container, write_container
from saa_lite.errors import CheckpointError, Stopped
from saa_lite.nn.wrappers import plain_names, unwrapped
from saa_lite.train import parallel
from saa_lite.train.optimizer import pack_optimizer, unpack_optimizer

LAST = "last.safetensors"
Value = TypeVar("Value")


def has_checkpoint(folder: Path | str) -> bool:
    """Whether ``folder`` holds a checkpoint, sound or not."""
    path = Path(folder) / LAST
    return path.is_file() or previous_path(path).is_file()


def save_checkpoint(
    folder: Path | str,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``folder/last.safetensors`` atomically and keep the one before it.

    Wrappers around the network (:mod:`saa_lite.nn.wrappers`) leave no trace in the file.

    Args:
        state: plain JSON about the run; key ``"config"`` is compared by :func:`load_checkpoint`.

    Returns:
        The path written.
    """
    path = Path(folder) / LAST
    tensors = {f"model.{name}": value for name, value in _state(model).items()}
    document: dict[str, Any] = {"layers": layers_of(model), "run": dict(state or {})}
    if optimizer is not None:
        moments, document["optimizer"] = pack_optimizer(optimizer)
        tensors |= {f"optimizer.{name}": value for name, value in moments.items()}
    write_container(path, tensors, document)
    return path


def load_checkpoint(
    folder: Path | str,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Restore ``model`` (and ``optimizer``) in place; return the run's state.

    Everything is checked before anything is changed. It does not matter whether either network,
    the one here and the one that was saved, is compiled or data-parallel.

    Raises:
        CheckpointError: nothing is there, both files are damaged, or the checkpoint is of another
            model, optimiser or (where ``config`` is given) configuration.
    """
    path, tensors, document = read_newest(Path(folder))
    weights = _plain(_part(tensors, "model."))
    _check_model(path, model, weights, document["layers"])
    run: dict[str, Any] = document["run"]
    if config is not None:
        _check_config(path, config, run.get("config", {}))
    if optimizer is not None:
        if "optimizer" not in document:
            raise CheckpointError(
                f"{path} holds no optimiser state, so no training resumes from it"
            )
        unpack_optimizer(optimizer, _part(tensors, "optimizer."), document["optimizer"])
    names = plain_names(unwrapped(model).state_dict())
    unwrapped(model).load_state_dict({names[plain]: value for plain, value in weights.items()})
    return run


def read_newest(folder: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """The newest sound file of ``folder``: its path, tensors and JSON document."""
    last = folder / LAST
    previous = previous_path(last)
    try:
        return last, *read_container(last)
    except CheckpointError as error:
        newest = error
    try:
        found = previous, *read_container(previous)
    except CheckpointError as error:
        raise CheckpointError(f"no usable checkpoint: {newest}; {error}") from error
    warnings.warn(f"{newest}; going on from {previous}", UserWarning, stacklevel=3)
    return found


def layers_of(model: nn.Module) -> dict[str, str]:
    """Every leaf module by name: ``{"conv1": "Conv2d(3, 16, ...)"}``.

    Tensor names alone do not tell an adder network from its multiplicative twin.
    """
    return _plain(
        {
            name: f"{module._get_name()}({module.extra_repr()})"
            for name, module in unwrapped(model).named_modules()
            if not any(True for _ in module.children())
        }
    )


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the network inside all wrappers."""
    return _plain(unwrapped(model).state_dict())


def _plain(named: Mapping[str, Value]) -> dict[str, Value]:
    """The same under the names that the network has without wrappers."""
    return {plain: named[name] for plain, name in plain_names(named).items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_model(
    path: Path, model: nn.Module, weights: Mapping[str, Tensor], layers: Mapping[str, str]
) -> None:
    """Compare layers, then names, shapes and dtypes of the tensors."""
    ours = {k: f"{v.dtype} {list(v.shape)}" for k, v in _state(model).items()}
    theirs = {k: f"{v.dtype} {list(v.shape)}" for k, v in weights.items()}
    for here, there in ((layers_of(model), _plain(layers)), (ours, theirs)):
        if difference := first_difference(here, there):
            name, given, stored = difference
            raise CheckpointError(
                f"{path} is of another model: {name} is {stored} there and {given} here"
            )


def _check_config(path: Path, config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    if difference := first_difference(config, stored):
        name, here, there = difference
        raise CheckpointError(
            f"{path} is of another configuration: {name} is {there!r} there and {here!r} here; "
            "use another folder, or the same configuration"
        )


def first_difference(
    here: Mapping[str, Any], there: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    """First key whose values differ, with both values ("absent" where one has no such key).

    Inside nested values it goes on, as "outer.inner".
    """
    for key in [*here, *(key for key in there if key not in here)]:
        ours, theirs = here.get(key, "absent"), there.get(key, "absent")
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            if inner := first_difference(ours, theirs):
                return f"{key}.{inner[0]}", *inner[1:]
        elif ours != theirs:
            return key, ours, theirs
    return None


# Windows has no SIGUSR1.
POLITE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
KINDS = (None, KeyboardInterrupt, Stopped)


class StopRequest:
    """Whether Ctrl-C was pressed, or a signal asked for the same; known after :meth:`agree`."""

    _asked, _agreed = 0, 0  # of KINDS

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first is only noted, the second interrupts at once."""
        again, self._asked = self._asked, 2 if number in POLITE else 1
        if again:
            self._agreed = self._asked
            self.raise_if_requested()

    def agree(self) -> None:
        """Processes that train together all stop where one does: none waits for its gradients."""
        self._agreed = parallel.highest(self._asked)

    @property
    def requested(self) -> bool:
        """Whether to stop, as soon as nothing is half-done."""
        return self._agreed > 0

    def raise_if_requested(self) -> None:
        """Interrupt now, where nothing is half-done."""
        if kind := KINDS[self._agreed]:
            raise kind


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """The first Ctrl-C only sets ``requested``; a second one interrupts at once, as usual.

    Python lets only the main thread handle signals; elsewhere Ctrl-C acts as usual.
    """
    request = StopRequest()
    with _handled(dict.fromkeys((signal.SIGINT, *POLITE), request.ask)):
        yield request


@contextmanager
def stop_politely() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise :class:`~saa_lite.errors.Stopped` wherever they come.

    In a training :func:`stop_on_interrupt` lets them wait for the end of the step.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    with _handled(dict.fromkeys(POLITE, stop)):
        yield


@contextmanager
def _handled(handlers: Mapping[int, Any]) -> Iterator[None]:
    """Handle signals so inside, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
