# A catalogue as a service: docker build -t synesthete . && docker run -v ./my.catalog:/data/catalog -p 8765:8765 ... (docs/service.md)
FROM python:3.13-slim

# Such as --extra-index-url of PyTorch's builds for the CPU, which are a tenth of the size.
ARG PIP_OPTIONS=""
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir $PIP_OPTIONS ".[catalog,serve]"
COPY tools/serve.sh tools/serve.sh

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin synesthete \
    && install -d -o synesthete -g synesthete -m 700 /data /home/synesthete
USER synesthete
ENV HOME=/home/synesthete CATALOG=/data/catalog HOST=0.0.0.0 PORT=8765
VOLUME /data
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=3)"]
ENTRYPOINT ["sh", "/app/tools/serve.sh"]
