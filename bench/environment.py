"""What a measurement depends on: the machine, its load, the versions, the variables."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MAX_BUSY = 0.1  # processors that others keep busy before the start, at most
# A shell may export the first two; they make OpenBLAS take slow kernels, ours and the peers' alike.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "EYESPOT_SIMD")


def clean_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a measured process: nothing of the caller's but the basics."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"} | (extra or {})


def busy_cpus(seconds: float = 3.0) -> float:
    """Return how many processors the machine keeps busy just now, by counting for `seconds`.

    The load average lags by minutes, so it would tell of what was here before. Where the system
    does not count (no /proc/stat), it has to do.
    """
    before = busy_ticks()
    if before is None:
        return os.getloadavg()[0]
    time.sleep(seconds)
    ticks = (busy_ticks() or before) - before
    return ticks / os.sysconf("SC_CLK_TCK") / seconds


def busy_ticks() -> int | None:
    """Return the clock ticks that all processors have worked since the start of the system."""
    first, *_ = read("/proc/stat").splitlines() or [""]
    kind, *fields = first.split()[:9] or [""]
    if kind != "cpu":
        return None
    user, nice, system, _idle, _iowait, *interrupts = map(int, fields)
    return user + nice + system + sum(interrupts)


def describe() -> dict[str, Any]:
    """Return what to print before a run and keep with its result."""
    return {
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not shown",
        "busy_cpus": round(busy_cpus(), 2),
        "system": f"{platform.system()} {platform.machine()} {distribution()}".strip(),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("eyespot", "numpy", "onnxruntime", "scikit-learn")
        },
        "simd_target": simd_target(),
        "commit": git("rev-parse", "--short=12", "HEAD"),
        "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.endswith("_NUM_THREADS") or name.startswith(("OPENBLAS_", "MKL_", "OMP_"))
        },
        "variables_unset_for_peers": list(UNSET),
    }


def cpu_name(cpuinfo: str | None = None) -> str:
    """Return the name in /proc/cpuinfo, or in such text.

    Some virtual machines hide the AMX of an Intel processor, all of which have it since they have
    float16: to a benchmark that is another processor.
    """
    text = read("/proc/cpuinfo") if cpuinfo is None else cpuinfo
    facts = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name")
    if name is None:
        return platform.processor() or "unknown"
    flags = facts.get("flags", "").split()
    hidden = "Intel" in name and "avx512_fp16" in flags and "amx_tile" not in flags
    return f"{name} without AMX" if hidden else name


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def distribution() -> str:
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def simd_target() -> str:
    try:
        from eyespot import _core

        return str(_core.simd_target())
    except ImportError:
        return "eyespot is not installed"


def git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else "unknown"
