"""eyespot.inference: as many callers as threads, one image a call, operators of one thread."""

from inference_common import Threaded

REQUIREMENTS = None


class Peer(Threaded):
    def __init__(self, options):
        from pathlib import Path

        from eyespot.inference import NetworkRunner

        super().__init__(options, callers=options["threads"], batch=4)
        self.runner = NetworkRunner(Path(options["model"]).read_bytes(), source=options["model"])

    def rows(self, part):
        return self.runner.rows(part)
