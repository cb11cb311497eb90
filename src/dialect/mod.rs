//! What a body looks like on the wire: finding fields in it, editing its bytes, reading its usage, translating it. Pure
//! functions of bytes: no socket, clock, thread or random source, and no configuration types.

pub mod anthropic_messages;
pub mod aws_events;
pub mod bedrock_converse;
pub mod cohere_chat;
pub mod events;
pub mod foreign;
pub mod frames;
pub mod gemini;
pub mod hub;
pub mod media;
pub mod multipart;
pub mod ollama;
pub mod openai_chat;
pub mod openai_completions;
pub mod openai_other;
pub mod openai_responses;
pub mod repair;
pub mod replicate;
pub mod scan;
pub mod splice;
pub mod stream;
pub mod stream_cost;
pub mod tape;
pub mod template;
pub mod usage;
pub mod value;
pub mod walk;
pub mod watsonx;
