//! Instruction counts of keeping accounts: know a caller by its key, take its limits and its budget, write the call down
//! in the shard's ring, settle. No store, no socket; another thread's reading of the ring is done here now and then.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use shardgate::auth::caller::Caller;
use shardgate::auth::key::KeyHash;
use shardgate::directory::{Account, Budget, Demand, Limit, Moment, Payer, WINDOW};
use shardgate::limit::{Meter, Semaphore, Window, nano};
use shardgate::router::Micros;
use shardgate::spend::begun::Begun;
use shardgate::spend::record::CallRecord;

/// A key that a shard knows, with requests and tokens a minute, calls at once, and a budget.
fn known() -> Account {
    let window = |limit| Some(Arc::new(Window::new(limit, WINDOW, 2)));
    let spend = Arc::new(Meter::default());
    let limit = Limit {
        scope: "api_key",
        value: "key".into(),
        model: None,
        requests: window(1_000_000),
        tokens: window(100_000_000),
        parallel: Some((Arc::new(Semaphore::new(Some(100))), 100)),
    };
    let budget = Budget {
        payer: Payer::Key("key".into()),
        meter: Arc::clone(&spend),
        max: nano(1e6),
        model: None,
        period: None,
    };
    Account {
        caller: Caller::default(),
        limits: vec![limit],
        budgets: vec![budget],
        shares: None,
        spend,
        next: None,
    }
}

/// Calls of one key, each known, admitted, written down and settled.
pub(crate) fn account(rounds: u32) -> Option<()> {
    let key = b"sk-0123456789abcdef0123456789abcdef";
    let table = HashMap::from([(KeyHash::of(key), Arc::new(known()))]);
    let path = std::env::temp_dir().join(format!("instructions-{}.ring", std::process::id()));
    let (mut writer, mut reader, _) = shardgate_io::ring::open(&path, 1 << 20, 1).ok()?;
    let beside = path.with_extension("calls");
    let (mut open, _) = shardgate_io::ring::calls::open(&beside, 1, &writer).ok()?;
    let mut bytes = Vec::new();
    let mut moment = Moment {
        now: Micros(1_000_000),
        wall_us: 1_764_066_000_000_000,
    };
    for round in 0..rounds {
        moment.now = Micros(moment.now.0 + 50);
        let account = Arc::clone(table.get(&KeyHash::of(black_box(key)))?);
        account.caller.usable(moment.wall_us, false).ok()?;
        account.caller.may_use_route("/v1/chat/completions").ok()?;
        account.caller.may_use_model("gpt-4o", &|_, _| false).ok()?;
        let demand = Demand {
            model: "gpt-4o",
            tokens: 400,
            worst: Some(1_000_000),
        };
        let permit = account.admit(0, moment, demand, 422).ok()?;
        let slot = writer.reserve().ok()?;
        let begun = Begun {
            started_us: moment.wall_us,
            prompt_tokens: 400,
            id: b"01234567-89ab-cdef-0123-456789abcdef",
            api_key: &account.caller.token,
            call_type: "acompletion",
            deployment: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            provider: "openai",
            model: "openai/gpt-4o",
            group: "gpt-4o",
            ..Begun::default()
        };
        let place = open.take()?;
        open.begin(&place, |out| begun.encode(out));
        let record = CallRecord {
            request_id: "chatcmpl-0123456789abcdef0123456789abcdef",
            call_id: "01234567-89ab-cdef-0123-456789abcdef",
            own_id: "01234567-89ab-cdef-0123-456789abcdef",
            api_key: &account.caller.token,
            model: "openai/gpt-4o",
            group: "gpt-4o",
            provider: "openai",
            call_type: "acompletion",
            api_base: "https://api.openai.com/v1",
            requester_ip: "127.0.0.1",
            ..CallRecord::default()
        };
        record.encode(&mut bytes);
        open.end(&place, &writer);
        black_box(writer.push(slot, &bytes));
        open.free(place);
        permit.settle(380, 900_000);
        if round % 100 == 0 {
            // Another thread does this.
            reader.read(|_, _| true);
            reader.release();
        }
    }
    std::fs::remove_file(&beside).ok()?;
    std::fs::remove_file(&path).ok()
}
