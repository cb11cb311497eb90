//! The record of one finished call, as compact bytes for the ring and the journal.
//!
//! A record borrows its texts when it is written on the shard and when it is read back; writing one
//! is a copy of numbers and texts into a buffer that is used again. Every text has a bound, so that
//! any record fits into one frame of the ring. What a text or a field means to the database is the
//! business of [`super::row`].
//!
//! ```text
//! version u8 | outcome u8 | cache u8 | flags u8 | http status u16 | 0 u16
//! started, duration, first token: i64, u64, u64 (microseconds)
//! prompt, completion, total, cached, cache writes, reasoning: u64 each
//! total, input, output, tools: u128 each (1e-24 dollars)
//! texts, in the order of TEXTS: length u16 and bytes
//! ```

use super::cost::Cost;
use super::money::Money;
use super::usage::Quantities;

const VERSION: u8 = 2;
/// Records of this version lack the last of `TEXTS`.
const VERSION_BEFORE: u8 = 1;
const FIXED_BYTES: usize = 8 + 3 * 8 + 6 * 8 + 4 * 16;
const STREAM: u8 = 1;

/// Bytes of the longest record.
pub const RECORD_BYTES_MAX: usize = FIXED_BYTES + TEXT_COUNT * 2 + text_bytes_max();
// One frame of the ring holds it.
const _: () = assert!(RECORD_BYTES_MAX <= shardgate_io::ring::PAYLOAD_BYTES_MAX);

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The client has the whole answer.
    #[default]
    Success,
    /// The client has an error.
    Failure,
    /// The answer was cut: the client left, a deadline passed, the upstream broke off. What was
    /// sent is paid.
    Cut,
}

/// What the response cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CacheUse {
    /// No cache for this call.
    #[default]
    Off,
    /// Not found there.
    Miss,
    /// Answered from it.
    Hit,
}

/// One finished call. Texts that do not apply are empty; too long ones are cut where they are
/// written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallRecord<'a> {
    /// The answer's id, or the call's id where there is no answer.
    pub request_id: &'a str,
    /// `x-litellm-call-id`.
    pub call_id: &'a str,
    /// The gateway's own id of the call, which no other call has; empty where `request_id` is it.
    pub own_id: &'a str,
    /// How it ended.
    pub outcome: Outcome,
    /// Status that the client got.
    pub status: u16,
    /// Whether it was streamed.
    pub stream: bool,
    /// What the cache did.
    pub cache: CacheUse,
    /// When it came in, microseconds since 1970 UTC.
    pub started_us: i64,
    /// From then to its end, microseconds.
    pub duration_us: u64,
    /// From then to the first token, microseconds; 0 when there was none.
    pub first_token_us: u64,
    /// Input tokens.
    pub prompt_tokens: u64,
    /// Output tokens.
    pub completion_tokens: u64,
    /// Tokens of both, as the provider says.
    pub total_tokens: u64,
    /// Input tokens from the provider's cache.
    pub cached_tokens: u64,
    /// Input tokens written to it.
    pub cache_write_tokens: u64,
    /// Output tokens of reasoning.
    pub reasoning_tokens: u64,
    /// What is charged.
    pub cost: Money,
    /// Of the list price: input.
    pub input_cost: Money,
    /// Of the list price: output.
    pub output_cost: Money,
    /// Of the list price: tools.
    pub tool_cost: Money,
    /// Hash of the key, or the name that stands for the master key.
    pub api_key: &'a str,
    /// The key's alias.
    pub key_alias: &'a str,
    /// The key's owner.
    pub user: &'a str,
    /// Team.
    pub team: &'a str,
    /// The team's alias.
    pub team_alias: &'a str,
    /// Organisation.
    pub organization: &'a str,
    /// The client's customer: `user` of the body.
    pub end_user: &'a str,
    /// Model with the provider's prefix.
    pub model: &'a str,
    /// Model group as the client named it.
    pub group: &'a str,
    /// Id of the deployment.
    pub deployment: &'a str,
    /// Provider.
    pub provider: &'a str,
    /// `acompletion`, `aembedding` ...
    pub call_type: &'a str,
    /// Base URL of the upstream.
    pub api_base: &'a str,
    /// The client's address.
    pub requester_ip: &'a str,
    /// Session of several calls.
    pub session: &'a str,
    /// Key in the response cache.
    pub cache_key: &'a str,
    /// Class of the error.
    pub error_class: &'a str,
    /// Tags, one a line.
    pub tags: &'a str,
    /// More metadata as a JSON object; left out when it is too long.
    pub metadata: &'a str,
}

