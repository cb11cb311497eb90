//! `--health` and `--test`: one request to a gateway that runs already.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use super::{ServeArgs, complain, say};

/// Sends the request to `--host` and `--port` and prints what came back.
pub(super) fn run(args: &ServeArgs) -> ExitCode {
    let host = if args.host == "0.0.0.0" {
        "127.0.0.1"
    } else {
        &args.host
    };
    let request = if args.health {
        get("/health")
    } else {
        chat(args.model.as_deref())
    };
    match exchange(host, args.port, &request) {
        Ok((status, body)) => {
            say(&body);
            if status == 200 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            complain(&format!(
                "error: no gateway answers on {host}:{}: {error}",
                args.port
            ));
            ExitCode::FAILURE
        }
    }
}

fn authorization() -> String {
    let key = ["LITELLM_MASTER_KEY", "PROXY_MASTER_KEY"]
        .iter()
        .find_map(|name| {
            std::env::var(name)
                .ok()
                .map(|key| format!("authorization: Bearer {key}\r\n"))
        });
    key.unwrap_or_default()
}

fn get(path: &str) -> String {
    let authorization = authorization();
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{authorization}\r\n")
}

fn chat(model: Option<&str>) -> String {
    let model = model.unwrap_or("demo");
    let body = serde_json::json!({"model": model,
        "messages": [{"role": "user", "content": "this is a test request, write a short poem"}]})
    .to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        authorization(),
        body.len()
    )
}

fn exchange(host: &str, port: u16, request: &str) -> std::io::Result<(u16, String)> {
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
    let mut stream = TcpStream::connect((host, port))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
