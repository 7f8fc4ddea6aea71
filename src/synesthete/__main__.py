"""`python -m synesthete` is the command `synesthete`."""

from synesthete.cli import main

if __name__ == "__main__":
    main()
