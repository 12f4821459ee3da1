"""eyespot's benchmarks: every figure in the README comes from here, peers in the same run."""
