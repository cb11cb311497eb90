//! The shard's part in accounts: room for a call's record before the call, the record before its
//! last byte leaves. No message and no system call: a copy into mapped memory.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use shardgate_io::driver::sleep_until;
use shardgate_io::ring::calls::{OpenCalls, Place};
use shardgate_io::ring::{Full, RingWriter, Slot};

use super::Shard;
use super::body::Asked;
use super::call::{Bill, Call};
use crate::error::{ErrorClass, GatewayError};
use crate::provider::Operation;
use crate::spend::begun::Begun;
use crate::spend::record::{CacheUse, CallRecord, Outcome};

/// Class of a call that was not waited for: another one answered first, or its client left.
pub(super) const CANCELLED: &str = "Cancelled";

/// One shard's ring.
pub(super) struct Ledger {
    ring: RefCell<RingWriter>,
    /// What is under way, should the process die.
    open: RefCell<OpenCalls>,
    buffer: RefCell<Vec<u8>>,
}

/// What a record needs of the request, kept from admission to the end.
pub(super) struct Note {
    slot: Slot,
    /// Where the call stands while it is under way; none for one that is refused.
    place: Option<Place>,
    /// It has gone to an upstream, and stands there.
    begun: bool,
    prompt_tokens: u64,
    call_type: &'static str,
    stream: bool,
    end_user: String,
    /// One a line.
    tags: String,
    session: String,
}

impl Ledger {
    pub(super) fn new((ring, open): (RingWriter, OpenCalls)) -> Ledger {
        Ledger {
            ring: RefCell::new(ring),
            open: RefCell::new(open),
            buffer: RefCell::default(),
        }
    }

    /// Publishes a record; its call is under way no longer.
    fn push(&self, note: Note, record: &[u8]) -> u64 {
        let (mut ring, mut open) = (self.ring.borrow_mut(), self.open.borrow_mut());
        if let Some(place) = note.place.as_ref().filter(|_| note.begun) {
            open.end(place, &ring);
        }
        let position = ring.push(note.slot, record);
        match note.place {
            Some(place) if note.begun => open.free(place),
            Some(place) => open.untake(place),
            None => {}
        }
        position
    }

    fn cancel(&self, note: Note) {
        self.ring.borrow_mut().cancel(note.slot);
        match note.place {
            Some(place) if note.begun => self.open.borrow_mut().free(place),
            Some(place) => self.open.borrow_mut().untake(place),
            None => {}
        }
    }
}

/// Takes room for the call's record, and for what is known of it until then.
///
/// # Errors
/// 503 when there is none: what could not be written down is not begun.
pub(super) fn reserve(shard: &Shard, call: &mut Call, asked: &Asked) -> Result<(), GatewayError> {
    let Some(ledger) = &shard.ledger else {
        return Ok(());
    };
    // Places run out before slots do only when a start found calls for whose records it had no room.
    let place = ledger.open.borrow_mut().take().ok_or_else(full)?;
    let slot = match ledger.ring.borrow_mut().reserve() {
        Ok(slot) => slot,
        Err(Full) => {
            ledger.open.borrow_mut().untake(place);
            return Err(full());
        }
    };
    call.note = Some(Box::new(Note {
        slot,
        place: Some(place),
        begun: false,
        prompt_tokens: asked.facts.input_tokens,
        call_type: call_type(asked.operation),
        stream: asked.stream,
        end_user: asked.end_user.clone().unwrap_or_default(),
        tags: tags(asked),
        session: asked.facts.wishes.session.clone().unwrap_or_default(),
    }));
    Ok(())
}

