"""One file a peer, named SUITE_PEER.py, all with one protocol.

A peer file imports nothing but the standard library at its top, for the harness reads it in another
environment than it runs in. It has::

    REQUIREMENTS = ("pillow==13.0.0", "numpy==2.4.6")  # pinned; None: the environment of eyespot
    BUILD_ENVIRONMENT = {"CC": "cc -mavx2"}            # optional, while they are installed

    class Peer:
        def __init__(self, options): ...  # set up, not timed; options come from the suite's case
        def run(self): ...                # timed: the whole work once; may return a dict of facts
        def run_for(self, seconds): ...   # where the case has a budget for it: no longer than that
        def outputs(self): ...            # dict of arrays, compared before anything is timed
"""
