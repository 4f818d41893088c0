"""Ops: a folder for each, with the public function, a reference in plain PyTorch, and triton kernels."""
