//! What the coordinator and the shards say to each other. Rare on purpose: see the mesh in
//! `shardgate_io`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::auth::caller::Denied;
use crate::auth::key::KeyHash;
use crate::dialect::media::File;
use crate::directory::Account;
use crate::error::GatewayError;
use crate::snapshot::{Credential, Deployment, Own, Snapshot};

/// The header by which the coordinator's own health calls pass authentication: its value is a token
/// that only this process knows.
pub const PROBE_HEADER: &str = "x-shardgate-probe";

/// Coordinator to shard.
pub enum ToShard {
    /// Serve new requests by this; those in flight keep what they have.
    Snapshot(Arc<Snapshot>),
    /// The coordinator stands and the database's models are in the snapshot: say "ready".
    Ready,
    /// Stop accepting; end what runs past the deadline.
    Drain {
        /// Until when requests may go on.
        deadline: Instant,
    },
    /// The answer to [`FromShard::LookUp`], and every change of a key since.
    Account {
        /// The key.
        hash: KeyHash,
        /// What it is now.
        found: Found,
        /// When that was read, as a number that grows: what was read earlier and comes later is old.
        turn: u64,
    },
    /// Limits were leased: who waits for some looks again.
    Leased,
    /// The answer to [`FromShard::Admin`].
    Reply {
        /// The id it was asked with.
        id: u64,
        /// The answer.
        answer: AdminAnswer,
    },
}

/// What the coordinator knows of a key.
#[derive(Clone)]
pub enum Found {
    /// Its account.
    Account(Arc<Account>),
    /// There is no such key.
    Nobody,
    /// It is as good as the key with this hash.
    Instead(KeyHash),
    /// The proof was looked at and is not good.
    Refused(Arc<Denied>),
    /// The database cannot be asked now.
    Away,
}

/// Proof of who somebody is that only the coordinator can judge: keys of an identity provider are
/// fetched and users looked up for it, which no shard waits for.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A token that is no virtual key: a JWT, or one that an OAuth2 server knows.
    Bearer(String),
    /// What a trusted OAuth2 proxy says: fields of an identity with their values.
    Named(Vec<(String, String)>),
    /// A request, whose caller `custom_auth` knows.
    Presented(Box<Presented>),
}

/// A request's head, as a function of the configuration judges it.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The key that it carries; empty where it has none.
    pub key: String,
    /// GET, POST, ...
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The client's address.
    pub client: String,
}

impl Presented {
    /// Headers that differ from one request to the next without saying who calls.
    const OF_ONE_REQUEST: [&str; 8] = [
        "content-length",
        "date",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "x-request-id",
        "x-litellm-call-id",
        "x-stainless-retry-count",
    ];

    /// Everything that the verdict may depend on.
    fn parts(&self) -> impl Iterator<Item = &str> {
        let head = [
            &self.key,
            &self.method,
            &self.path,
            &self.query,
            &self.client,
        ];
        let lasting = |name: &str| !Self::OF_ONE_REQUEST.contains(&name);
        let headers = self.headers.iter().filter(move |(name, _)| lasting(name));
        let headers = headers.flat_map(|(name, value)| [name, value]);
        head.into_iter().chain(headers).map(String::as_str)
    }
}

impl Proof {
    /// The hash of the whole proof: its name in the tables of callers.
    pub fn hash(&self) -> KeyHash {
        match self {
            Proof::Bearer(token) => KeyHash::of(token.as_bytes()),
            Proof::Named(fields) => {
                let parts = fields.iter().flat_map(|(name, value)| [name, value]);
                hash_of(b"named by a proxy", parts.map(String::as_str))
            }
            Proof::Presented(presented) => hash_of(b"presented", presented.parts()),
        }
    }
}

/// The hash of texts with their lengths, so that no two lists have the same one.
fn hash_of<'a>(kind: &[u8], parts: impl Iterator<Item = &'a str>) -> KeyHash {
    let mut all = kind.to_vec();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    KeyHash::of(&all)
}

/// The deployment, or why it cannot be made.
pub type Dressed = Result<Arc<Deployment>, String>;

/// Asks for a deployment in a client's own credentials.
pub struct Dress {
    /// The deployment's id.
    pub deployment: String,
    /// The client's credentials.
    pub own: Own,
    /// Where it is put, or why it cannot be made.
    pub made: Arc<Mutex<Option<Dressed>>>,
}

/// Files in the order of their addresses, or why they cannot be had.
pub type Files = Result<Vec<File>, GatewayError>;

/// Files that a request names by address.
pub struct Wanted {
    /// Where they are.
    pub urls: Vec<String>,
    /// Until when somebody waits for them.
    pub until: Instant,
    /// Where they are put, in the order of `urls`, or why they cannot be had.
    pub found: Arc<Mutex<Option<Files>>>,
}

