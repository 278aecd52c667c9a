"""The adder convolution as Triton kernels; :mod:`saa_lite.ops.adder_triton` launches them.

They are implicit matrix products, pixels × filters, with |x − w| in place of x·w. A block of 128
threads owns a tile; each thread keeps TM pixels × TN·4 filters of it in registers. Triton spreads
the last dimensions of a tensor over the threads first (before 3.7 the first ones, so that there
tiles have the shape [PN, PM, TM, TN, 4]), and tiles have the shape::

    [TM, TN, PM, PN, 4]      TM, TN, 4: registers of one thread;   PM·PN = 128: threads

and a tensor of shape [TM, 1, PM, PN, ·] or [1, TN, PM, PN, ·] holds, in every thread, just the
pixels or the weights that this thread needs. They come through the L1 cache in 16-byte loads, with
neither shared memory nor barriers in the loop. Per |x − w| two instructions remain, ``d = x − w``
and ``acc += |d|`` (the absolute value is an operand modifier): the fewest that fp32 allows. Bytes
need a quarter of one: ``vabsdiff4`` takes four differences and adds their absolute values up.

Clipping costs nothing in the gradient: with s = saturate((w − x)/2 + ½), one instruction, the
surrogate clip(w − x, −1, 1) is 2s − 1, so that Σ g·clip(w − x) = 2·Σ g·s − Σ g. Rounding s is worth
at most 2^−22·max(1, |w|) per term. The sign is 2s − 1 with s = saturate((w − x)·2^127 + ½), exact
but for differences below 2^−128. Saturation hides NaN and turns an infinite g into NaN: a tile that
met such a number is computed once more by the literal formula.

Where groups have very few channels or filters (depthwise layers), lanes are not the filters of one
group but those of all, and each lane loads the numbers of its own group: constants PER, lanes per
group, and DEPTH, numbers that a lane adds up per tap; PER is 0 elsewhere.
"""

import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]

INTEGERS = ["M", "N", "NP", "C", "H", "W", "OH", "OW", "KW", "TAPS"]
INTEGERS += ["SH", "SW", "PH", "PW", "DH", "DW", "PADDING", "LINES"]
STEEP = tl.constexpr(2.0**127)
LAST_FIRST = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 7)
AXIS_TM, AXIS_TN, AXIS_PM, AXIS_PN = map(tl.constexpr, (0, 1, 2, 3) if LAST_FIRST else (2, 3, 1, 0))


@triton.jit
def _along(AXIS: tl.constexpr, count: tl.constexpr):
    """0, 1, … along one dimension of five."""
    numbers = tl.arange(0, count)
    for other in tl.static_range(5):
        if other != AXIS:
            numbers = tl.expand_dims(numbers, other)
    return numbers


@triton.jit
def _pixel_numbers(TM: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr):
    """[TM, 1, PM, PN, 1]: the pixels of the tile that each thread owns."""
    return _along(AXIS_TM, TM) * PM + _along(AXIS_PM, PM) + 0 * _along(AXIS_PN, PN)


@triton.jit
def _filter_numbers(TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr):
    """[1, TN, PM, PN, 4]: the filters of the tile that each thread owns."""
    run = _along(AXIS_TN, TN) * (PN * 4) + _along(AXIS_PN, PN) * 4 + _along(4, 4)
    return run + 0 * _along(AXIS_PM, PM)


@triton.jit
def _apart(run, VK: tl.constexpr):
    """[TM, 1, PM, PN, VK] → VK tensors [TM, 1, PM, PN, 1], without leaving the registers."""
    if VK == 1:
        return (run,)
    else:  # noqa: RET505 - only one branch is compiled
        even, odd = tl.split(run.reshape(run.shape[:4] + (2, 2)))  # noqa: RUF005
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return (
            tl.expand_dims(first, 4), tl.expand_dims(second, 4),
            tl.expand_dims(third, 4), tl.expand_dims(fourth, 4),
        )  # fmt: skip


