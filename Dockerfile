# The image of the control plane: the `federation` binary and nothing to log in to.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin federation

# The same Debian as above, for its C library. Runs as user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/federation /usr/local/bin/federation
ENTRYPOINT ["/usr/local/bin/federation"]
