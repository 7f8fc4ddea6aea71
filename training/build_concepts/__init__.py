"""Build the built-in probe set `concepts` from published packages: sprites, manifest, fonts, credits."""
