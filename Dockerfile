# Latchkey as an image: one binary on what it needs to start, run by an ordinary user.
#
#     docker build --tag latchkey .
#     docker run --publish 127.0.0.1:8080:8080 --volume latchkey:/var/lib/latchkey \
#         --volume ./secret:/run/secrets/latchkey:ro \
#         --env LATCHKEY_SERVER__PUBLIC_URL=https://auth.example.com latchkey
#
# docs/deployment.md says how the secret is made, and goes on from there. podman and buildah read this file as
# well, and Docker does with BuildKit or without. Where no registry can be reached, BUILDER and RUNTIME name
# images that are there: tests/image makes such ones from Debian's packages.
ARG BUILDER=docker.io/library/rust:1.95-slim-bookworm
# glibc, libgcc, root certificates, and no shell.
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS builder
WORKDIR /build

# The dependencies take minutes, and change seldom: a layer of their own, for an empty crate that has them.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/parts tests/e2e \
    && echo 'fn main() {}' | tee src/main.rs benches/memory.rs benches/pages.rs benches/parts/main.rs \
        >tests/e2e/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin latchkey \
    && rm -r src benches tests

COPY . .
# Their files may be older than those of the empty crate, which cargo would then take for newer.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin latchkey \
    && mkdir -p /image/usr/local/bin /image/var/lib/latchkey \
    && cp target/release/latchkey /image/usr/local/bin/

FROM ${RUNTIME}
COPY --from=builder /image/usr /usr
# A new volume takes its owner from here.
COPY --from=builder --chown=10001:10001 /image/var/lib/latchkey /var/lib/latchkey

# By number, so that a cluster sees that it is not root.
USER 10001:10001
# The default store, sqlite:latchkey.db, lies here unless a configuration file says otherwise, and so do pictures.
# Nothing else is ever written: the root filesystem may be read-only.
WORKDIR /var/lib/latchkey
VOLUME /var/lib/latchkey
# Loopback would not be reachable from outside the container.
ENV LATCHKEY_SERVER__LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/local/bin/latchkey", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/latchkey"]
CMD ["serve"]

# At the end: they differ with each build.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Latchkey" \
    org.opencontainers.image.description="A self-hosted auth server: sign-in with any OpenID Connect provider, identities that you own" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
