//! Calls of a running gateway's management API from the terminal, and their answers as tables.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::{complain, say};
use crate::coordinator::web::{Ask, Web};

/// Which gateway, and by which key.
#[derive(clap::Args, Debug, Clone)]
pub(super) struct Gateway {
    /// Where the gateway answers.
    #[arg(
        long,
        global = true,
        env = "SHARDGATE_URL",
        default_value = "http://127.0.0.1:4000"
    )]
    url: String,
    /// The master key, or an admin's; LITELLM_MASTER_KEY serves too.
    #[arg(
        long = "api-key",
        global = true,
        env = "SHARDGATE_API_KEY",
        hide_env_values = true
    )]
    api_key: Option<String>,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
}

/// One request.
pub(super) struct Request {
    pub method: &'static str,
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Map<String, Value>>,
}

impl Request {
    /// `GET path`.
    pub(super) fn get(path: impl Into<String>) -> Request {
        Request {
            method: "GET",
            path: path.into(),
            query: Vec::new(),
            body: None,
        }
    }

    /// `POST path`.
    pub(super) fn post(path: impl Into<String>, body: Map<String, Value>) -> Request {
        Request {
            method: "POST",
            path: path.into(),
            query: Vec::new(),
            body: Some(body),
        }
    }

    /// One more parameter, where it has a value.
    pub(super) fn with(mut self, name: &'static str, value: Option<&str>) -> Request {
        self.query
            .extend(value.map(|value| (name, value.to_owned())));
        self
    }
}

/// A column of a table: its heading, and where its value is: `info.spend`.
pub(super) type Column = (&'static str, &'static str);

/// How an answer is shown.
pub(super) enum Show {
    /// The list that stands there in the answer (the answer itself for `""`), a row each.
    List(&'static str, &'static [Column]),
    /// One thing, a line for each column.
    One(&'static [Column]),
    /// Just this sentence.
    Done(String),
}

/// Sends a request and prints what came back; exit code 0, or 1 with the reason.
pub(super) fn run(gateway: &Gateway, request: &Request, show: &Show) -> ExitCode {
    let answer = match call(gateway, request) {
        Ok(answer) => answer,
        Err(why) => {
            complain(&format!("error: {why}"));
            return ExitCode::FAILURE;
        }
    };
    if gateway.json {
        say(&format!("{answer:#}"));
        return ExitCode::SUCCESS;
    }
    match show {
        Show::Done(sentence) => say(sentence),
        Show::One(columns) => {
            let rows: Vec<Vec<String>> = columns
                .iter()
                .map(|(heading, at)| vec![(*heading).to_owned(), shown(find(&answer, at))])
                .collect();
            table(&[], &rows);
        }
        Show::List(at, columns) => {
            let list = find(&answer, at).as_array().cloned().unwrap_or_default();
            let row = |one: &Value| columns.iter().map(|(_, at)| shown(find(one, at))).collect();
            let rows: Vec<Vec<String>> = list.iter().map(row).collect();
            let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
            table(&headings, &rows);
        }
    }
    ExitCode::SUCCESS
}

fn call(gateway: &Gateway, request: &Request) -> Result<Value, String> {
    let key = gateway.api_key.clone();
    let key = key.or_else(|| std::env::var("LITELLM_MASTER_KEY").ok());
    let key =
        key.ok_or("no key: give --api-key, or set SHARDGATE_API_KEY or LITELLM_MASTER_KEY")?;
    let authorization = format!("Bearer {key}");
    let mut url = format!("{}{}", gateway.url.trim_end_matches('/'), request.path);
    for (at, (name, value)) in request.query.iter().enumerate() {
        let joint = if at == 0 { '?' } else { '&' };
        url.push_str(&format!("{joint}{name}={}", escaped(value)));
    }
    let body = request
        .body
        .as_ref()
        .map(|body| Value::Object(body.clone()).to_string());
    let ask = Ask {
        method: request.method,
        url: &url,
        headers: &[
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ],
        body: body.as_deref().unwrap_or_default().as_bytes(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let reply = runtime
        .block_on(async { Web::new().map_err(std::io::Error::other)?.call(&ask).await })
        .map_err(|error| format!("no gateway answers at {}: {error}", gateway.url))?;
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if reply.status == 200 {
        return Ok(answer);
    }
    let said = answer["error"]["message"]
        .as_str()
        .or(answer["detail"].as_str());
    Err(format!(
        "{} ({})",
        said.unwrap_or("the gateway refused"),
        reply.status
    ))
}

/// A text as a path's or a query's part.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What stands at `a.b` of a value; the value itself for the empty path.
fn find<'a>(value: &'a Value, at: &str) -> &'a Value {
    at.split('.')
        .filter(|part| !part.is_empty())
        .fold(value, |value, part| &value[part])
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Number(number) if number.is_f64() => {
            let text = format!("{:.6}", number.as_f64().unwrap_or_default());
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        other => other.to_string(),
    }
}

/// Prints rows with their columns in line.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let heading: Vec<String> = headings.iter().map(|name| (*name).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heading)
        .filter(|heading| !heading.is_empty())
        .chain(rows)
        .collect();
    let columns = all.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in all {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        say(line.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_short() {
        assert_eq!(shown(&json!(0.25)), "0.25");
        assert_eq!(shown(&json!(3.0)), "3");
        assert_eq!(shown(&json!(["a", "b"])), "a, b");
        assert_eq!(
            shown(find(&json!({"info": {"spend": null}}), "info.spend")),
            "-"
        );
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
