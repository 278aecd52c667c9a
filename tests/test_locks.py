"""One folder, one writer: the second is told so, and nothing of the first is lost."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_samples import CONFIG, assert_same_run, make_model, make_set, train

from saa_lite import locks
from saa_lite import train as training
from saa_lite.errors import SaaLiteError, UsageError
from saa_lite.locks import RUNNING, TRAINING, WRITING, locked

FIRST = """
import sys
from pathlib import Path
from train_samples import train

def wait(epoch):
    print(epoch["epoch"], flush=True)
    sys.stdin.readline()

train(Path(sys.argv[1]), on_epoch=wait)
"""


def first_training(folder: Path) -> subprocess.Popen[str]:
    """Another process in the midst of training in ``folder``: it waits after each epoch."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", FIRST, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process


def test_a_second_training_in_a_folder_is_told_so_and_tears_nothing(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with first_training(tmp_path) as first:
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(SaaLiteError) as caught:
            train(tmp_path, seed=9)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        first.communicate("\n" * CONFIG.epochs)
    assert str(caught.value) == (
        f"another training is going on in {tmp_path}; wait until it is done"
    )
    assert first.returncode == 0
    loaded = train(tmp_path, seed=9)  # finished: only its result is read
    alone = train(None)
    torch.set_num_threads(threads)
    assert_same_run(alone, loaded)


def test_a_killed_training_holds_nothing(tmp_path: Path) -> None:
    with first_training(tmp_path) as first:
        first.kill()
    assert len(train(tmp_path)[1]) == CONFIG.epochs


def test_an_interrupted_or_refused_training_holds_nothing(tmp_path: Path) -> None:
    def stop(epoch: dict) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", on_epoch=stop)
    assert len(train(tmp_path / "stopped")[1]) == CONFIG.epochs
    model, images = make_model(), make_set("train")
    with pytest.raises(UsageError, match="method must be a Method"):
        training.train(model, images, images, CONFIG, method="a", checkpoint=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_locks_of_different_purposes_are_different(tmp_path: Path) -> None:
    with (
        locked(tmp_path, purpose=RUNNING, busy="never"),
        locked(tmp_path, purpose=TRAINING, busy="never"),
        locked(tmp_path),
        pytest.raises(SaaLiteError, match="taken; wait until it is done"),
        locked(tmp_path, purpose=WRITING, busy="taken"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_without_locks_is_used_with_a_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, *, wait: bool) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "_acquire", refuse)
    with (
        pytest.warns(UserWarning, match=rf"the disk of {tmp_path} knows no locks: let no other"),
        locked(tmp_path, busy="taken"),
    ):
        done = True
    assert done
