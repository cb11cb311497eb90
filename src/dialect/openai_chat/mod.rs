//! The chat dialect of the OpenAI API, which most providers speak with small differences: the request as edits of the
//! client's bytes, the answer and the stream as edits of the provider's.

pub mod messages;
pub mod params;
pub mod plan;
pub mod replay;
pub mod request;
pub mod response;
