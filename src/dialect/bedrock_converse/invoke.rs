//! Models with an invoke dialect of their own: Llama's and Titan's prompts. Their streams go through Converse.

use crate::dialect::value::{Map, Value, json};

use crate::dialect::hub::{Call, Stamp, choice, completion, text_of};
use crate::dialect::usage::Usage;

/// Whose text dialect it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFamily {
    /// Meta's.
    Llama,
    /// Amazon's first.
    Titan,
}

/// A request.
pub fn request(family: TextFamily, mut call: Call) -> Value {
    match family {
        TextFamily::Llama => {
            let mut body = json!({"prompt": llama_prompt(&call.messages)});
            for (name, value) in [
                ("max_gen_len", call.take_max_tokens()),
                ("temperature", call.take("temperature")),
                ("top_p", call.take("top_p")),
            ] {
                if let Some(value) = value {
                    body[name] = value;
                }
            }
            body
        }
        TextFamily::Titan => {
            let mut config = json!({});
            for (name, value) in [
                ("maxTokenCount", call.take_max_tokens()),
                ("temperature", call.take("temperature")),
                ("topP", call.take("top_p")),
                ("stopSequences", call.take_stop()),
            ] {
                if let Some(value) = value {
                    config[name] = value;
                }
            }
            json!({"inputText": titan_prompt(&call.messages), "textGenerationConfig": config})
        }
    }
}

/// Llama 3's template.
pub fn llama_prompt(messages: &[Value]) -> String {
    let mut prompt = "<|begin_of_text|>".to_owned();
    for message in messages {
        let role = message["role"].as_str().unwrap_or("user");
        let text = text_of(&message["content"]);
        prompt.push_str(&format!(
            "<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>"
        ));
    }
    prompt.push_str("<|start_header_id|>assistant<|end_header_id|>\n\n");
    prompt
}

fn titan_prompt(messages: &[Value]) -> String {
    let mut prompt = String::new();
    for message in messages {
        let who = match message["role"].as_str() {
            Some("assistant") => "Bot",
            _ => "User",
        };
        prompt.push_str(&format!("\n\n{who}: {}", text_of(&message["content"])));
    }
    prompt.push_str("\n\nBot: ");
    prompt
}

/// An answer.
pub fn answer(family: TextFamily, reply: &Value, stamp: &Stamp) -> (Map, Usage) {
    let (text, reason, prompt, written) = match family {
        TextFamily::Llama => (
            &reply["generation"],
            &reply["stop_reason"],
            &reply["prompt_token_count"],
            &reply["generation_token_count"],
        ),
        TextFamily::Titan => {
            let result = &reply["results"][0];
            (
                &result["outputText"],
                &result["completionReason"],
                &reply["inputTextTokenCount"],
                &result["tokenCount"],
            )
        }
    };
    let reason = match reason.as_str() {
        Some("length" | "LENGTH") => "length",
        Some("CONTENT_FILTERED") => "content_filter",
        _ => "stop",
    };
    let (prompt, written) = (prompt.as_u64().unwrap_or(0), written.as_u64().unwrap_or(0));
    let counted = Usage {
        prompt_tokens: prompt,
        completion_tokens: written,
        total_tokens: prompt + written,
        ..Usage::default()
    };
    let usage = json!({
        "completion_tokens": written, "prompt_tokens": prompt, "total_tokens": prompt + written,
    });
    let message = json!({"role": "assistant", "content": text});
    (
        completion(stamp, vec![choice(0, message, reason)], usage),
        counted,
    )
}