impl CallRecord<'_> {
    /// Takes tokens over.
    pub fn set_usage(&mut self, used: &Quantities) {
        self.prompt_tokens = used.prompt;
        self.completion_tokens = used.completion;
        self.total_tokens = used.total;
        self.cached_tokens = used.cached;
        self.cache_write_tokens = used.cache_write.saturating_add(used.cache_write_1h);
        self.reasoning_tokens = used.reasoning;
    }

    /// Takes the cost over.
    pub fn set_cost(&mut self, cost: &Cost) {
        self.cost = cost.total;
        self.input_cost = cost.input;
        self.output_cost = cost.output;
        self.tool_cost = cost.tool_usage;
    }

    /// The tags.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.lines().filter(|tag| !tag.is_empty())
    }

    /// Writes the record into `out`, over what was there; at most [`RECORD_BYTES_MAX`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend([VERSION, self.outcome as u8, self.cache as u8]);
        out.push(if self.stream { STREAM } else { 0 });
        out.extend(self.status.to_le_bytes());
        out.extend([0, 0]);
        out.extend(self.started_us.to_le_bytes());
        for number in [
            self.duration_us,
            self.first_token_us,
            self.prompt_tokens,
            self.completion_tokens,
            self.total_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
        ] {
            out.extend(number.to_le_bytes());
        }
        for money in [self.cost, self.input_cost, self.output_cost, self.tool_cost] {
            out.extend(money.units().to_le_bytes());
        }
        for (text, (_, bytes_max)) in self.texts().into_iter().zip(TEXTS) {
            let text = bounded(text, bytes_max);
            out.extend((text.len() as u16).to_le_bytes());
            out.extend(text.as_bytes());
        }
        self.bound_ends(out);
    }

    /// The last two texts mean nothing when cut in the middle: a cut tag goes, cut JSON goes.
    fn bound_ends(&self, out: &mut Vec<u8>) {
        let (tags, metadata) = (self.tags, self.metadata);
        let tags = match bounded(tags, TAGS_BYTES_MAX) {
            cut if cut.len() < tags.len() => cut.rsplit_once('\n').map_or("", |(whole, _)| whole),
            whole => whole,
        };
        let metadata = if metadata.len() > METADATA_BYTES_MAX {
            ""
        } else {
            metadata
        };
        for text in [tags, metadata] {
            out.extend((text.len() as u16).to_le_bytes());
            out.extend(text.as_bytes());
        }
    }

    /// In the order of [`TEXTS`].
    fn texts(&self) -> [&str; TEXTS.len()] {
        [
            self.request_id,
            self.call_id,
            self.api_key,
            self.key_alias,
            self.user,
            self.team,
            self.team_alias,
            self.organization,
            self.end_user,
            self.model,
            self.group,
            self.deployment,
            self.provider,
            self.call_type,
            self.api_base,
            self.requester_ip,
            self.session,
            self.cache_key,
            self.error_class,
            self.own_id,
        ]
    }
}

/// Whether this version can read the record.
#[must_use]
pub fn is_known(bytes: &[u8]) -> bool {
    bytes.len() >= FIXED_BYTES && (VERSION_BEFORE..=VERSION).contains(&bytes[0])
}

/// Reads what [`CallRecord::encode`] wrote; `None` for bytes that it did not write.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<CallRecord<'_>> {
    let mut at = Cursor { bytes };
    let [version, outcome, cache, flags] = at.array::<4>()?;
    if !(VERSION_BEFORE..=VERSION).contains(&version) {
        return None;
    }
    let status = u16::from_le_bytes(at.array()?);
    let _: [u8; 2] = at.array()?;
    let mut record = CallRecord {
        outcome: [Outcome::Success, Outcome::Failure, Outcome::Cut]
            .get(outcome as usize)
            .copied()?,
        cache: [CacheUse::Off, CacheUse::Miss, CacheUse::Hit]
            .get(cache as usize)
            .copied()?,
        stream: flags & STREAM != 0,
        status,
        started_us: i64::from_le_bytes(at.array()?),
        duration_us: at.number()?,
        first_token_us: at.number()?,
        prompt_tokens: at.number()?,
        completion_tokens: at.number()?,
        total_tokens: at.number()?,
        cached_tokens: at.number()?,
        cache_write_tokens: at.number()?,
        reasoning_tokens: at.number()?,
        cost: at.money()?,
        input_cost: at.money()?,
        output_cost: at.money()?,
        tool_cost: at.money()?,
        ..CallRecord::default()
    };
    let mut before = "";
    let own_id = match version {
        VERSION_BEFORE => &mut before,
        _ => &mut record.own_id,
    };
    for text in [
        &mut record.request_id,
        &mut record.call_id,
        &mut record.api_key,
        &mut record.key_alias,
        &mut record.user,
        &mut record.team,
        &mut record.team_alias,
        &mut record.organization,
        &mut record.end_user,
        &mut record.model,
        &mut record.group,
        &mut record.deployment,
        &mut record.provider,
        &mut record.call_type,
        &mut record.api_base,
        &mut record.requester_ip,
        &mut record.session,
        &mut record.cache_key,
        &mut record.error_class,
        own_id,
        &mut record.tags,
        &mut record.metadata,
    ] {
        *text = at.text()?;
    }
    at.bytes.is_empty().then_some(record)
}

