//! The paths that shards serve themselves, for the OpenAPI document.

use super::ENDPOINTS;
use super::resource::FAMILIES;

/// A path, how it is called, and what it is.
pub struct Served {
    /// As OpenAPI writes it: `/engines/{model}/embeddings`.
    pub path: String,
    /// `GET`, `POST`, ...
    pub methods: &'static [&'static str],
    /// A sentence.
    pub says: String,
}

fn served(path: String, methods: &'static [&'static str], says: impl Into<String>) -> Served {
    let says = says.into();
    Served {
        path,
        methods,
        says,
    }
}

/// All of them. The APIs of providers that are passed on stand for all that is below their path.
pub fn documented() -> Vec<Served> {
    const POST: &[&str] = &["POST"];
    const GET: &[&str] = &["GET"];
    const ANY: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
    let mut all = Vec::new();
    for entry in ENDPOINTS {
        let suffix = entry.suffix;
        let heads = ["/v1/", "/", "/openai/v1/"].into_iter();
        let named = ["/engines/{model}/", "/openai/deployments/{model}/"];
        for head in heads.chain(named) {
            let says = format!("A call of {suffix}.");
            all.push(served(format!("{head}{suffix}"), POST, says));
        }
    }
    all.push(served("/v2/rerank".to_owned(), POST, "A call of rerank."));
    for verb in ["generateContent", "streamGenerateContent", "countTokens"] {
        for head in ["/v1beta", "/v1", "/v1alpha", ""] {
            let path = format!("{head}/models/{{model}}:{verb}");
            all.push(served(path, POST, format!("Google's {verb}.")));
        }
    }
    for (name, _) in FAMILIES {
        for head in ["/v1", ""] {
            let says = format!("{name} at the provider whose settings are configured.");
            // A call of its own stands at `/responses`.
            if *name != "responses" {
                all.push(served(
                    format!("{head}/{name}"),
                    &["GET", "POST"],
                    says.clone(),
                ));
            }
            all.push(served(format!("{head}/{name}/{{rest}}"), ANY, says));
        }
    }
    for path in crate::snapshot::passed_on() {
        let says = "Passed on to the provider, with the gateway's credential.";
        all.push(served(format!("{path}/{{endpoint}}"), ANY, says));
    }
    for path in ["/health/liveliness", "/health/liveness"] {
        all.push(served(path.to_owned(), GET, "The process is there."));
    }
    let says = "Ready to serve, or draining.";
    all.push(served("/health/readiness".to_owned(), GET, says));
    all
}
