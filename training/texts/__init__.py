"""The texts of the built-in probe set: names, translations, synonyms, descriptions, anecdotes."""
