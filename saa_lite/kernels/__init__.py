"""The innermost loops of the layers in explicit vectors, for machines of any vector length.

Read :mod:`.ir` (the vocabulary), then a generator such as :mod:`.adder_f32` (a *tile*: some pixels
× some vectors of filters, its sums in registers), then :mod:`.machine` (how wide, which registers,
compiling). What walks over whole images with these tiles is compiled by Numba, in ``saa_lite.ops``.
"""
