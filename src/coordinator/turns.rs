//! Answers of the Responses API whose providers store none, kept in memory so that a conversation can go on from them:
//! the latest, so many bytes of them, for a day. What they mean to a provider is the shard's and the dialect's business.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Control;
use crate::message::{AdminAnswer, Remembered, StoredAsk, StoredVerb, ToShard};

/// All that is kept.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// One request with its answer.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Answers that one conversation is followed back through.
const CHAIN_MAX: usize = 512;
/// An answer that its client has already read may still be on its way here from another shard.
const PATIENCE: Duration = Duration::from_millis(200);
const STEP: Duration = Duration::from_millis(10);

struct Kept {
    owner: String,
    previous: Option<String>,
    input: Vec<Value>,
    response: Value,
    bytes: usize,
    at: Instant,
}

/// What is kept.
#[derive(Default)]
pub(super) struct Turns {
    kept: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    by_id: HashMap<String, Kept>,
    /// The oldest first; some are gone already.
    order: VecDeque<String>,
    bytes: usize,
}

impl Shelf {
    fn remember(&mut self, turn: Remembered, now: Instant) {
        let Ok(response) = serde_json::from_slice::<Value>(&turn.response) else {
            return;
        };
        let Some(id) = response["id"].as_str().map(str::to_owned) else {
            return;
        };
        let input: usize = turn.input.iter().map(|item| item.to_string().len()).sum();
        let bytes = turn.response.len() + input;
        if bytes > TURN_BYTES_MAX {
            return;
        }
        self.bytes += bytes;
        self.order.push_back(id.clone());
        let kept = Kept {
            owner: turn.owner,
            previous: turn.previous,
            input: turn.input,
            response,
            bytes,
            at: now,
        };
        if let Some(other) = self.by_id.insert(id, kept) {
            self.bytes -= other.bytes;
        }
        self.make_room(now);
    }

