//! Requests that are passed on in the provider's own dialect: below which path they go, with which credential.

use super::{Operation, Target};
use crate::error::GatewayError;

/// The way to a provider for requests that we do not read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// What stands in front of the rest of the path; no slash at its end.
    pub root: String,
    /// Headers with the credential; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Members of every query, without a mark in front.
    pub query: String,
}

impl Target {
    /// The way to the provider's own API, below its base without a version.
    pub fn way(&self) -> Result<Way, GatewayError> {
        let mut way = self.signed_way()?;
        let prefix = &self.base.prefix;
        let root = ["/v1beta", "/v1"]
            .iter()
            .find_map(|version| prefix.strip_suffix(version));
        way.root = root.unwrap_or(prefix).to_owned();
        if self.entry.name == "gemini" {
            // Where a key in the query is the custom.
            let key = way
                .headers
                .iter()
                .position(|(name, _)| name == "x-goog-api-key");
            if let Some(at) = key {
                let (_, key) = way.headers.remove(at);
                way.query = joined(&way.query, &format!("key={key}"));
            }
        }
        Ok(way)
    }

    /// The way to the resources of an OpenAI-style API; `None` for a provider that has no such API.
    pub fn resources(&self) -> Option<Way> {
        if !self.speaks(Operation::Responses) {
            return None;
        }
        let mut way = self.signed_way().ok()?;
        way.root = self.base.prefix.clone();
        if self.entry.name == "azure" {
            let route = self.route(Operation::Chat, false).ok()?;
            let (path, query) = route.path_and_query.split_once('?').unwrap_or_default();
            way.query = query.to_owned();
            if !way.root.ends_with("/openai") && path.contains("/openai/") {
                way.root.push_str("/openai");
            }
        }
        Some(way)
    }

    fn signed_way(&self) -> Result<Way, GatewayError> {
        let operations = [Operation::Messages, Operation::Chat, Operation::Embeddings];
        let routes = operations
            .iter()
            .map(|operation| self.route(*operation, false));
        let mut route = routes
            .reduce(Result::or)
            .unwrap_or_else(|| self.route(Operation::Chat, false))?;
        route.headers.retain(|(name, _)| name != "content-type");
        Ok(Way {
            root: String::new(),
            headers: route.headers,
            query: self.base.query.clone(),
        })
    }
}

impl Way {
    /// Path and query for the rest of a path and the client's query, which joins the way's own or takes its place.
    pub fn target(&self, rest: &str, query: &str, joins: bool) -> String {
        let path = format!("{}{rest}", self.root);
        let path = if path.is_empty() {
            "/".to_owned()
        } else {
            path
        };
        let query = match joins || query.is_empty() {
            true => joined(query, &self.query),
            false => query.to_owned(),
        };
        if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        }
    }
}

/// Two queries as one.
fn joined(one: &str, other: &str) -> String {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => other.to_owned(),
        (_, true) => one.to_owned(),
        _ => format!("{one}&{other}"),
    }
}
