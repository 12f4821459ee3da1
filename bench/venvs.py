"""Environments of the peers, each made once from pinned requirements under build/peers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "peers"


def interpreter(module: Any) -> Path:
    """Return the Python that runs the peer `module`, after making its environment if need be."""
    requirements = module.REQUIREMENTS
    if requirements is None:
        return Path(sys.executable)
    build = getattr(module, "BUILD_ENVIRONMENT", {})
    text = "\n".join([*requirements, *(f"# {k}={v}" for k, v in sorted(build.items()))]) + "\n"
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = requirements[0].partition("=")[0]
    folder = FOLDER / f"{name}-{key}"
    python = folder / "bin" / "python"
    done = folder / "requirements.txt"
    if not done.exists():
        print(f"making the environment of {', '.join(requirements)}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        # What is compiled with other flags must not come from the cache of earlier builds.
        own = ["--no-cache-dir"] if build else []
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *own, *requirements],
            env=os.environ | build,
            check=True,
        )
        done.write_text(text)
    return python
