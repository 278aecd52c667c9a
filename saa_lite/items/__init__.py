"""The papers' figures, tables, equations and claims, each with an id, a run and a drawing.

``base.py`` says what an item is, ``catalogue.py`` lists them all, ``registry.py`` finds one,
``runner.py`` runs, ``output.py`` draws. Item ``addernet-impacts/fig-features`` lives in
``addernet_impacts/fig_features.py``.
"""
