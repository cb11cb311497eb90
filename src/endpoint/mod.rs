//! Which path means what: the table of endpoints and the aliases LiteLLM answers to.
//!
//! Every LLM endpoint exists with and without `/v1`, under `/engines/{model}/...` and under
//! `/openai/deployments/{model}/...` (the model may contain slashes). Paths that a shard does not
//! serve itself go to the coordinator's admin API.

mod documented;
pub mod resource;

pub use documented::documented;

use crate::provider::Operation;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An LLM call. The model may stand in the path.
    Call(Operation, Option<String>),
    /// A call of Google's API: what is asked stands behind the model in the path.
    Google(Verb, String),
    /// `"I'm alive!"`.
    Alive,
    /// Ready to serve, or draining.
    Ready,
    /// Everything else: the coordinator answers.
    Admin,
}

/// What Google's API asks of a model: the word behind the colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `:generateContent`
    Generate,
    /// `:streamGenerateContent`
    Stream,
    /// `:countTokens`
    Count,
}

impl Verb {
    /// The operation that it is.
    pub const fn operation(self) -> Operation {
        match self {
            Self::Generate | Self::Stream => Operation::GenerateContent,
            Self::Count => Operation::GenerateCount,
        }
    }
}

/// One LLM endpoint: what follows the version, and what it asks for.
struct Entry {
    suffix: &'static str,
    operation: Operation,
}

const fn entry(suffix: &'static str, operation: Operation) -> Entry {
    Entry { suffix, operation }
}

/// Sorted by suffix.
const ENDPOINTS: &[Entry] = &[
    entry("audio/speech", Operation::Speech),
    entry("audio/transcriptions", Operation::Transcription),
    entry("audio/translations", Operation::Translation),
    entry("chat/completions", Operation::Chat),
    entry("completions", Operation::Completions),
    entry("embeddings", Operation::Embeddings),
    entry("images/edits", Operation::ImageEdit),
    entry("images/generations", Operation::ImageGeneration),
    entry("images/variations", Operation::ImageVariation),
    entry("messages", Operation::Messages),
    entry("messages/count_tokens", Operation::MessagesCount),
    entry("moderations", Operation::Moderation),
    entry("rerank", Operation::Rerank),
    entry("responses", Operation::Responses),
];

/// Prefixes under which every endpoint is served; the empty one is the endpoint alone.
const PREFIXES: &[&str] = &["v1/", "", "openai/v1/", "v2/"];

/// What `path` asks for. `root` is a prefix of all paths (SERVER_ROOT_PATH), without a slash at its
/// end; empty for none.
pub fn of(path: &str, root: &str) -> Endpoint {
    let path = without_root(path, root);
    let rest = path.strip_prefix('/').unwrap_or(path);
    match rest {
        "health/liveliness" | "health/liveness" => return Endpoint::Alive,
        "health/readiness" => return Endpoint::Ready,
        _ => {}
    }
    for prefix in PREFIXES {
        let Some(rest) = rest.strip_prefix(prefix) else {
            continue;
        };
        // `/v2/` is Cohere's spelling of rerank and of nothing else.
        if let Some(operation) = operation(rest)
            && (*prefix != "v2/" || operation == Operation::Rerank)
        {
            return Endpoint::Call(operation, None);
        }
    }
    with_model(rest)
        .or_else(|| google(rest))
        .unwrap_or(Endpoint::Admin)
}

/// `v1beta/models/{model}:verb`, and the same with the other versions and without one. A model may have slashes.
fn google(rest: &str) -> Option<Endpoint> {
    const VERSIONS: [&str; 3] = ["v1beta/", "v1/", "v1alpha/"];
    let version = VERSIONS
        .iter()
        .find_map(|version| rest.strip_prefix(version));
    let rest = version.unwrap_or(rest);
    let (model, verb) = rest.strip_prefix("models/")?.rsplit_once(':')?;
    let verb = match verb {
        "generateContent" => Verb::Generate,
        "streamGenerateContent" => Verb::Stream,
        "countTokens" => Verb::Count,
        _ => return None,
    };
    (!model.is_empty()).then(|| Endpoint::Google(verb, percent_decoded(model)))
}

