"""The parts of the suite for GPUs; bench/gpu.py runs them."""
