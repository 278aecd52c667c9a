"""How the trained networks that come with the package are made: recipes, shipping, checking.

A recipe is a TOML file of this folder: network, data and every hyper-parameter of one training.
:func:`ship` makes a finished training into a file of :mod:`saa_lite.models.trained`, and
:func:`check` tests what is shipped against the accuracy that it states.
"""

from saa_lite.recipes.recipe import Recipe, list_recipes, load_recipe
from saa_lite.recipes.shipping import Check, check, ship

__all__ = ["Check", "Recipe", "check", "list_recipes", "load_recipe", "ship"]
