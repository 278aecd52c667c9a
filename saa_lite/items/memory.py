"""Peak memory of the process or of the GPU."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_memory_mb(device: str = "cpu") -> float:
    """Peak memory in MB (10^6 bytes) so far: allocated on the GPU, resident of the whole process.

    The process figure includes the libraries and everything earlier in the same process; measure
    in a fresh process where memory itself is the subject.
    """
    if str(device).startswith("cuda"):
        import torch  # noqa: PLC0415  (a second to import, and not needed on a CPU)

        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        import psutil  # noqa: PLC0415  (only Windows lacks `resource`)

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    if STATUS.exists():
        (line,) = (x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # noqa: PLC0415  (absent on Windows)

    # Not on Linux: there a new process begins with the peak of the one that started it.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
