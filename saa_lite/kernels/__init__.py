"""The loops of the layers on a CPU: plain ones to read, and ones in explicit vectors.

Plain loops, compiled by Numba as they stand: :mod:`.loops`. The vectors:
:mod:`.ir` (the vocabulary), then a generator such as :mod:`.adder_f32` (a *tile*: some pixels ×
some vectors of filters, its sums in registers), :mod:`.machine` (how wide, which registers), then
:mod:`.plan` (which tile runs where) and :mod:`.walk`, which runs over images by that plan.
"""
