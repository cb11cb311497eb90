//! `store_prompts_in_spend_logs`: what a call asked and what it was answered, kept while it runs and told to
//! the coordinator when its record is published. Money never waits for texts: they are told in a message,
//! and one that finds the mailbox full is left out.

use shardgate_io::http1::server::Request;

use super::Shard;
use super::call::Call;
use crate::message::{CallTexts, FromShard};

/// Bytes of either text that are kept.
const BYTES_MAX: usize = 1 << 20;

/// The texts of a running call.
#[derive(Default)]
pub(super) struct Texts {
    asked: Vec<u8>,
    answered: Vec<u8>,
}

impl Texts {
    /// More of the answer, as the client gets it.
    pub(super) fn answered(&mut self, bytes: &[u8]) {
        let room = BYTES_MAX.saturating_sub(self.answered.len());
        self.answered
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Keeps what a call asks, where that is wanted.
pub(super) fn keep(call: &mut Call, request: &Request) {
    if !call.snapshot.settings.store_prompts {
        return;
    }
    let body = request.body();
    // Half a JSON text is none.
    let asked = if body.len() <= BYTES_MAX { body } else { b"" };
    call.texts = Some(Box::new(Texts {
        asked: asked.to_vec(),
        answered: Vec::new(),
    }));
}

/// Tells the coordinator what was kept, when the call is over.
pub(super) fn tell(shard: &Shard, call: &mut Call) {
    let Some(texts) = call.texts.take() else {
        return;
    };
    let Texts { asked, answered } = *texts;
    let own = call.id.text();
    let texts = Box::new(CallTexts {
        rows: [
            call.bill
                .answer_id
                .clone()
                .unwrap_or_else(|| own.to_string()),
            own.to_string(),
        ],
        call_id: call.shown_id().to_string(),
        asked,
        answered,
    });
    // A full mailbox: the row stays without its texts.
    let _ = shard.mailbox.send(FromShard::Texts(texts));
}
