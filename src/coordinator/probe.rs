//! Health calls: the smallest request of its mode to each deployment, through our own front door, so
//! that what is tested is what serves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Control;
use crate::message::PROBE_HEADER;
use crate::snapshot::Deployment;

const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
/// Health calls that run at the same time.
const PROBES_MAX: usize = 32;

/// What a health call found.
pub struct Probed {
    /// The deployment's id.
    pub(super) id: String,
    pub(super) params: Value,
    /// Why the deployment did not answer.
    pub error: Option<String>,
    /// How long the call took.
    pub(super) took: Duration,
    /// The answer's status; 0 without one.
    pub(super) status: u16,
}

impl Probed {
    /// Whether the deployment is well; `None` when the call was refused for a limit or a cooldown,
    /// which says nothing of it.
    pub(super) fn verdict(&self) -> Option<bool> {
        match (&self.error, self.status) {
            (None, _) => Some(true),
            (Some(_), 429) => None,
            (Some(_), _) => Some(false),
        }
    }

    /// The deployment's parameters without secrets, and the error where there is one.
    pub fn into_json(self) -> Value {
        let mut value = self.params;
        if let (Some(map), Some(error)) = (value.as_object_mut(), self.error) {
            map.insert("error".into(), error.into());
        }
        value
    }
}

impl Control {
    /// Calls every deployment for which there is a small call, or those of group `only`.
    pub async fn probe_all(&self, only: Option<&str>) -> Vec<Probed> {
        let snapshot = self.snapshot();
        let mut results = Vec::new();
        let wanted: Vec<&Deployment> = snapshot
            .deployments
            .iter()
            .filter(|deployment| only.is_none_or(|group| deployment.group == group))
            .filter(|deployment| deployment.can_be_probed())
            .collect();
        for batch in wanted.chunks(PROBES_MAX) {
            let mut calls = tokio::task::JoinSet::new();
            for (at, deployment) in batch.iter().enumerate() {
                let (address, head) = (self.door(), self.head(deployment));
                let timeout = deployment.probe_timeout().unwrap_or(PROBE_TIMEOUT);
                calls.spawn(async move {
                    let began = Instant::now();
                    let found = call(address, head, timeout).await;
                    (at, began.elapsed(), found)
                });
            }
            let mut found: Vec<(usize, Duration, Result<(), Answer>)> = Vec::new();
            while let Some(Ok(result)) = calls.join_next().await {
                found.push(result);
            }
            found.sort_by_key(|(at, _, _)| *at);
            results.extend(found.into_iter().map(|(at, took, found)| {
                let mut params = batch[at].public_params.clone();
                params.insert("model_id".into(), batch[at].id.as_str().into());
                let (status, error) = match found {
                    Ok(()) => (200, None),
                    Err(answer) => (answer.status, Some(answer.error)),
                };
                Probed {
                    id: batch[at].id.clone(),
                    params: Value::Object(params),
                    error,
                    took,
                    status,
                }
            }));
        }
        results
    }

    fn door(&self) -> SocketAddr {
        let ip = match self.listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.listening.port())
    }

    fn head(&self, deployment: &Deployment) -> Vec<u8> {
        let (path, mut body) = minimal(&deployment.id, &deployment.model_info);
        // It is about this deployment: nobody else may answer for it.
        body["num_retries"] = 0.into();
        body["disable_fallbacks"] = true.into();
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{PROBE_HEADER}: {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.probe_token,
            body.len()
        )
        .into_bytes()
    }
}

/// The path and body of the smallest request of a deployment's mode.
fn minimal(id: &str, info: &Map<String, Value>) -> (&'static str, Value) {
    match info.get("mode").and_then(Value::as_str).unwrap_or("chat") {
        "completion" => (
            "/v1/completions",
            json!({"model": id, "prompt": "hi", "max_tokens": 1}),
        ),
        "embedding" => ("/v1/embeddings", json!({"model": id, "input": ["hi"]})),
        "moderation" => ("/v1/moderations", json!({"model": id, "input": "hi"})),
        "image_generation" => (
            "/v1/images/generations",
            json!({"model": id, "prompt": "a dot"}),
        ),
        "rerank" => (
            "/v1/rerank",
            json!({"model": id, "query": "a", "documents": ["a"]}),
        ),
        "audio_speech" => (
            "/v1/audio/speech",
            json!({"model": id, "input": "hi", "voice": "alloy"}),
        ),
        _ => {
            let messages = json!([{"role": "user", "content": "hi"}]);
            (
                "/v1/chat/completions",
                json!({"model": id, "messages": messages, "max_tokens": 1}),
            )
        }
    }
}

/// An answer that is none.
struct Answer {
    status: u16,
    error: String,
}

async fn call(address: SocketAddr, request: Vec<u8>, timeout: Duration) -> Result<(), Answer> {
    let failed = |error| Answer { status: 0, error };
    match tokio::time::timeout(timeout, exchange(address, request)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!(
            "no answer within {} s",
            timeout.as_secs_f64()
        ))),
    }
}

/// The error of the answer, where it is not a 200.
async fn exchange(address: SocketAddr, request: Vec<u8>) -> std::io::Result<Result<(), Answer>> {
    const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    if status == 200 {
        return Ok(Ok(()));
    }
    let body = text.split_once("\r\n\r\n").map_or(&*text, |(_, body)| body);
    let message = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|body| Some(body.get("error")?.get("message")?.as_str()?.to_owned()));
    let error = message.unwrap_or_else(|| body.chars().take(500).collect());
    Ok(Err(Answer { status, error }))
}
