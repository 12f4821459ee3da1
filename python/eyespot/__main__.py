"""``python -m eyespot`` is the command line."""

from __future__ import annotations

from eyespot.cli import main

if __name__ == "__main__":
    main()
