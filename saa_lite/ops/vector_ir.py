"""Sizes that the compiled walks over images share, and how they call a tile.

Weights are packed in blocks of sixteen lanes, and moves take sixteen floats at once, whatever the
machine's vectors: LLVM splits what is too long. Addresses are int64 byte addresses throughout.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from saa_lite.kernels.ir import FLOAT, I64
from saa_lite.kernels.machine import BLOCK, VECTOR_BITS

LANES = BLOCK
WIDE = VECTOR_BITS == 512
BYTES = FLOAT * LANES  # of a vector


@intrinsic
def call(context, address, arguments):  # type: ignore[no-untyped-def]
    """Call the function at an address with a tuple of int64, such as a tile of this package."""

    def generate(_context, b, signature, args):  # type: ignore[no-untyped-def]
        address, values = args
        kind = ir.FunctionType(ir.VoidType(), [I64] * signature.args[1].count)
        b.call(b.inttoptr(address, kind.as_pointer()), cgutils.unpack_tuple(b, values))
        return _context.get_dummy_value()

    return types.void(types.int64, arguments), generate
