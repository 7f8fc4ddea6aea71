"""An S3 server of this machine for the tests, which refuses to write what is there when it is asked to, as S3 does."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

BUCKET = "shop-bucket"
SECRET = "not-to-be-written-down"


@contextmanager
def s3_server() -> Iterator[str]:
    """Its URL; it has one bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        started = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/").read()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() - started < 120
                time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")).read()
        yield url
    finally:
        process.terminate()
        process.wait()


def s3_environment(server: str) -> Mapping[str, str]:
    """What says how to reach it."""
    return {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_ALLOW_HTTP": "true",
    }
