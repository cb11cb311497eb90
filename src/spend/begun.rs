//! What is written of a call before it goes to an upstream, for the case that the gateway dies
//! before its end: who pays, for what, and how long its prompt is.
//!
//! ```text
//! started i64 (microseconds since 1970) | prompt tokens u64 | texts: length u16 and bytes
//! ```

use super::money::Money;
use super::record::{CallRecord, Outcome};

/// Status of a call that nobody answered.
const STATUS: u16 = 500;
/// Class of its error.
pub const GATEWAY_DIED: &str = "GatewayDied";

/// A call that goes to an upstream now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun<'a> {
    /// When it came in, microseconds since 1970 UTC.
    pub started_us: i64,
    /// Its prompt, estimated.
    pub prompt_tokens: u64,
    /// The gateway's own id of the call.
    pub id: &'a [u8],
    /// Hash of the key, or the name that stands for the master key.
    pub api_key: &'a str,
    /// The key's owner.
    pub user: &'a str,
    /// Team.
    pub team: &'a str,
    /// Organisation.
    pub organization: &'a str,
    /// The client's customer.
    pub end_user: &'a str,
    /// `acompletion`, `aembedding` ...
    pub call_type: &'a str,
    /// Id of the deployment.
    pub deployment: &'a str,
    /// Provider.
    pub provider: &'a str,
    /// Model with the provider's prefix.
    pub model: &'a str,
    /// Model group as the client named it.
    pub group: &'a str,
    /// Tags, one a line.
    pub tags: &'a str,
}

impl Begun<'_> {
    /// Writes it into `out` and answers how many bytes that took. A text for which there is no room
    /// is left out.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let Some((head, mut rest)) = out.split_at_mut_checked(16) else {
            return 0;
        };
        head[..8].copy_from_slice(&self.started_us.to_le_bytes());
        head[8..].copy_from_slice(&self.prompt_tokens.to_le_bytes());
        let mut bytes = 16;
        for text in [
            self.id,
            self.api_key.as_bytes(),
            self.user.as_bytes(),
            self.team.as_bytes(),
            self.organization.as_bytes(),
            self.end_user.as_bytes(),
            self.call_type.as_bytes(),
            self.deployment.as_bytes(),
            self.provider.as_bytes(),
            self.model.as_bytes(),
            self.group.as_bytes(),
            self.tags.as_bytes(),
        ] {
            let text = if rest.len() >= 2 + text.len() {
                text
            } else {
                b""
            };
            let Some((len, after)) = rest.split_first_chunk_mut::<2>() else {
                return bytes;
            };
            *len = (text.len() as u16).to_le_bytes();
            let (place, after) = after.split_at_mut(text.len());
            place.copy_from_slice(text);
            rest = after;
            bytes += 2 + text.len();
        }
        bytes
    }
}

/// The record of a call that was begun and has no other; `price` says what so many tokens of a prompt
/// cost at a deployment. `None` for bytes that [`Begun::encode`] did not write.
pub fn record<'a>(
    bytes: &'a [u8],
    price: impl FnOnce(&str, u64) -> Money,
) -> Option<CallRecord<'a>> {
    let (started, rest) = bytes.split_first_chunk::<8>()?;
    let (tokens, mut rest) = rest.split_first_chunk::<8>()?;
    let mut next = || {
        let Some((len, after)) = rest.split_first_chunk::<2>() else {
            return Some("");
        };
        let (text, after) = after.split_at_checked(u16::from_le_bytes(*len) as usize)?;
        rest = after;
        std::str::from_utf8(text).ok()
    };
    let prompt_tokens = u64::from_le_bytes(*tokens);
    let mut record = CallRecord {
        outcome: Outcome::Failure,
        status: STATUS,
        error_class: GATEWAY_DIED,
        started_us: i64::from_le_bytes(*started),
        prompt_tokens,
        total_tokens: prompt_tokens,
        ..CallRecord::default()
    };
    for text in [
        &mut record.request_id,
        &mut record.api_key,
        &mut record.user,
        &mut record.team,
        &mut record.organization,
        &mut record.end_user,
        &mut record.call_type,
        &mut record.deployment,
        &mut record.provider,
        &mut record.model,
        &mut record.group,
        &mut record.tags,
    ] {
        *text = next()?;
    }
    record.call_id = record.request_id;
    record.input_cost = price(record.deployment, prompt_tokens);
    record.cost = record.input_cost;
    (!record.request_id.is_empty()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_a_record_of_a_failure() {
        let begun = Begun {
            started_us: 5,
            prompt_tokens: 7,
            id: b"the-id",
            api_key: "hash",
            team: "t",
            deployment: "d",
            tags: "a\nb",
            ..Begun::default()
        };
        let mut bytes = [0; 1000];
        let len = begun.encode(&mut bytes);
        let price = |deployment: &str, tokens| {
            assert_eq!((deployment, tokens), ("d", 7));
            Money::parse("0.5").unwrap()
        };
        let made = record(&bytes[..len], price).unwrap();
        assert_eq!(
            (made.request_id, made.api_key, made.team),
            ("the-id", "hash", "t")
        );
        assert_eq!(
            (made.outcome, made.prompt_tokens, made.tags),
            (Outcome::Failure, 7, "a\nb")
        );
        assert_eq!(made.cost.dollars(), 0.5);
    }

    #[test]
    fn texts_without_room_are_left_out_and_strange_bytes_refused() {
        let long = "x".repeat(500);
        let begun = Begun {
            id: b"i",
            user: &long,
            end_user: &long,
            group: "g",
            ..Begun::default()
        };
        let mut bytes = [0; 600];
        let len = begun.encode(&mut bytes);
        let made = record(&bytes[..len], |_, _| Money::default()).unwrap();
        assert_eq!((made.user.len(), made.end_user, made.group), (500, "", "g"));
        for cut in 0..16 {
            assert_eq!(record(&bytes[..cut], |_, _| Money::default()), None);
        }
        assert_eq!(record(&[0xff; 64], |_, _| Money::default()), None);
    }
}
