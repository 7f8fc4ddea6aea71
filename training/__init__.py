"""How mini was made: data builder, recipe, evaluation. Not part of the installed package."""