    fn make_room(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let is_over = self
                .by_id
                .get(oldest)
                .is_none_or(|kept| now.duration_since(kept.at) > KEPT_FOR);
            if !is_over && self.bytes <= BYTES_MAX {
                return;
            }
            if let Some(id) = self.order.pop_front() {
                self.forget(&id);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(kept) = self.by_id.remove(id) {
            self.bytes -= kept.bytes;
        }
    }

    fn seen(&self, id: &str, owner: Option<&str>) -> Option<&Kept> {
        let kept = self.by_id.get(id)?;
        let may_see = owner.is_none_or(|owner| owner == kept.owner);
        (may_see && kept.at.elapsed() <= KEPT_FOR).then_some(kept)
    }

    /// What was said up to and in that answer.
    fn history(&self, id: &str, owner: Option<&str>) -> Option<Vec<Value>> {
        let mut turns = Vec::new();
        let mut at = Some(id);
        while let Some(id) = at {
            let kept = self.seen(id, owner)?;
            at = kept.previous.as_deref();
            turns.push(kept);
            if turns.len() > CHAIN_MAX {
                return None;
            }
        }
        let mut items = Vec::new();
        for turn in turns.iter().rev() {
            items.extend(turn.input.iter().cloned());
            items.extend(
                turn.response["output"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        Some(items)
    }
}

/// Keeps an answer.
pub(super) fn remember(control: &Control, turn: Remembered) {
    control.turns.lock().remember(turn, Instant::now());
}

impl Turns {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, id: &str) -> bool {
        self.lock().by_id.contains_key(id)
    }

    fn told(&self, ask: &StoredAsk) -> (u16, Value) {
        let mut shelf = self.lock();
        let (id, owner) = (ask.response_id.as_str(), ask.owner.as_deref());
        let Some(kept) = shelf.seen(id, owner) else {
            return missing(id);
        };
        match &ask.verb {
            StoredVerb::History => match shelf.history(id, owner) {
                Some(items) => (200, Value::Array(items)),
                None => missing(id),
            },
            StoredVerb::Whole => (200, kept.response.clone()),
            StoredVerb::Items => (200, page(id, &kept.input, &Page::default())),
            StoredVerb::Page {
                ascending,
                limit,
                after,
            } => {
                let how = Page {
                    ascending: *ascending,
                    limit: *limit,
                    after: after.as_deref(),
                };
                (200, page(id, &kept.input, &how))
            }
            StoredVerb::Cancel => refused(400, "Cannot cancel a synchronous response."),
            StoredVerb::Delete => {
                shelf.forget(id);
                (
                    200,
                    json!({"id": id, "object": "response", "deleted": true}),
                )
            }
        }
    }
}

/// Answers what is asked of a stored answer.
pub(super) async fn answer(control: Arc<Control>, shard: usize, id: u64, ask: Box<StoredAsk>) {
    let until = Instant::now() + PATIENCE;
    while !control.turns.has(&ask.response_id) && Instant::now() < until {
        tokio::time::sleep(STEP).await;
    }
    let (status, body) = control.turns.told(&ask);
    let answer = AdminAnswer {
        status,
        headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
        body: body.to_string().into_bytes(),
    };
    let _ = control.hubs[shard].send(ToShard::Reply { id, answer });
}

fn missing(id: &str) -> (u16, Value) {
    refused(404, &format!("Response with id '{id}' not found."))
}

fn refused(status: u16, text: &str) -> (u16, Value) {
    let error = json!({"message": text, "type": "invalid_request_error", "param": null, "code": status.to_string()});
    (status, json!({"error": error}))
}

/// Which items, and in which order.
struct Page<'a> {
    ascending: bool,
    limit: usize,
    after: Option<&'a str>,
}

impl Default for Page<'_> {
    fn default() -> Self {
        Self {
            ascending: false,
            limit: 20,
            after: None,
        }
    }
}

fn page(id: &str, input: &[Value], how: &Page<'_>) -> Value {
    let letters: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail: String = letters[letters.len().saturating_sub(12)..].iter().collect();
    let named = |(index, item): (usize, &Value)| {
        let mut item = item.clone();
        if item.get("id").is_none_or(Value::is_null) {
            item["id"] = json!(format!("item_{tail}_{index}"));
        }
        if item.get("type").is_none() {
            item["type"] = json!("message");
        }
        item
    };
    let mut items: Vec<Value> = input.iter().enumerate().map(named).collect();
    if !how.ascending {
        items.reverse();
    }
    if let Some(after) = how.after {
        let at = items.iter().position(|item| item["id"] == after);
        // Behind an item that is not there is nothing: a client that pages must come to an end.
        items.drain(..at.map_or(items.len(), |at| at + 1));
    }
    let has_more = items.len() > how.limit;
    items.truncate(how.limit);
    let end = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    json!({
        "object": "list", "first_id": end(items.first()), "last_id": end(items.last()), "has_more": has_more,
        "data": items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(id: &str, previous: Option<&str>, said: &str) -> Remembered {
        let output =
            json!([{"type": "message", "role": "assistant", "content": format!("to {said}")}]);
        Remembered {
            owner: "me".to_owned(),
            previous: previous.map(str::to_owned),
            input: vec![json!({"role": "user", "content": said})],
            response: json!({"id": id, "output": output}).to_string().into_bytes(),
        }
    }

    #[test]
    fn a_conversation_is_followed_back() {
        let mut shelf = Shelf::default();
        shelf.remember(turn("1", None, "a"), Instant::now());
        shelf.remember(turn("2", Some("1"), "b"), Instant::now());
        let said = |owner| {
            let items = shelf.history("2", owner)?;
            Some(
                items
                    .iter()
                    .map(|item| item["content"].as_str().unwrap().to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(said(Some("me")).unwrap(), ["a", "to a", "b", "to b"]);
        assert!(said(None).is_some() && said(Some("you")).is_none());
        shelf.forget("1");
        assert!(shelf.history("2", None).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut shelf = Shelf::default();
        let long = "x".repeat(TURN_BYTES_MAX / 3);
        for number in 0..100 {
            shelf.remember(turn(&number.to_string(), None, &long), Instant::now());
        }
        assert!(
            shelf.bytes <= BYTES_MAX
                && shelf.by_id.len() < 100
                && shelf.order.len() == shelf.by_id.len()
        );
        shelf.remember(
            turn("large", None, &"x".repeat(TURN_BYTES_MAX)),
            Instant::now(),
        );
        assert!(!shelf.by_id.contains_key("large"));
        let later = Instant::now() + KEPT_FOR + Duration::from_secs(1);
        shelf.remember(turn("new", None, "a"), later);
        assert_eq!(shelf.by_id.len(), 1);
    }

    #[test]
    fn items_are_paged() {
        let input: Vec<Value> = (0..5)
            .map(|number| json!({"id": number.to_string()}))
            .collect();
        let ids = |page: &Value| {
            let items = page["data"].as_array().unwrap();
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned())
                .collect::<String>()
        };
        assert_eq!(ids(&page("r", &input, &Page::default())), "43210");
        let some = page(
            "r",
            &input,
            &Page {
                ascending: true,
                limit: 2,
                after: Some("1"),
            },
        );
        assert_eq!(
            (ids(&some).as_str(), &some["has_more"]),
            ("23", &json!(true))
        );
    }
}
