"""The rows of the scorecard, read from ``saa_lite/published/claims/``, one file per source.

A row says what is printed, what is computed from records, and why it cannot be tested here if it
cannot. It holds no verdict: :mod:`saa_lite.report.verdict` computes it.

=========== =====================================================================================
id          ``item:name``
table       ``source``: a statement of the source; ``check``: one without chance in it, an
            equation, a count, an export; ``exploration``: a comparison of ours, or one that no
            protocol fixed before its run
text        at most 60 characters; ``definition``: what is computed, in full
published   what the source prints, in words; ``cells``: the numbers of
            ``published/*.csv`` behind it, as ``item | row | column``; of two, the difference of the
            first and the second is what is claimed
setting     of the source; ``at``: the same in terms of a record
untestable  of a source's row, why there is no verdict while no protocol names it:
            ``control failed``, ``premise not met``, ``not converged``, ``power``,
            ``no protocol``, ``one network``; ``because``: in a sentence
matters     instead, of a source's row that one network tests, image by image: the smallest
            difference in points that would matter; with ``images`` of two terms alone
key         whether short tables show an exploration
where       records that bear on it: fields of a record, else its settings
reference   what the number is held against, if not 0
=========== =====================================================================================

and at most one predicate (without one, nothing has been run):

============= ===================================================================================
value         ``[metric, method]``
difference    ``[metric, first, second]``, paired by seed
sum           ``[[factor, metric, method], …]``
ratio         ``[[metric, method], [metric, method]]``
ahead_of_best ``[metric, first, [others]]``: the best other per seed
images        ``[[factor, metric, method], …]`` of records that say which test images are right:
              the same for each image, with an interval over the images
at_most       ``[metric, bound]``: holds if no record exceeds the bound
exact         ``[name, arguments…]`` of :data:`saa_lite.items.claims.exact.EXACT`
============= ===================================================================================
"""

from saa_lite.items.claims.load import CLAIMS

__all__ = ["CLAIMS"]
