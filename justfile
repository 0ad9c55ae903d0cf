# `just check` is exactly what CI runs and never writes; `just fix` writes.

check:
    .ci/run

fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty

# The tests that build in seconds.
core:
    cargo test -p ha-core

# The main job on this machine.
demo:
    cargo run --release --bin ha-cli -- demo

# Our failover against keepalived + HAProxy, in namespaces of its own (root).
bench-failover *ARGS:
    cargo run --release -p ha-tests --bin bench-failover -- {{ARGS}}

# Our proxy against HAProxy, on loopback.
bench-proxy *ARGS:
    cargo run --release -p ha-tests --bin bench-proxy -- {{ARGS}}

simulate *ARGS:
    cargo run --release -p ha-simulations -- {{ARGS}}
