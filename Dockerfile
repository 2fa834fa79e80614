# syntax=docker/dockerfile:1
# Highwater and data-gen in one small image:   docker build -t highwater .
# `highwater` is the entry point; the generator is `docker run --entrypoint data-gen highwater …`.

FROM rust:1.95-bookworm AS build
# librdkafka is compiled from source: cmake, and the headers of OpenSSL, curl and zlib.
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake libssl-dev libcurl4-openssl-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# Crates and compiled dependencies stay in BuildKit's caches between builds, hence the programs are copied out of `target`.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/usr/local/cargo/git \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --workspace --bins \
 && install -D -t /out target/release/highwater target/release/data-gen

FROM debian:12.12-slim
# curl is for compose/: it registers Debezium's connectors from this image.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/highwater highwater
COPY --from=build /out/highwater /out/data-gen /usr/local/bin/
COPY queries /opt/highwater/queries
WORKDIR /opt/highwater
# Checkpoints; a volume mounted here takes over the owner.
VOLUME /var/lib/highwater
USER highwater
# Both stop gracefully on SIGTERM, and Highwater writes a checkpoint first.
STOPSIGNAL SIGTERM
ENTRYPOINT ["highwater"]
CMD ["--help"]
