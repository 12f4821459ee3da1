"""``python -m eyespot`` and the script ``eyespot`` are the command line."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, Ctrl-C while it is being imported included."""
    try:
        from eyespot.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
