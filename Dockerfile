# The service on a CPU: no torch, no compiler, not root.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY crossfix crossfix
COPY service service
COPY training training
COPY index_builder index_builder
COPY sample_world sample_world
RUN python3 -m venv /opt/crossfix \
    && /opt/crossfix/bin/python -m pip install --no-cache-dir ".[cpu,serve,index]"

FROM ${PYTHON_IMAGE} AS serve
RUN useradd --system --uid 10001 --create-home crossfix
COPY --from=build /opt/crossfix /opt/crossfix
ENV PATH=/opt/crossfix/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CROSSFIX_ENCODER=/data/encoder \
    CROSSFIX_GALLERY=/data/gallery \
    CROSSFIX_HOST=0.0.0.0 \
    CROSSFIX_PORT=8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=30s \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python3", "-m", "service"]
