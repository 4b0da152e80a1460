# One image for the head, the workers, the job and the server: `make image` builds the target cpu, or DEVICE=gpu.
# Both targets have the bundled model docs-mini, and run as the user ray (uid 1000), as Ray's own images do.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What a node of a cluster needs beside Python: `ray up` copies files with rsync and starts workers over ssh, and the
# probes of KubeRay call wget.
FROM ${PYTHON_IMAGE} AS system
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008 # Debian keeps only the newest version of a package, so that a pinned one soon cannot be had
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates openssh-client procps rsync wget \
 && rm -rf /var/lib/apt/lists/*

# The packages of pyproject.toml in the versions of constraints.txt, without the project itself: this layer is built
# again only if one of the two files changes. boto3 is what Ray's autoscaler calls AWS with.
FROM system AS builder
ENV PATH=/opt/rerank/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_QUIET=1
WORKDIR /src
RUN python3 -m venv /opt/rerank
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; print("boto3", *tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    > requirements.txt

# The compiler is for the kernels; without one the wheel would be built without them.
FROM builder AS project
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY README.md LICENSE ./
COPY rerank rerank
COPY jobs jobs
COPY serve serve
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && python -c 'import glob, zipfile; assert "rerank_kernels" in str(zipfile.ZipFile(*glob.glob("/wheels/*")).namelist())'

FROM builder AS cpu-packages
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-deps --index-url "${CPU_INDEX}" --constraint constraints.txt torch \
 && pip install --constraint constraints.txt --requirement requirements.txt
RUN --mount=from=project,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl

# PyPI's torch brings the CUDA libraries; the driver comes from the machine (NVIDIA's container toolkit).
FROM builder AS gpu-packages
RUN pip install --constraint constraints.txt --requirement requirements.txt
RUN --mount=from=project,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl

FROM system AS runtime
# Shells that are started as login shells, as `ray up` and KubeRay do, set PATH anew.
RUN echo "export PATH=/opt/rerank/bin:\$PATH" > /etc/profile.d/rerank.sh \
 && useradd --uid 1000 --gid users --create-home --shell /bin/bash ray \
 && install --directory --owner ray --group users /home/ray/.ray
COPY constraints.txt /etc/rerank/
COPY serve/container.yaml /etc/rerank/serve.yaml
ENV PATH=/opt/rerank/bin:$PATH PYTHONUNBUFFERED=1 RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0
USER 1000:100
WORKDIR /home/ray
EXPOSE 8000
# For the server. Switch it off for other commands: `docker run --no-healthcheck …`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
  CMD ["wget", "--quiet", "--output-document=/dev/null", "http://127.0.0.1:8000/readyz"]
CMD ["serve", "run", "/etc/rerank/serve.yaml"]

FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /opt/rerank /opt/rerank

FROM runtime AS cpu
COPY --from=cpu-packages /opt/rerank /opt/rerank
