# syntax=docker/dockerfile:1
# Two stages: one that installs and builds, one that runs. No compiler is needed in either: every dependency comes
# as a wheel, PostgreSQL included. It listens for others, and so does not start without FHIRHUB_BASE_URL=https://…, and
# wants FHIRHUB_TLS_CERT and FHIRHUB_TLS_KEY or a proxy that does TLS: see compose.yaml.

FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/fhirhub
COPY requirements/run.txt requirements/run.txt
RUN /opt/fhirhub/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY capability capability
COPY migrations migrations
COPY src src
RUN python -m venv /opt/build \
 && /opt/build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
 && /opt/fhirhub/bin/pip install --no-cache-dir --no-deps /dist/*.whl \
 && /opt/fhirhub/bin/python -m compileall -q /opt/fhirhub/lib

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/fhirhub --create-home --shell /usr/sbin/nologin fhirhub
COPY --from=build /opt/fhirhub /opt/fhirhub
ENV PATH=/opt/fhirhub/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FHIRHUB_HOST=0.0.0.0 \
    FHIRHUB_DATA_DIR=/var/lib/fhirhub/data \
    FHIRHUB_LOG_FORMAT=json
USER fhirhub
WORKDIR /var/lib/fhirhub
VOLUME /var/lib/fhirhub
EXPOSE 8080
STOPSIGNAL SIGTERM
# The certificate is made for the name that callers use, not for this address.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import os, ssl, urllib.request as u; e = os.environ.get; u.urlopen(f\"{'https' if e('FHIRHUB_TLS_CERT') else 'http'}://127.0.0.1:{e('FHIRHUB_PORT', '8080')}/readyz\", timeout=2, context=ssl._create_unverified_context())"]
ENTRYPOINT ["fhirhub"]
CMD ["serve"]