/// The call goes to an upstream now. Should the process die before its end, its record is made of
/// what is written here; the first deployment it goes to stands in it.
pub(super) fn begin(shard: &Shard, call: &mut Call) {
    let (Some(ledger), Some(note)) = (&shard.ledger, &mut call.note) else {
        return;
    };
    let Some(place) = note.place.as_ref().filter(|_| !note.begun) else {
        return;
    };
    let (id, snapshot) = (call.id.bytes(), &call.snapshot);
    let mut begun = Begun {
        started_us: crate::store::now_us(),
        prompt_tokens: note.prompt_tokens,
        id: &id,
        api_key: &snapshot.settings.master_key_name,
        user: "default_user_id",
        end_user: &note.end_user,
        call_type: note.call_type,
        group: &call.route.group,
        tags: &note.tags,
        ..Begun::default()
    };
    if let Some(account) = &call.account {
        let caller = &account.caller;
        begun.api_key = &caller.token;
        begun.user = caller.user_id.as_deref().unwrap_or_default();
        begun.team = caller.team_id.as_deref().unwrap_or_default();
        begun.organization = caller.organization_id.as_deref().unwrap_or_default();
    }
    if let Some(passed) = &call.passed {
        (begun.model, begun.provider) = (&passed.model, &passed.provider);
    } else if let Some(at) = call.route.deployment {
        let deployment = &snapshot.deployments[at];
        begun.model = &deployment.full_model;
        begun.deployment = &deployment.id;
        begun.provider = deployment.target.entry.name;
    }
    ledger
        .open
        .borrow_mut()
        .begin(place, |out| begun.encode(out));
    note.begun = true;
}

/// The tags of a call's row, one a line.
fn tags(asked: &Asked) -> String {
    let mut tags = asked.facts.wishes.tags.join("\n");
    for tag in &asked.facts.wishes.spend_tags {
        if !tags.is_empty() {
            tags.push('\n');
        }
        tags.push_str(tag);
    }
    tags
}

/// A call that is refused before it is begun leaves a row too, where there is room for one. Callers
/// that nobody knows leave none: anybody could fill the database with them.
pub(super) fn refused(shard: &Shard, call: &mut Call) {
    let (Some(ledger), Some(operation)) = (&shard.ledger, call.operation) else {
        return;
    };
    if call.note.is_some() || !call.snapshot.settings.error_rows {
        return;
    }
    if let Ok(slot) = ledger.ring.borrow_mut().reserve() {
        call.note = Some(Box::new(Note {
            slot,
            place: None,
            begun: false,
            prompt_tokens: 0,
            call_type: call_type(operation),
            stream: false,
            end_user: String::new(),
            tags: String::new(),
            session: String::new(),
        }));
    }
}

fn full() -> GatewayError {
    GatewayError::refused(
        ErrorClass::ServiceUnavailable,
        "calls cannot be recorded at the moment, so none is begun: the disk of the spend journal \
         is full, the database has been away for long, or more calls are under way than a shard has \
         room for (SHARDGATE_RING_BYTES, 4 KiB for each)",
    )
}

/// Gives back the room of a call that is not begun after all.
pub(super) fn cancel(shard: &Shard, call: &mut Call) {
    if let (Some(ledger), Some(note)) = (&shard.ledger, call.note.take()) {
        ledger.cancel(*note);
    }
}

/// Publishes the call's record before the last byte of its answer. False: with `journal_sync_ms: 0`
/// the disk has not taken it, and the answer must not end as if it had.
pub(super) async fn settle(shard: &Shard, call: &mut Call, outcome: Outcome) -> bool {
    let published = publish(shard, call, outcome);
    match published {
        Some(position) if call.snapshot.settings.strict_journal => {
            Box::pin(durable(shard, position)).await
        }
        _ => true,
    }
}

/// Waits until the journal on disk has a record.
async fn durable(shard: &Shard, position: u64) -> bool {
    const PATIENCE: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(1);
    let Some(ledger) = &shard.ledger else {
        return true;
    };
    let until = Instant::now() + PATIENCE;
    while !ledger.ring.borrow().is_released(position) {
        if Instant::now() >= until {
            return false;
        }
        sleep_until(Instant::now() + STEP).await;
    }
    true
}