/// `path` below the root.
pub fn without_root<'a>(path: &'a str, root: &str) -> &'a str {
    match path.strip_prefix(root) {
        Some(rest) if !root.is_empty() && rest.starts_with('/') => rest,
        _ => path,
    }
}

fn operation(suffix: &str) -> Option<Operation> {
    let found = ENDPOINTS
        .binary_search_by(|entry| entry.suffix.cmp(suffix))
        .ok()?;
    Some(ENDPOINTS[found].operation)
}

/// `engines/{model}/...` and `openai/deployments/{model}/...`, with and without `v1/`.
fn with_model(rest: &str) -> Option<Endpoint> {
    let rest = rest.strip_prefix("v1/").unwrap_or(rest);
    let rest = ["engines/", "openai/deployments/"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    // The longest suffix wins: `m/chat/completions` is a chat call, not one for a model `m/chat`.
    let found = ENDPOINTS
        .iter()
        .filter(|entry| {
            rest.strip_suffix(entry.suffix)
                .is_some_and(|m| m.len() > 1 && m.ends_with('/'))
        })
        .max_by_key(|entry| entry.suffix.len())?;
    let model = &rest[..rest.len() - found.suffix.len() - 1];
    Some(Endpoint::Call(
        found.operation,
        Some(percent_decoded(model)),
    ))
}

/// Decodes `%xx`; what is not a valid escape stays as it is. (An encoded slash was refused before.)
pub fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Endpoint) {
        assert_eq!(of(path, ""), expected, "{path}");
    }

    fn call(operation: Operation) -> Endpoint {
        Endpoint::Call(operation, None)
    }

    fn named(operation: Operation, model: &str) -> Endpoint {
        Endpoint::Call(operation, Some(model.to_owned()))
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(ENDPOINTS.is_sorted_by_key(|entry| entry.suffix));
    }

    #[test]
    fn every_endpoint_with_and_without_version() {
        for entry in ENDPOINTS {
            check(&format!("/v1/{}", entry.suffix), call(entry.operation));
            check(&format!("/{}", entry.suffix), call(entry.operation));
            let deployment = format!("/openai/deployments/a/b/{}", entry.suffix);
            check(&deployment, named(entry.operation, "a/b"));
        }
    }

    #[test]
    fn models_in_paths() {
        check("/engines/m/chat/completions", named(Operation::Chat, "m"));
        check("/engines/m/completions", named(Operation::Completions, "m"));
        check(
            "/engines/a%20b/embeddings",
            named(Operation::Embeddings, "a b"),
        );
        check("/engines//completions", Endpoint::Admin);
    }

    #[test]
    fn google_says_what_it_wants_behind_the_model() {
        let asked = |verb, model: &str| Endpoint::Google(verb, model.to_owned());
        check(
            "/v1beta/models/m:generateContent",
            asked(Verb::Generate, "m"),
        );
        check(
            "/models/a/b:streamGenerateContent",
            asked(Verb::Stream, "a/b"),
        );
        check("/v1beta/models/m:x:countTokens", asked(Verb::Count, "m:x"));
        check("/v1/models/m:countTokens", asked(Verb::Count, "m"));
        check("/v1/models/m", Endpoint::Admin);
        check("/v1beta/models/:countTokens", Endpoint::Admin);
        check("/v1beta/models/m:batchEmbedContents", Endpoint::Admin);
    }

    #[test]
    fn the_rest_is_the_admin_api() {
        check("/v2/rerank", call(Operation::Rerank));
        check("/v2/chat/completions", Endpoint::Admin);
        check("/key/generate", Endpoint::Admin);
        check("/", Endpoint::Admin);
        check("/health/liveness", Endpoint::Alive);
        check("/health/readiness", Endpoint::Ready);
    }

    #[test]
    fn a_root_path_is_taken_off() {
        assert_eq!(
            of("/llm/v1/embeddings", "/llm"),
            call(Operation::Embeddings)
        );
        assert_eq!(of("/llmx/v1/embeddings", "/llm"), Endpoint::Admin);
    }
}
