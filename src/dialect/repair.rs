//! `modify_params`: conversations that a provider would refuse, mended. What is missing is put in with words that say so;
//! what belongs to nothing is left out. Works on the hub's messages and knows no provider's wire.

use super::hub::{Call, calls_of};
use super::value::{Value, json};

/// What a provider is strict about.
#[derive(Clone, Copy, Debug)]
pub struct Strict {
    /// The user's words in front of a conversation that begins with an answer.
    pub opening: &'static str,
    /// A conversation may not end with an answer.
    pub ends_with_user: bool,
    /// Thinking needs the thoughts of the turn whose tools have answered.
    pub remembers_thoughts: bool,
}

/// The user's words where there are none.
pub const CONTINUE: &str = "Please continue.";

/// Mends a call whose gateway may (`modify_params`); leaves the others alone.
pub fn mend(call: &mut Call, strict: Strict) {
    if !call.modify_params {
        return;
    }
    call.messages = with_results(std::mem::take(&mut call.messages));
    let is_turn =
        |message: &Value| !matches!(message["role"].as_str(), Some("system" | "developer"));
    let user = |text: &str| json!({"role": "user", "content": text});
    match call.messages.iter().position(is_turn) {
        None => call.messages.push(user(CONTINUE)),
        Some(first) if call.messages[first]["role"] == "assistant" => {
            call.messages.insert(first, user(strict.opening));
        }
        Some(_) => {}
    }
    let last_role = call.messages.last().map(|last| &last["role"]);
    if strict.ends_with_user && last_role.is_some_and(|role| role == "assistant") {
        call.messages.push(user(CONTINUE));
    }
    if strict.remembers_thoughts && forgets_thoughts(&call.messages) {
        call.fields.remove("thinking");
        call.fields.remove("reasoning_effort");
    }
}

/// The last turn that called tools has no thoughts.
fn forgets_thoughts(messages: &[Value]) -> bool {
    let last = messages
        .iter()
        .rfind(|message| !calls_of(message).is_empty());
    last.is_some_and(|message| {
        message["thinking_blocks"]
            .as_array()
            .is_none_or(Vec::is_empty)
    })
}

/// Each call of a tool gets a result right behind it; results that belong to no call go.
fn with_results(messages: Vec<Value>) -> Vec<Value> {
    let mut mended = Vec::with_capacity(messages.len());
    let mut open: Vec<Value> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let known = open.iter().position(|call| call["id"] == id);
            if let Some(known) = known {
                open.remove(known);
                mended.push(message);
            }
            continue;
        }
        mended.extend(open.drain(..).map(|call| no_result(&call)));
        if message["role"] == "assistant" {
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            open = calls.cloned().collect();
        }
        mended.push(message);
    }
    mended.extend(open.iter().map(no_result));
    mended
}

fn no_result(call: &Value) -> Value {
    let name = call["function"]["name"].as_str().unwrap_or_default();
    json!({
        "role": "tool", "tool_call_id": call["id"],
        "content": format!("[System: Tool execution skipped/interrupted by user. No result provided for tool '{name}'.]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(messages: Value, ends_with_user: bool) -> Vec<Value> {
        let mut call = Call {
            messages: messages.as_array().unwrap().clone(),
            modify_params: true,
            ..Call::default()
        };
        let strict = Strict {
            opening: ".",
            ends_with_user,
            remembers_thoughts: true,
        };
        mend(&mut call, strict);
        call.messages
    }

    fn asks(ids: &[&str]) -> Value {
        let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        json!({"role": "assistant", "content": null, "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
    }

    fn result(id: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": "x"})
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    #[test]
    fn somebody_speaks_first_and_last() {
        let system = json!({"role": "system", "content": "s"});
        let answer = json!({"role": "assistant", "content": "a"});
        assert_eq!(
            mended(json!([system]), false),
            [system.clone(), user(CONTINUE)]
        );
        assert_eq!(mended(json!([]), false), [user(CONTINUE)]);
        assert_eq!(
            mended(json!([answer]), true),
            [user("."), answer.clone(), user(CONTINUE)]
        );
        assert_eq!(
            mended(json!([user("a"), answer]), false),
            [user("a"), answer]
        );
    }

    #[test]
    fn every_call_has_one_result() {
        let made = mended(
            json!([
                user("a"),
                asks(&["1", "2"]),
                result("2"),
                result("9"),
                user("b")
            ]),
            false,
        );
        let ids: Vec<_> = made
            .iter()
            .map(|message| message["tool_call_id"].as_str().unwrap_or("-"))
            .collect();
        assert_eq!(ids, ["-", "-", "2", "1", "-"]);
        assert!(
            made[3]["content"]
                .as_str()
                .unwrap()
                .contains("No result provided for tool 'f'")
        );
        let made = mended(json!([user("a"), result("1"), asks(&["1"])]), false);
        assert_eq!(made.len(), 3);
        assert_eq!(made[2]["tool_call_id"], "1");
    }

    #[test]
    fn nothing_happens_unasked() {
        let mut call = Call::default();
        mend(
            &mut call,
            Strict {
                opening: ".",
                ends_with_user: true,
                remembers_thoughts: true,
            },
        );
        assert!(call.messages.is_empty());
    }
}
