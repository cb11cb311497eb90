# What the README tells people to type. Each target installs what it needs where it can, or says
# which line to type.
PORT ?= 4000
CONFIG ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: run test bench check e2e golden

# Builds, then serves the embedded demo model (no key needed), or CONFIG=file.
run: toolchain
	cargo build --release --bin shardgate
	@echo
	@echo "Try it from another terminal:"
	@echo "  curl http://127.0.0.1:$(PORT)/v1/chat/completions -H 'content-type: application/json' \\"
	@echo "    -d '{\"model\": \"demo\", \"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}'"
	@echo
	$(TARGET)/release/shardgate $(if $(CONFIG),--config $(CONFIG),demo) --port $(PORT)

# Everything CI runs; ends with "N passed, N failed".
test: toolchain python
	@tests/stages

# CPU per request and per streamed event beside nginx and haproxy, on one pinned core.
bench: toolchain
	@bench/run

# The quick half of `make test`: formatting, lints, our own rules.
check: toolchain
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --test tidy

# One driver's end-to-end suite against the release binary: make e2e DRIVER=epoll.
DRIVER ?= uring
e2e: toolchain python
	cargo build --release --bin shardgate
	tests/e2e/run --driver $(DRIVER)

# The recorded answers of LiteLLM, replayed.
golden: toolchain python
	cargo build --release --bin shardgate
	tests/e2e/run --golden

.PHONY: toolchain python
toolchain:
	@command -v cargo >/dev/null || { echo "Rust is missing; type: apt-get install rustup && rustup default stable"; exit 1; }
	@command -v cc >/dev/null && command -v cmake >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qy build-essential cmake >/dev/null; } || { echo "a C compiler and cmake are missing; type: sudo apt-get install build-essential cmake"; exit 1; }

python:
	@python3 -c 'import venv, ensurepip' 2>/dev/null && command -v npm >/dev/null && command -v openssl >/dev/null && command -v strace >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qy python3-venv nodejs npm openssl strace >/dev/null; } || echo "for the end-to-end suite type: sudo apt-get install python3-venv nodejs npm openssl strace"
