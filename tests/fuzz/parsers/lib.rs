//! The parsers of `io/`, from their own source files. With the rest of it, its runtime and TLS would be built
//! with the sanitizer and then not be fuzzed.

/// HTTP/1.1 without its connection loops.
#[path = "../../../io/src/http1"]
pub mod http1 {
    pub mod body;
    pub mod encode;
    pub mod head;
    mod target;
}

#[path = "../../../io/src/quoted.rs"]
pub mod quoted;
#[path = "../../../io/src/sse.rs"]
pub mod sse;