@triton.jit
def _numbers_at(
    images, pixel, n, N, C, VK: tl.constexpr, VS: tl.constexpr, PER: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """Where the first numbers lie that a pixel's lanes n add up: one run for all, or one each."""
    if PER > 0:
        return images + pixel.to(tl.int64) * (N // VS * VS // PER * DEPTH) + n // PER * DEPTH
    else:  # noqa: RET505 - only one branch is compiled
        at = pixel.to(tl.int64) * tl.num_programs(2) + tl.program_id(2)
        return images + at * C * VK + _along(4, VK)


@triton.jit
def _add_distance(acc, x, w, BYTES: tl.constexpr):
    """acc + |x − w|; of four bytes in a word, at once or, in the interpreter, one by one."""
    if BYTES == "":
        acc += tl.abs(x - w)
    elif BYTES == "vabsdiff4":
        sum_of_four: tl.constexpr = "vabsdiff4.u32.u32.u32.add $0, $1, $2, $3;"
        acc = tl.inline_asm_elementwise(sum_of_four, "=r,r,r,r", [x, w, acc], tl.int32, True, 1)
    else:
        for shift in tl.static_range(0, 32, 8):
            acc += tl.abs((x >> shift & 255) - (w >> shift & 255))
    return acc


@triton.jit(do_not_specialize=INTEGERS)
def forward_kernel(
    x, w, y, M, N, NP, C, H, W, OH, OW, KW, TAPS, SH, SW, PH, PW, DH, DW, PADDING,
    TM: tl.constexpr, TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr,
    VK: tl.constexpr, VS: tl.constexpr, PER: tl.constexpr, DEPTH: tl.constexpr,
    FLAT: tl.constexpr, PAD: tl.constexpr, BYTES: tl.constexpr,
):  # fmt: skip
    """y[m, n] = −Σ|x − w| for M pixels × N filters, per group.

    x: [B, H, W, groups·C·VK]; w: [groups, TAPS, C·VK, NP·4]; y: [M, groups·N].
    VK channels make one load, VS filters one store. FLAT: a pixel sees just itself. BYTES: "", or
    how to add up words of four; PADDING is what padded pixels hold.
    """
    group, groups = tl.program_id(2), tl.num_programs(2)
    m = tl.program_id(0) * (TM * PM) + _pixel_numbers(TM, PM, PN)
    n = tl.program_id(1) * (TN * PN * 4) + _filter_numbers(TN, PM, PN)
    within = tl.minimum(m, M - 1)  # surplus pixels repeat the last one and are not stored
    if FLAT:
        row, column, corner = 0 * within, 0 * within, within
    else:
        row = within // OW % OH * SH - PH
        column = within % OW * SW - PW
        corner = (within // OW // OH * H + row) * W + column
    used, beyond = n // VS < N // VS, 0.0 if BYTES == "" else PADDING
    weights = w + group * TAPS * C * VK * NP * 4 + n
    acc = tl.zeros((m + n).shape, tl.float32 if BYTES == "" else tl.int32)
    for tap in range(TAPS):
        down, right = tap // KW * DH, tap % KW * DW
        inside = (row + down >= 0) & (row + down < H) & (column + right >= 0) & (column + right < W)
        xs = _numbers_at(x, corner + down * W + right, n, N, C, VK, VS, PER, DEPTH)
        if PER > 0:
            inside &= used
        for c in tl.range(0, DEPTH if PER > 0 else C, loop_unroll_factor=2):
            if PAD or PER > 0:
                values = _apart(tl.load(xs + c * VK, mask=inside, other=beyond), VK)
            else:
                values = _apart(tl.load(xs + c * VK), VK)
            for k in tl.static_range(VK):
                taps = tl.load(weights + ((tap * C + c) * VK + k) * NP * 4)
                acc = _add_distance(acc, values[k], taps, BYTES)
    at = (m.to(tl.int64) * groups + group) * (N // VS) * VS + n
    tl.store(y + at, -acc, mask=(m < M) & used)


@triton.jit
def _surrogate(d, KIND: tl.constexpr):
    """s(d) as the formulas say, NaN for NaN."""
    if KIND == "clip":
        return tl.clamp(d, -1.0, 1.0, tl.PropagateNan.ALL)
    elif KIND == "sign":  # noqa: RET505 - only one branch is compiled
        return tl.where(d > 0, 1.0, tl.where(d < 0, -1.0, d))
    else:
        return d


@triton.jit
def _saturated(w, x, KIND: tl.constexpr):
    """(s(w − x) + 1) / 2 for "clip", where x is given as ½ − x/2, and for "sign"."""
    if KIND == "clip":
        return tl.clamp(w * 0.5 + x, 0.0, 1.0)
    else:  # noqa: RET505 - only one branch is compiled
        return tl.clamp((w - x) * STEEP + 0.5, 0.0, 1.0)


@triton.jit
def _sum_over_taps(
    g, w, x, image, row, column, RH, RW, n, N, NP, C, OH, OW, KW, TAPS, SH, SW, DH, DW,
    VK: tl.constexpr, VS: tl.constexpr, PER: tl.constexpr, DEPTH: tl.constexpr,
    FLAT: tl.constexpr, KIND: tl.constexpr, QUICK: tl.constexpr,
):  # fmt: skip
    """(Σ G·s, Σ G) over the taps and filters that see each pixel, s after KIND.

    g: [B, OH, OW, groups·C·VK]; w: [TAPS, C·VK, NP·4], C·VK filters × channels; x: one tile;
    row, column: pixels in the padded image, which leave RH and RW when divided by the stride.
    QUICK: s is the saturated one.
    """
    acc = tl.zeros(x.shape, tl.float32)
    total = tl.zeros(x.shape if PER > 0 else row.shape, tl.float32)
    for tap in range(TAPS):
        # −i·d leaves the same remainder as i·d·(stride − 1): the tap meets all pixels or none.
        rows_meet = (RH + tap // KW * DH * (SH - 1)) % SH == 0
        columns_meet = (RW + tap % KW * DW * (SW - 1)) % SW == 0
        if rows_meet & columns_meet:
            down, right = row - tap // KW * DH, column - tap % KW * DW
            inside = (down >= 0) & (down // SH < OH) & (right >= 0) & (right // SW < OW)
            pixel = (image * OH + down // SH) * OW + right // SW
            gs = _numbers_at(g, pixel, n, N, C, VK, VS, PER, DEPTH)
            if PER > 0:
                inside &= n // VS < N // VS
            for c in range(DEPTH if PER > 0 else C):
                if FLAT and PER == 0:
                    upstream = _apart(tl.load(gs + c * VK), VK)
                else:
                    upstream = _apart(tl.load(gs + c * VK, mask=inside, other=0.0), VK)
                for k in tl.static_range(VK):
                    taps = tl.load(w + ((tap * C + c) * VK + k) * NP * 4)
                    if QUICK:
                        total += upstream[k]
                        acc += upstream[k] * _saturated(taps, x, KIND)
                    else:
                        s = _surrogate(taps - x, KIND)
                        acc = tl.where(inside, acc + upstream[k] * s, acc)
    return acc, total


@triton.jit(do_not_specialize=INTEGERS)
def input_gradient_kernel(
    g, w, x, y, checksum, M, N, NP, C, H, W, OH, OW, KW, TAPS, SH, SW, PH, PW, DH, DW,
    TM: tl.constexpr, TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr,
    VK: tl.constexpr, VS: tl.constexpr, PER: tl.constexpr, DEPTH: tl.constexpr,
    FLAT: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """y = Σ G·s(w − x) per pixel and channel, s after KIND.

    g: [B, OH, OW, groups·C·VK]; w: [groups, TAPS, C·VK, NP·4]; x, y: [B, H, W, groups·N].
    A block takes pixels that leave one remainder when divided by the stride, M of them in all, so
    that no tap is computed in vain. checksum: Σ w, which "full" does not read.
    """
    group, groups = tl.program_id(2), tl.num_programs(2)
    RH, RW = tl.program_id(0) % (SH * SW) // SW, tl.program_id(0) % (SH * SW) % SW
    m = tl.program_id(0) // (SH * SW) * (TM * PM) + _pixel_numbers(TM, PM, PN)
    n = tl.program_id(1) * (TN * PN * 4) + _filter_numbers(TN, PM, PN)
    if FLAT:
        row, column, image = 0 * m, 0 * m, tl.minimum(m, M - 1)
    else:
        wide, high = (W + SW - 1) // SW, (H + SH - 1) // SH
        within = tl.minimum(m, M - 1)
        row, column = within // wide % high * SH + RH, within % wide * SW + RW
        image = within // wide // high
    stored = (m < M) & (row < H) & (column < W) & (n // VS < N // VS)
    pixel = ((image * H + row) * W + column).to(tl.int64)
    at = (pixel * groups + group) * (N // VS) * VS + n
    own = tl.load(x + at, mask=stored, other=0.0)
    row, column, RH, RW = row + PH, column + PW, RH + PH, RW + PW
    w += group * TAPS * C * VK * NP * 4 + n
    result, total = _sum_over_taps(
        g, w, 0.5 - 0.5 * own if KIND == "clip" else own, image, row, column, RH, RW, n, N, NP, C,
        OH, OW, KW, TAPS, SH, SW, DH, DW, VK, VS, PER, DEPTH, FLAT, KIND, KIND != "full",
    )  # fmt: skip
    if KIND != "full":
        result = 2.0 * result - total
    tl.store(y + at, result, mask=stored)
    if KIND != "full":
        spoiled = tl.abs(total) + tl.abs(own) + tl.abs(tl.load(checksum))
        if tl.min((spoiled < float("inf")).to(tl.int32)) == 0:
            result, total = _sum_over_taps(
                g, w, own, image, row, column, RH, RW, n, N, NP, C, OH, OW, KW, TAPS,
                SH, SW, DH, DW, VK, VS, PER, DEPTH, FLAT, KIND, False,
            )  # fmt: skip
            tl.store(y + at, result, mask=stored)


@triton.jit
def _sum_over_pixels(
    g, x, w, first, last, down, right, c, n, N, C, H, W, OH, OW, SH, SW,
    VS: tl.constexpr, PER: tl.constexpr, DEPTH: tl.constexpr, QUICK: tl.constexpr,
):  # fmt: skip
    """(Σ G·s(x − w), Σ G, Σ |x|) over the pixels of some lines of output, s the sign."""
    group, groups = tl.program_id(2), tl.num_programs(2)
    used = n // VS < N // VS
    acc = tl.zeros(w.shape, tl.float32)
    total = tl.zeros(n.shape, tl.float32)
    size = tl.zeros(w.shape if PER > 0 else c.shape, tl.float32)
    for line in range(first, last):
        row = line % OH * SH + down
        for place in range(OW):
            column = place * SW + right
            inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
            pixel = (line // OH * H + row) * W + column
            xs = _numbers_at(x, pixel, n, N, C, 1, VS, PER, DEPTH) + (c if DEPTH != 1 else 0)
            if PER > 0:
                inside &= used
            own = tl.load(xs, mask=inside, other=0.0)
            to = ((line * OW + place).to(tl.int64) * groups + group) * (N // VS) * VS + n
            upstream = tl.load(g + to, mask=used, other=0.0)
            if QUICK:
                total += upstream
                size += tl.abs(own)
                acc += upstream * _saturated(own, w, "sign")
            else:
                acc += upstream * _surrogate(own - w, "sign")
    return acc, total, size


@triton.jit(do_not_specialize=INTEGERS)
def weight_sign_kernel(
    g, x, w, y, M, N, NP, C, H, W, OH, OW, KW, SH, SW, PH, PW, DH, DW, LINES,
    TM: tl.constexpr, TN: tl.constexpr, PM: tl.constexpr, PN: tl.constexpr,
    VS: tl.constexpr, PER: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """y[chunk, r, n] = Σ G·sgn(x − w) over LINES / chunks lines of output pixels.

    r: M pairs of tap and channel; n: N filters, per group. g: [B, OH, OW, groups·N];
    x: [B, H, W, groups·C]; w: [groups, M, NP·4]; y: [chunks, groups, M, NP·4]. LINES: B·OH.
    """
    wide = (NP * 4) // (TN * PN * 4)
    r = tl.program_id(0) // wide * (TM * PM) + _pixel_numbers(TM, PM, PN)
    n = tl.program_id(0) % wide * (TN * PN * 4) + _filter_numbers(TN, PM, PN)
    group, groups, chunk = tl.program_id(2), tl.num_programs(2), tl.program_id(1)
    within = tl.minimum(r, M - 1)
    down, right = within // C // KW * DH - PH, within // C % KW * DW - PW
    own = tl.load(w + (group * M + within) * NP * 4 + n)
    share = (LINES + tl.num_programs(1) - 1) // tl.num_programs(1)
    first, last = chunk * share, tl.minimum((chunk + 1) * share, LINES)
    at = y + ((chunk * groups + group) * M + r) * NP * 4 + n
    result, total, size = _sum_over_pixels(
        g, x, own, first, last, down, right, within % C, n, N, C, H, W, OH, OW, SH, SW,
        VS, PER, DEPTH, True,
    )  # fmt: skip
    tl.store(at, 2.0 * result - total, mask=r < M)
    weight = tl.where(n // VS < N // VS, tl.abs(own), 0.0)  # surplus lanes may hold anything
    spoiled = tl.abs(total) + size + weight
    if tl.min((spoiled < float("inf")).to(tl.int32)) == 0:
        result, total, size = _sum_over_pixels(
            g, x, own, first, last, down, right, within % C, n, N, C, H, W, OH, OW, SH, SW,
            VS, PER, DEPTH, False,
        )  # fmt: skip
        tl.store(at, result, mask=r < M)
