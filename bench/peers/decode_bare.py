"""Bare libjpeg-turbo, the system's, through a few lines of C: the limit of its users."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

REQUIREMENTS = None


def Peer(options):
    from decode_threads import Decoder

    class Bare(Decoder):
        def __init__(self):
            super().__init__(options)
            source = Path(__file__).with_suffix(".c")
            with tempfile.TemporaryDirectory() as folder:
                library = Path(folder, "decode_bare.so")
                compiler = os.environ.get("CC", "cc")
                command = [compiler, "-O2", "-shared", "-fPIC", str(source), "-ljpeg"]
                subprocess.run([*command, "-o", str(library)], check=True)
                self.call = ctypes.CDLL(str(library)).decode_bare  # without the GIL
            self.call.argtypes = [ctypes.c_char_p, ctypes.c_ulong, ctypes.c_uint]

        def decode(self, data):
            return self.call(data, len(data), self.size if self.scaled else 0)

        def outputs(self):
            return {}

    return Bare()
