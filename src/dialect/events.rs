//! What reads the events of a stream in another dialect and writes what the client gets for each. One for each dialect
//! that is translated; how bytes become events is [`frames`](super::frames)' business.

use super::hub::DONE;
use super::usage::Usage;
use crate::error::GatewayError;

/// What is known of a stream so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress<'a> {
    /// Bytes of the answer's text, reasoning and tool arguments that have come out.
    pub text_bytes: u64,
    /// The provider said that this is all.
    pub is_whole: bool,
    /// Tokens.
    pub usage: Option<Usage>,
    /// Why the first choice ended.
    pub finish_reason: Option<&'a str>,
}

/// Translates one event at a time.
pub trait EventReader: Send {
    /// Takes an event; appends what the client gets for it.
    ///
    /// # Errors
    /// The provider's error, or an event that is not what it has to be.
    fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), GatewayError>;

    /// The stream is whole: appends what stands in front of the end mark.
    fn finish(&mut self, out: &mut Vec<u8>);

    /// What is known so far.
    fn progress(&self) -> Progress<'_>;

    /// The end mark.
    fn end_mark(&self) -> &'static [u8] {
        DONE
    }

    /// Whether the end mark is written as soon as the stream is whole, without waiting for its end.
    fn ends_early(&self) -> bool {
        true
    }
}
