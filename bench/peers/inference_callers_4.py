"""ONNX Runtime: as many callers as threads, four images a call, operators of one thread."""

from inference_common import PlainSession

REQUIREMENTS = None


class Peer(PlainSession):
    def __init__(self, options):
        super().__init__(options, callers=options["threads"], batch=4, intra_op=1, spinning=False)
