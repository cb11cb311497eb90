//! Clients of OpenAI's Responses API in front of any chat provider: their requests as the hub's, the hub's answers and
//! chunks as theirs. Providers that have the API themselves are asked by it instead.

pub mod client;
pub mod client_stream;
pub mod id;
