"""The commands of `synesthete catalog`."""
