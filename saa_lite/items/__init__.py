"""The papers' figures, tables, equations and claims, each with an id, a run and a drawing.

``registry.py`` says what an item is, lists them all and finds one; ``base.py`` has the unit of work
and its records; ``runner.py`` runs, alone or shared. ``select.py``, ``interval.py``,
``contrasts.py`` and ``claims.py`` say what records mean; ``training.py``, ``recipes.py``,
``targets.py``, ``augmented.py`` and ``campaign.py`` are what items that train share. Item
``addernet-impacts/fig-features`` lives in ``addernet_impacts/fig_features.py``.
"""
