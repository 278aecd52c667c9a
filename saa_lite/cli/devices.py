"""The ``--device`` option."""

import re

from saa_lite.errors import UsageError


def resolve_device(name: str) -> str:
    """``auto`` becomes the first GPU or the CPU; a GPU that is not there is refused.

    Raises:
        UsageError: not a known kind of device, or no such GPU.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N; got {name!r}")
    if name == "cpu":
        return name
    import torch  # noqa: PLC0415  (a second to import, and not needed for cpu)

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name} asks for a GPU, and torch finds none; use --device cpu")
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} GPUs")
    return name
