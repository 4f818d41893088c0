"""Checks for ops, of this package and of others.

Triton kernels run on the CPU where ``TRITON_INTERPRET=1`` is set before triton is imported; then call
`sft_kernels.testing.interpreter.correct_interpreter` first.
"""

from sft_kernels.testing.check import check_accuracy, check_op, check_registration, poisoned_memory
from sft_kernels.testing.tolerance import assert_as_accurate

__all__ = ["assert_as_accurate", "check_accuracy", "check_op", "check_registration", "poisoned_memory"]
