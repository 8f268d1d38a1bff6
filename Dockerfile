# CPU:  docker build -t smoothcse .
# CUDA: docker build -t smoothcse --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=demo,mcp,serve
WORKDIR /install
COPY constraints.txt ./
COPY container/install container/install
COPY --from=wheel /wheels /wheels
RUN sh container/install python /wheels/*.whl "$EXTRAS" "$TORCH_INDEX"

# Models from the Hub and the cache stay on the volume; the process owns nothing else.
RUN useradd --create-home --uid 1000 smoothcse && install -d -o smoothcse -g smoothcse /data
ENV HF_HOME=/data/huggingface SMOOTHCSE_CACHE=/data/cache
USER smoothcse
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["smoothcse"]
CMD ["serve", "packaged-minilm", "--index", "docs.index", "--host", "0.0.0.0"]
