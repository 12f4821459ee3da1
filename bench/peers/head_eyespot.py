"""eyespot: preconditioned L-BFGS in the core."""

import hashlib
from pathlib import Path

from head_common import HeadPeer

REQUIREMENTS = None


class Peer(HeadPeer):
    tolerances = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
    widths = (32,)  # is to meet the bounds there
    is_deterministic = True

    def set_up(self):
        from eyespot._core import ThreadPool

        self.pool = ThreadPool(self.threads)

    def fastest_threads(self):
        return self.threads  # it knows when one is enough

    def fit(self):
        from eyespot import fit_softmax

        fit = fit_softmax(
            self.x,
            self.y,
            self.k,
            l2=self.l2,
            max_iterations=2000,
            tolerance=self.tolerance,
            pool=self.pool,
        )
        return fit.weights, fit.bias, fit.n_evaluations

    def fingerprint(self):
        from eyespot import _core, head

        package = Path(head.__file__).parent
        files = [Path(__file__), Path(_core.__file__), *sorted(package.glob("*.py"))]
        contents = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        return [_core.simd_target(), *contents]
