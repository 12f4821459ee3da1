"""ONNX Runtime: one caller, eight images a call, operators of all threads, spinning (default)."""

from inference_common import PlainSession

REQUIREMENTS = None


class Peer(PlainSession):
    def __init__(self, options):
        super().__init__(options, callers=1, batch=8, intra_op=options["threads"], spinning=True)
