//! Texts of calls (`store_prompts_in_spend_logs`): put into their rows once those are there. What waits is
//! bounded; a process that dies loses the texts of its last seconds, never a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Control;
use crate::dialect::foreign::Observer;
use crate::log;
use crate::message::CallTexts;
use crate::store::{Command, Row, Table};

/// Bytes of texts that wait for their rows.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Letters of one text that are stored; of a longer one the first and the last are, as LiteLLM has it.
const LETTERS_MAX: usize = 100_000;
/// Fields of a request that are credentials.
const SECRET: [&str; 4] = [
    "api_key",
    "aws_secret_access_key",
    "aws_session_token",
    "vertex_credentials",
];

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Puts texts into their row, within some minutes or not at all.
pub(super) async fn store(control: Arc<Control>, texts: Box<CallTexts>) {
    const TRIES: u32 = 60;
    let size = texts.asked.len() + texts.answered.len();
    if WAITING.fetch_add(size, Ordering::AcqRel) + size > WAITING_BYTES_MAX {
        WAITING.fetch_sub(size, Ordering::AcqRel);
        log!(control.log, Warn, "texts_left_out", id = texts.call_id);
        return;
    }
    let changes = columns(&texts.asked, &texts.answered);
    let pause = Duration::from_millis(500);
    for _ in 0..TRIES {
        if let Some(row) = row_of(&control, &texts).await {
            let update = Command::Update(Table::SPEND_LOGS, vec![row], changes.clone());
            if control.desk().directory.store.rows(update).await.is_ok() {
                break;
            }
        }
        tokio::time::sleep(pause).await;
    }
    WAITING.fetch_sub(size, Ordering::AcqRel);
}

/// The name of the call's row, once it is there. An upstream may give one id to several calls.
async fn row_of(control: &Control, texts: &CallTexts) -> Option<String> {
    for name in &texts.rows {
        let found = control
            .desk()
            .directory
            .store
            .get(Table::SPEND_LOGS, &[name])
            .await;
        let row = found.ok().flatten();
        let is_its = row.is_some_and(|row| {
            row.get("litellm_call_id").and_then(Value::as_str) == Some(&texts.call_id)
        });
        if is_its {
            return Some(name.clone());
        }
    }
    None
}

/// The columns that hold texts.
fn columns(asked: &[u8], answered: &[u8]) -> Row {
    let mut body: Map<String, Value> = serde_json::from_slice(asked).unwrap_or_default();
    for name in SECRET {
        body.remove(name);
    }
    let prompt = ["messages", "input", "prompt", "contents"];
    let messages = prompt.iter().find_map(|name| body.get(*name)).cloned();
    let mut body = Value::Object(body);
    let mut messages = messages.unwrap_or(json!({}));
    let mut response = answer(answered);
    for value in [&mut body, &mut messages, &mut response] {
        shorten(value);
    }
    Row::from_iter([
        ("messages".to_owned(), messages),
        ("response".to_owned(), response),
        ("proxy_server_request".to_owned(), body),
    ])
}

/// A whole answer, or what the events of a stream say together.
fn answer(bytes: &[u8]) -> Value {
    if let Ok(whole) = serde_json::from_slice(bytes) {
        return whole;
    }
    let mut text = String::new();
    let mut observer = Observer::default();
    observer.feed(bytes);
    for line in String::from_utf8_lossy(bytes).lines() {
        let event = line.strip_prefix("data:").map(str::trim);
        let Some(Ok(event)) = event.map(serde_json::from_str::<Value>) else {
            continue;
        };
        let delta = &event["choices"][0]["delta"]["content"];
        let words = [
            &delta,
            &&event["choices"][0]["text"],
            &&event["delta"]["text"],
            &&event["delta"],
        ];
        text.extend(words.iter().find_map(|words| words.as_str()));
    }
    match text.is_empty() {
        true => json!({}),
        false => json!({"id": observer.id(), "model": observer.model(),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}),
    }
}

/// Cuts long texts in the middle.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LETTERS_MAX => {
            let letters: Vec<char> = text.chars().collect();
            if letters.len() > LETTERS_MAX {
                let (head, tail) = (LETTERS_MAX * 35 / 100, LETTERS_MAX * 65 / 100);
                let left_out = letters.len() - head - tail;
                let first: String = letters[..head].iter().collect();
                let last: String = letters[letters.len() - tail..].iter().collect();
                *text = format!("{first}... ({left_out} letters left out) ...{last}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_answer_become_columns() {
        let asked =
            br#"{"model":"m","api_key":"sk-x","messages":[{"role":"user","content":"hi"}]}"#;
        let row = columns(asked, br#"{"id":"a"}"#);
        assert_eq!(row["messages"][0]["content"], "hi");
        assert_eq!(row["response"]["id"], "a");
        assert_eq!(
            row["proxy_server_request"],
            json!({"model": "m", "messages": row["messages"]})
        );
    }

    #[test]
    fn a_stream_is_put_together() {
        let events = b"data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"he\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"llo\"}}]}\n\ndata: [DONE]\n\n";
        assert_eq!(answer(events)["choices"][0]["message"]["content"], "hello");
    }

    #[test]
    fn long_texts_are_cut_in_the_middle() {
        let mut value = json!({"content": "x".repeat(LETTERS_MAX + 10)});
        shorten(&mut value);
        let text = value["content"].as_str().unwrap_or_default();
        assert!(text.contains("(10 letters left out)") && text.len() < LETTERS_MAX + 60);
    }
}
