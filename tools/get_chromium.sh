#!/bin/bash
# Sees to it that the browser tests find a Chromium: one that is there, else Playwright's, else the system's package.
# Usage: get_chromium.sh PYTHON
set -u
python=${1:?usage: get_chromium.sh PYTHON}
find="import sys; sys.path.insert(0, 'tests/browser'); import chromium; sys.exit(chromium.find() is None)"
found() { "$python" -c "$find" 2>/dev/null; }
found && exit 0
echo "No Chromium is here: fetching one for the browser tests" >&2
"$python" -m playwright install chromium >&2 && found && exit 0
if command -v apt-get >/dev/null; then
    as_root=""
    if [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends chromium; } >&2
    found && exit 0
fi
echo "get_chromium: no Chromium could be installed (install it, or name one in SYNESTHETE_CHROMIUM)" >&2
exit 1
