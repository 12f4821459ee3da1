"""eyespot: preconditioned L-BFGS in the core."""

from head_common import HeadPeer

REQUIREMENTS = None


class Peer(HeadPeer):
    tolerances = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)

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