/// Texts with the bytes they may have, in the order they are written. Tags and metadata follow.
const TEXTS: [(&str, usize); 20] = [
    ("request_id", 128),
    ("call_id", 64),
    ("api_key", 96),
    ("key_alias", 128),
    ("user", 128),
    ("team", 128),
    ("team_alias", 128),
    ("organization", 128),
    ("end_user", 256),
    ("model", 200),
    ("group", 200),
    ("deployment", 96),
    ("provider", 48),
    ("call_type", 48),
    ("api_base", 256),
    ("requester_ip", 46),
    ("session", 128),
    ("cache_key", 64),
    ("error_class", 64),
    ("own_id", 36),
];
const TAGS_BYTES_MAX: usize = 512;
const METADATA_BYTES_MAX: usize = 960;
const TEXT_COUNT: usize = TEXTS.len() + 2;

const fn text_bytes_max() -> usize {
    let (mut sum, mut at) = (TAGS_BYTES_MAX + METADATA_BYTES_MAX, 0);
    while at < TEXTS.len() {
        sum += TEXTS[at].1;
        at += 1;
    }
    sum
}

/// The longest start of `text` of at most `bytes_max` bytes that cuts no character.
fn bounded(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn money(&mut self) -> Option<Money> {
        self.array().map(u128::from_le_bytes).map(Money::from_units)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        let (text, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn example() -> CallRecord<'static> {
        CallRecord {
            request_id: "chatcmpl-1",
            call_id: "018f-call",
            own_id: "018f-own",
            outcome: Outcome::Cut,
            status: 200,
            stream: true,
            cache: CacheUse::Miss,
            started_us: 1_764_066_000_123_456,
            duration_us: 1_500_000,
            first_token_us: 120_000,
            prompt_tokens: 14,
            completion_tokens: 9,
            total_tokens: 23,
            cached_tokens: 3,
            cache_write_tokens: 2,
            reasoning_tokens: 1,
            cost: Money::from_units(u128::MAX),
            input_cost: Money::from_units(1),
            output_cost: Money::from_units(2),
            tool_cost: Money::from_units(3),
            api_key: "a1b2",
            team: "t",
            model: "openai/gpt-4o",
            group: "gpt",
            tags: "blue\ngreen",
            metadata: r#"{"a":1}"#,
            ..CallRecord::default()
        }
    }

    #[test]
    fn a_record_comes_back_whole() {
        let mut bytes = vec![1, 2, 3];
        for record in [example(), CallRecord::default()] {
            record.encode(&mut bytes);
            assert_eq!(decode(&bytes), Some(record));
        }
        assert!(
            bytes.len() < 256,
            "an empty record has {} bytes",
            bytes.len()
        );
    }

    #[test]
    fn strange_bytes_are_no_record() {
        let mut bytes = Vec::new();
        example().encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
        bytes.push(0);
        assert_eq!(decode(&bytes), None);
        bytes[0] = 9;
        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn the_longest_record_fits() {
        let long = "é".repeat(3000);
        let tags = "tag-é\n".repeat(1000);
        let record = CallRecord {
            request_id: &long,
            call_id: &long,
            api_key: &long,
            key_alias: &long,
            user: &long,
            team: &long,
            team_alias: &long,
            organization: &long,
            end_user: &long,
            model: &long,
            group: &long,
            deployment: &long,
            provider: &long,
            call_type: &long,
            api_base: &long,
            requester_ip: &long,
            session: &long,
            cache_key: &long,
            error_class: &long,
            own_id: &long,
            tags: &tags,
            metadata: &long,
            ..CallRecord::default()
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert!(bytes.len() <= RECORD_BYTES_MAX);
        let read = decode(&bytes).unwrap();
        assert_eq!(read.user, "é".repeat(64));
        assert!(read.tags().all(|tag| tag == "tag-é"));
        assert_eq!(read.tags().count(), 512 / 7);
        assert_eq!(read.metadata, "");
    }
}
