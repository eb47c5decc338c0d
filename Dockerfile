# One Dockerfile, five images: serve, serve-gpu, ray, index, train. docs/containers.md is the guide.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Installs for others; of this stage only the empty environment /opt/crossfix is ever shipped.
FROM ${PYTHON_IMAGE} AS tools
ARG PIP_VERSION=26.3
ARG SETUPTOOLS_VERSION=84.2.1
COPY deploy/containers/install.sh deploy/containers/requirements_of.py /opt/
RUN --mount=type=secret,id=pip_config,target=/etc/pip.conf \
    --mount=type=secret,id=pip_certificates,target=/etc/pip-certificates.pem \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/python -m pip install --no-cache-dir \
      "pip==${PIP_VERSION}" "setuptools==${SETUPTOOLS_VERSION}" \
    && python3 -m venv --without-pip /opt/crossfix

# What each image needs, as text: a change of pyproject.toml that changes none of it rebuilds none.
FROM tools AS requirements
WORKDIR /requirements
COPY pyproject.toml ./
RUN python3 /opt/requirements_of.py pyproject.toml cpu serve index otel > serve.txt \
    && python3 /opt/requirements_of.py pyproject.toml gpu serve index otel > serve-gpu.txt \
    && python3 /opt/requirements_of.py pyproject.toml cpu serve index otel ray > ray.txt \
    && python3 /opt/requirements_of.py pyproject.toml cpu index > index.txt \
    && python3 /opt/requirements_of.py pyproject.toml cpu train > train.txt

FROM tools AS serve-packages
COPY constraints/serve.txt /opt/constraints.txt
COPY --from=requirements /requirements/serve.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip_config,target=/etc/pip.conf \
    --mount=type=secret,id=pip_certificates,target=/etc/pip-certificates.pem \
    sh /opt/install.sh

FROM tools AS serve-gpu-packages
COPY constraints/serve-gpu.txt /opt/constraints.txt
COPY --from=requirements /requirements/serve-gpu.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip_config,target=/etc/pip.conf \
    --mount=type=secret,id=pip_certificates,target=/etc/pip-certificates.pem \
    sh /opt/install.sh
# ONNX Runtime looks for CUDA where the loader looks, which is not where wheels put it.
RUN mkdir /opt/crossfix/cuda \
    && find /opt/crossfix/lib -path '*/nvidia/*' -name '*.so*' -exec ln -s -t /opt/crossfix/cuda {} +

FROM tools AS ray-packages
COPY constraints/ray.txt /opt/constraints.txt
COPY --from=requirements /requirements/ray.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip_config,target=/etc/pip.conf \
    --mount=type=secret,id=pip_certificates,target=/etc/pip-certificates.pem \
    sh /opt/install.sh

FROM tools AS index-packages
COPY constraints/index.txt /opt/constraints.txt
COPY --from=requirements /requirements/index.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip_config,target=/etc/pip.conf \
    --mount=type=secret,id=pip_certificates,target=/etc/pip-certificates.pem \
    sh /opt/install.sh

FROM tools AS train-packages
COPY constraints/train.txt /opt/constraints.txt
COPY --from=requirements /requirements/train.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip_config,target=/etc/pip.conf \
    --mount=type=secret,id=pip_certificates,target=/etc/pip-certificates.pem \
    sh /opt/install.sh

# Our own code, in a folder and so in a layer of its own: a change of it moves no other layer.
FROM tools AS code
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE THIRD_PARTY_LICENCES.md ./
COPY crossfix crossfix
COPY index_builder index_builder
COPY sample_world sample_world
COPY service service
COPY training training
RUN /opt/tools/bin/python -m pip install --no-cache-dir --no-index --no-deps --no-build-isolation \
      --target /opt/code . \
    && cp THIRD_PARTY_LICENCES.md /opt/code/crossfix-*.dist-info/licenses/

# rasterio's wheels need libexpat, which python:3.11-slim lost in 2024; a Debian base has it.
# Named volumes take the owner of the folder they are first mounted on, so 10001 owns these.
FROM ${PYTHON_IMAGE} AS runtime
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ctypes; ctypes.CDLL("libexpat.so.1")' 2> /dev/null; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends libexpat1 \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
    && groupadd --gid 10001 crossfix \
    && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /tmp crossfix \
    && mkdir -p /data/encoder /data/gallery /data/keys /data/runs \
    && chown -R 10001:10001 /data
# Home is /tmp: Ray writes a token there, and a read-only root or another user id allows no other.
# Safe path: nothing is imported from a mounted folder that happens to be the current one.
# ONNX Runtime's wheels (1.31) report its use to their maker unless this is set before it is loaded.
ENV PATH=/opt/crossfix/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    ORT_DISABLE_TELEMETRY=1
LABEL org.opencontainers.image.vendor="Crossfix" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /data
USER 10001:10001

FROM runtime AS service-runtime
ENV CROSSFIX_ENCODER=/data/encoder \
    CROSSFIX_GALLERY=/data/gallery \
    CROSSFIX_HOST=0.0.0.0 \
    CROSSFIX_PORT=8000
COPY deploy/containers/healthcheck.py /opt/healthcheck.py
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-I", "-S", "/opt/healthcheck.py"]
ENTRYPOINT ["python3", "-m", "service"]

FROM service-runtime AS serve-gpu
LABEL org.opencontainers.image.title="crossfix-serve-gpu" \
      org.opencontainers.image.description="Locates photos; encoder and index on NVIDIA GPUs, CUDA 13"
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/opt/crossfix/cuda
COPY --from=serve-gpu-packages /opt/crossfix /opt/crossfix
COPY --from=code /opt/code /opt/code

FROM service-runtime AS ray
LABEL org.opencontainers.image.title="crossfix-ray" \
      org.opencontainers.image.description="Locates photos in a gallery whose shards Ray places over machines"
ENV CROSSFIX_ENGINE=ray \
    RAY_USAGE_STATS_ENABLED=0
COPY --from=ray-packages /opt/crossfix /opt/crossfix
COPY --from=code /opt/code /opt/code

FROM runtime AS index
LABEL org.opencontainers.image.title="crossfix-index" \
      org.opencontainers.image.description="Makes galleries from imagery"
COPY --from=index-packages /opt/crossfix /opt/crossfix
COPY --from=code /opt/code /opt/code
ENTRYPOINT ["python3", "-m", "index_builder"]

FROM runtime AS train
LABEL org.opencontainers.image.title="crossfix-train" \
      org.opencontainers.image.description="Trains encoders"
COPY --from=train-packages /opt/crossfix /opt/crossfix
COPY --from=code /opt/code /opt/code
ENTRYPOINT ["python3", "-m", "training"]

# Last, so that a build that names no target makes the usual one.
FROM service-runtime AS serve
LABEL org.opencontainers.image.title="crossfix-serve" \
      org.opencontainers.image.description="Locates photos; on CPUs"
COPY --from=serve-packages /opt/crossfix /opt/crossfix
COPY --from=code /opt/code /opt/code