/// Publishes the call's record, if it has one that is not published yet; answers where it is in
/// the ring. Called once more when the call is over, for those that never came so far.
fn publish(shard: &Shard, call: &mut Call, outcome: Outcome) -> Option<u64> {
    let (ledger, note) = (shard.ledger.as_ref()?, call.note.take()?);
    if outcome == Outcome::Failure && !call.snapshot.settings.error_rows {
        ledger.cancel(*note);
        return None;
    }
    let (id, shown, client) = (call.id.text(), call.shown_id(), call.client.to_string());
    let elapsed = call.began.elapsed();
    let mut record = CallRecord {
        request_id: call.bill.answer_id.as_deref().unwrap_or(&id),
        call_id: &shown,
        own_id: if call.bill.answer_id.is_some() {
            &id
        } else {
            ""
        },
        outcome,
        status: call.status,
        stream: note.stream,
        started_us: crate::store::now_us() - elapsed.as_micros() as i64,
        duration_us: elapsed.as_micros() as u64,
        first_token_us: call.bill.first_token.as_micros() as u64,
        end_user: &note.end_user,
        group: &call.route.group,
        call_type: note.call_type,
        requester_ip: &client,
        tags: &note.tags,
        session: &note.session,
        error_class: call.bill.error_class,
        cache: cache_use(&call.bill),
        cache_key: &call.bill.cache_key,
        ..CallRecord::default()
    };
    let snapshot = call.snapshot.clone();
    if let Some(account) = &call.account {
        let caller = &account.caller;
        record.api_key = &caller.token;
        record.key_alias = caller.key_alias.as_deref().unwrap_or_default();
        record.user = caller.user_id.as_deref().unwrap_or_default();
        record.team = caller.team_id.as_deref().unwrap_or_default();
        record.team_alias = caller.team_alias.as_deref().unwrap_or_default();
        record.organization = caller.organization_id.as_deref().unwrap_or_default();
    } else {
        record.api_key = &snapshot.settings.master_key_name;
        record.user = "default_user_id";
    }
    if let Some(at) = call.route.deployment {
        let deployment = &snapshot.deployments[at];
        record.model = &deployment.full_model;
        record.deployment = &deployment.id;
        record.provider = deployment.target.entry.name;
        record.api_base = &deployment.api_base;
    } else {
        let group = &call.route.group;
        let is_known = snapshot.deployments.iter().any(|made| made.group == *group);
        record.model = if is_known { group } else { "unknown-model" };
    }
    if let Some(passed) = &call.passed {
        record.model = &passed.model;
        record.provider = &passed.provider;
        record.api_base = &passed.api_base;
    }
    if let Some(charge) = &call.bill.charge {
        record.set_usage(&charge.used);
        record.set_cost(&charge.cost);
    }
    let mut buffer = ledger.buffer.borrow_mut();
    record.encode(&mut buffer);
    Some(ledger.push(*note, &buffer))
}

fn cache_use(bill: &Bill) -> CacheUse {
    match (bill.from_cache, bill.cache_key.is_empty()) {
        (true, _) => CacheUse::Hit,
        (false, false) => CacheUse::Miss,
        (false, true) => CacheUse::Off,
    }
}

/// The end of a call: its record, if the answer did not publish it.
pub(super) fn finish(shard: &Shard, call: &mut Call) {
    let outcome = match call.status {
        499 => Outcome::Cut,
        200..=399 => Outcome::Success,
        _ => Outcome::Failure,
    };
    publish(shard, call, outcome);
}

/// As LiteLLM names its functions.
fn call_type(operation: Operation) -> &'static str {
    match operation {
        Operation::Chat => "acompletion",
        Operation::Completions => "atext_completion",
        Operation::Embeddings => "aembedding",
        Operation::ImageGeneration => "aimage_generation",
        Operation::ImageEdit => "aimage_edit",
        Operation::ImageVariation => "aimage_variation",
        Operation::Transcription => "atranscription",
        Operation::Translation => "atranslation",
        Operation::Speech => "aspeech",
        Operation::Moderation => "amoderation",
        Operation::Rerank => "arerank",
        Operation::Responses => "aresponses",
        Operation::Messages => "anthropic_messages",
        Operation::GenerateContent => "agenerate_content",
        Operation::PassThrough => "pass_through_endpoint",
        Operation::MessagesCount | Operation::GenerateCount => "acount_tokens",
    }
}
