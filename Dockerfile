# The server in an image: one binary, an ordinary user, nothing else.
#
#     docker build -t latchkey .
#     docker run -p 8080:8080 -v latchkey:/var/lib/latchkey \
#         -e LATCHKEY_SERVER__PUBLIC_URL=https://auth.example.com \
#         -e LATCHKEY_SERVER__SECRET_KEY="$SECRET" latchkey
#
# A configuration file can be mounted at /etc/latchkey/latchkey.toml.
ARG BUILDER=rust:1.95-slim-bookworm
ARG RUNTIME=debian:bookworm-slim

FROM ${BUILDER} AS builder
WORKDIR /build
COPY . .
RUN cargo build --release --locked

FROM ${RUNTIME}
# Root certificates: providers and databases are asked over TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/latchkey --create-home latchkey
COPY --from=builder /build/target/release/latchkey /usr/local/bin/latchkey

USER latchkey
# The default store, sqlite:latchkey.db, lies here unless a configuration file says otherwise.
WORKDIR /var/lib/latchkey
VOLUME /var/lib/latchkey
# Loopback would not be reachable from outside the container.
ENV LATCHKEY_SERVER__LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["latchkey", "healthcheck"]
ENTRYPOINT ["latchkey"]
CMD ["serve"]
