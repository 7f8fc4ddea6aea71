#!/bin/sh
# Serve a catalogue as a container does (docs/service.md). From the environment: CATALOG, the folder; HOST, PORT and WORKERS;
# and the owner's token, in SYNESTHETE_TOKEN or, better, in a file that TOKEN_FILE names. Arguments go to `synesthete serve`.
set -eu

set -- --port "${PORT:-8765}" --workers "${WORKERS:-1}" --no-browser "$@"
if [ -n "${HOST:-}" ]; then
    set -- --host "$HOST" "$@"
fi
if [ -n "${TOKEN_FILE:-}" ]; then
    set -- --token-file "$TOKEN_FILE" "$@"
fi
# exec: signals reach the server, and not a shell around it.
exec synesthete serve "${CATALOG:?names no catalogue}" "$@"