/// An answer of the Responses API that may be gone on from.
pub struct Remembered {
    /// Whose it is: the caller's key; empty for the master key's holder.
    pub owner: String,
    /// The answer that its request went on from.
    pub previous: Option<String>,
    /// What the request said.
    pub input: Vec<serde_json::Value>,
    /// The answer as the client has it.
    pub response: Vec<u8>,
}

/// What is asked of a stored answer.
pub struct StoredAsk {
    /// What.
    pub verb: StoredVerb,
    /// Of which.
    pub response_id: String,
    /// By whom; none: by somebody who may see all.
    pub owner: Option<String>,
}

/// What may be asked of a stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredVerb {
    /// All that was said up to and in it, as a list of items.
    History,
    /// The answer.
    Whole,
    /// What its request said, as the API pages it by itself.
    Items,
    /// The same in the client's pages.
    Page {
        /// The oldest first.
        ascending: bool,
        /// So many, at most.
        limit: usize,
        /// Behind the one of that id.
        after: Option<String>,
    },
    /// That it is forgotten.
    Delete,
    /// That it is made no further.
    Cancel,
}

impl StoredVerb {
    /// The page that a query asks for.
    pub fn of_query<'a>(value: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let text = |name| {
            let text = std::str::from_utf8(value(name)?).ok()?;
            Some(crate::endpoint::percent_decoded(text))
        };
        Self::Page {
            ascending: text("order").is_some_and(|order| order == "asc"),
            limit: text("limit")
                .and_then(|limit| limit.parse().ok())
                .unwrap_or(20)
                .clamp(1, 100),
            after: text("after"),
        }
    }
}

/// The texts of a call that is over.
#[derive(Debug)]
pub struct CallTexts {
    /// How its row may be called: by the answer's id, or by the call's own.
    pub rows: [String; 2],
    /// `x-litellm-call-id`, by which the row is known to be the call's.
    pub call_id: String,
    /// The request's body.
    pub asked: Vec<u8>,
    /// The answer, or the events of a stream.
    pub answered: Vec<u8>,
}

/// Shard to coordinator.
pub enum FromShard {
    /// What a call asked and was answered, for its row.
    Texts(Box<CallTexts>),
    /// Who has this key?
    LookUp {
        /// The key.
        hash: KeyHash,
    },
    /// Whose is this token, or who is it that a trusted proxy names?
    Prove {
        /// What the answer is known by.
        hash: KeyHash,
        /// What was brought.
        proof: Proof,
    },
    /// Make a deployment with a client's own credentials.
    Dress {
        /// Names the answer, which says only that it is made.
        id: u64,
        /// Which, with what, and where it is put.
        dress: Box<Dress>,
    },
    /// What binds this end user or tag?
    LookUpPayer {
        /// Its name: `end_user:ID`, `tag:NAME`, `everybody`. Shards know it by the name's hash.
        name: String,
    },
    /// How many tokens is this prompt? Counted on a thread of its own; the reply's body is the number.
    Count {
        /// Names the answer.
        id: u64,
        /// The model that splits the text.
        model: String,
        /// A request's body.
        prompt: Vec<u8>,
    },
    /// Fetch these files.
    Media {
        /// Names the answer, which says only that they are there.
        id: u64,
        /// Which, until when, and where they are put.
        wanted: Box<Wanted>,
    },
    /// Keep this answer.
    Remember(Box<Remembered>),
    /// What is known of a stored answer?
    Stored {
        /// Names the answer.
        id: u64,
        /// What is asked, of which, by whom.
        ask: Box<StoredAsk>,
    },
    /// Fetch this credential and keep it fresh: calls wait for it. The sender has taken the turn.
    Fetch(Arc<Credential>),
    /// Somebody waits for a lease.
    LeaseWanted,
    /// A request that the coordinator's API answers.
    Admin {
        /// Names the answer.
        id: u64,
        /// The request.
        request: Box<AdminRequest>,
    },
}

/// A request for the admin API, its body read whole.
pub struct AdminRequest {
    /// The method's name.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, names in the client's spelling.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The client's address.
    pub peer: IpAddr,
    /// The caller proved that it is the master key's holder, or the gateway has none.
    pub caller: AdminCaller,
    /// Whom a trusted proxy names.
    pub proof: Option<Proof>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCaller {
    /// Holds the master key.
    Admin,
    /// The gateway has no master key: LLM and information routes are open, admin routes refuse.
    Open,
    /// No proof that a shard can check: a virtual key, or nothing.
    Unknown,
}

/// An answer of the admin API.
pub struct AdminAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, without those about framing.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}
