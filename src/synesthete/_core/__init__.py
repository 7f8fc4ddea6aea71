"""What every room stands on: files of a user's folder, JSON of unknown origin, checks of text."""
