#!/bin/bash
# Sees to it that the browser tests find a Chromium that starts: one that is there, else Playwright's, else the system's package.
# Usage: get_chromium.sh PYTHON
set -u
python=${1:?usage: get_chromium.sh PYTHON}
works="import sys; sys.path.insert(0, 'tests/browser'); import chromium; sys.exit(not chromium.starts(chromium.find()))"
found() { "$python" -c "$works" 2>/dev/null; }
found && exit 0
if [ -n "${SYNESTHETE_CHROMIUM:-}" ]; then
    echo "get_chromium: SYNESTHETE_CHROMIUM is $SYNESTHETE_CHROMIUM, which is no Chromium that starts" \
        "(name another, or unset it to have one fetched)" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi
echo "No Chromium is here that starts: fetching one for the browser tests" >&2
if "$python" -m playwright install chromium >&2; then
    found && exit 0
    # It is here, and lacks libraries of the system.
    $as_root "$python" -m playwright install-deps chromium >&2 && found && exit 0
fi
if command -v apt-get >/dev/null; then
    { $as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends chromium; } >&2
    found && exit 0
fi
cat >&2 <<END
get_chromium: no Chromium could be installed, and the browser tests need one. Either
  - install it: 'sudo apt install chromium' (Debian), 'sudo dnf install chromium' (Fedora), a Chrome of Google elsewhere;
  - or name one that is elsewhere: SYNESTHETE_CHROMIUM=/path/to/chrome make test;
  - or leave these tests out: $python -m pytest --ignore tests/browser
END
exit 1
