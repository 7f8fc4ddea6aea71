#!/usr/bin/env bash
# Prints the first Python that is new enough (3.11), or says what to install. PYTHON=... overrides the search.
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
found=$("${PYTHON:-python3}" --version 2>/dev/null | head -n 1)
echo "make: Synesthete needs Python 3.11 to 3.14, and found: ${found:-no python3}." >&2
echo "      Install one, or name it: make PYTHON=/path/to/python3.11" >&2
exit 1
