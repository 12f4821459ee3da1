"""What the inference peers share: inputs, threads, and the busy neighbour."""

from __future__ import annotations

import subprocess
import sys
import threading
from abc import ABC, abstractmethod


class Threaded(ABC):
    """Runs `rows(part)` for parts of the inputs on as many threads as asked for."""

    def __init__(self, options, *, callers, batch):
        import numpy as np

        self.busy = options["busy"]
        self.callers, self.batch = callers, batch
        random = np.random.default_rng(0)
        shape = (options["images"], 3, 224, 224)
        self.inputs = random.standard_normal(shape, dtype=np.float32)
        self.results = [None] * -(-len(self.inputs) // batch)

    @abstractmethod
    def rows(self, part):
        """Return the embeddings of one part of the inputs."""

    def work(self, first):
        for i in range(first, len(self.results), self.callers):
            self.results[i] = self.rows(self.inputs[i * self.batch : (i + 1) * self.batch])

    def run(self):
        neighbour = None
        if self.busy:
            neighbour = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
        try:
            threads = [threading.Thread(target=self.work, args=(i,)) for i in range(self.callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            if neighbour is not None:
                neighbour.kill()
                neighbour.wait()

    def outputs(self):
        import numpy as np

        return {"embeddings": np.concatenate(self.results)}


class PlainSession(Threaded):
    """ONNX Runtime with its options as given."""

    def __init__(self, options, *, callers, batch, intra_op, spinning):
        import onnxruntime

        super().__init__(options, callers=callers, batch=batch)
        chosen = onnxruntime.SessionOptions()
        chosen.intra_op_num_threads = intra_op
        chosen.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self.session = onnxruntime.InferenceSession(
            options["model"], chosen, providers=["CPUExecutionProvider"]
        )

    def rows(self, part):
        return self.session.run(["embedding"], {"input": part})[0]
