//! Requests that are passed on in the provider's own dialect: authorised and limited as every call is, sent with our
//! credential in place of the client's, the answer relayed as it is and looked at for what it used.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use serde_json::{Map, Value};
use shardgate_io::buffer::Buf;
use shardgate_io::driver::Pieces;
use shardgate_io::http1::client::{Data, Exchange, Headers, Outgoing as Sendable};
use shardgate_io::http1::encode::{LAST_CHUNK, end_head, header, header_u64, request_line};
use shardgate_io::http1::head::Method;
use shardgate_io::http1::server::{After, Connection, Request};

use super::answer::{self, Length};
use super::attempt::{Work, unboxed};
use super::body::Asked;
use super::call::{Call, Charge, Passed};
use super::exchange::{self, Failed};
use super::relay;
use super::request::{gone, read_body, unread};
use super::{Shard, admit, callers, credential, fault, google, ledger, turns};
use crate::dialect::foreign::Observer;
use crate::dialect::multipart::Multipart;
use crate::dialect::scan::scan;
use crate::endpoint::resource::{self, Family};
use crate::endpoint::without_root;
use crate::error::GatewayError;
use crate::provider::{Moment, Operation, Route, Way};
use crate::snapshot::{Deployment, Passage, Snapshot};
use crate::spend::record::Outcome;
use crate::spend::usage::Quantities;

/// Head and body up to this size are sent with one write.
const ONE_WRITE_BYTES_MAX: usize = 8 * 1024;

/// Whether `path` is passed on: by a route of a provider, or as a resource.
pub(super) fn is_here(snapshot: &Snapshot, path: &str) -> bool {
    let path = without_root(path, &snapshot.settings.root_path);
    resource::of(path).is_some() || snapshot.passages.of(path).is_some()
}

/// Where a request goes.
struct Found<'a> {
    deployment: &'a Deployment,
    way: Way,
    rest: String,
    rules: Option<&'a Passage>,
    /// The client's query without what was meant for us.
    query: String,
}

/// Serves one request to its end.
pub(super) async fn serve(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    mut request: Box<Request>,
) -> After {
    let snapshot = call.snapshot.clone();
    if request.head.method == Method::Head {
        let body = br#"{"detail":"Method Not Allowed"}"#;
        return answer::json(shard, call, connection, 405, body).await;
    }
    let path = without_root(&call.path, &snapshot.settings.root_path).to_owned();
    let route = match resource::of(&path) {
        Some(_) => None,
        None => snapshot.passages.of(&path).map(|(passage, _)| passage),
    };
    prepare(call, route);
    if route.is_none_or(|route| route.needs_key) {
        match callers::authenticate(shard, call, connection, &request).await {
            Ok(Some(())) => {}
            Ok(None) => return gone(call),
            Err(error) => return answer::error(shard, call, connection, &error, true).await,
        }
    }
    if let Err(error) = read_body(call, connection, &mut request).await {
        return unread(shard, call, connection, error).await;
    }
    if let Some(stored) = turns::stored(&snapshot, &path, &call.method) {
        return turns::tell(shard, call, connection, &request, stored).await;
    }
    let parallel_max = snapshot.settings.parallel_max;
    let _place = match admit::place(&shard.shared.stats, parallel_max) {
        Ok(place) => place,
        Err(error) => return answer::error(shard, call, connection, &error, false).await,
    };
    let found = find(&snapshot, &path, &mut request);
    let admitted = match found {
        Ok(found) => admitted(shard, call, connection, &request, found).await,
        Err(error) => Err(error),
    };
    match admitted {
        Ok(Some((found, asked))) => pass(shard, call, connection, request, &found, &asked).await,
        Ok(None) => gone(call),
        Err(error) => answer::error(shard, call, connection, &error, false).await,
    }
}

/// What the route says of errors and keys.
fn prepare(call: &mut Call, route: Option<&Passage>) {
    let provider = route.map_or("", |route| route.provider.as_str());
    call.operation = Some(match provider {
        "anthropic" => Operation::Messages,
        "gemini" | "vertex_ai" => Operation::GenerateContent,
        _ => Operation::PassThrough,
    });
    call.key_in_query = route.is_some_and(|route| route.key_in_query && route.needs_key);
    call.key_in_basic = provider == "langfuse";
}

fn find<'a>(
    snapshot: &'a Snapshot,
    path: &str,
    request: &mut Request,
) -> Result<Found<'a>, GatewayError> {
    let missing = |why: &str| fault::unusable(why);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let query = text(request.head.query.of(&request.bytes));
    if let Some(resource) = resource::of(path) {
        let chosen = Choice::read(request, resource.provider);
        let (deployment, way) = chosen.find(snapshot, resource.family)?;
        chosen.take_out(request, resource.family, deployment);
        let ours =
            |pair: &&str| !pair.starts_with("custom_llm_provider=") && !pair.starts_with("model=");
        let query: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(ours)
            .collect();
        return Ok(Found {
            deployment,
            way,
            rest: resource.rest.to_owned(),
            rules: None,
            query: query.join("&"),
        });
    }
    let Some((passage, rest)) = snapshot.passages.of(path) else {
        return Err(missing("this path is not passed on"));
    };
    let deployment = passage.deployment.as_ref().map_err(|why| missing(why))?;
    let ours = passage.key_in_query && !passage.client_credentials;
    let is_key = |pair: &&str| ours && pair.starts_with("key=");
    let query: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !is_key(pair))
        .collect();
    let version = if passage.is_below_v1 && !rest.starts_with("/v1") {
        "/v1"
    } else {
        ""
    };
    Ok(Found {
        deployment,
        way: passage.way.clone(),
        rest: format!("{version}{rest}"),
        rules: Some(passage),
        query: query.join("&"),
    })
}

/// What a request for a resource says of where it lives.
#[derive(Default)]
struct Choice {
    provider: Option<String>,
    model: Option<String>,
    /// Parts of a form that are ours.
    parts: Vec<Range<usize>>,
}

impl Choice {
    fn read(request: &Request, in_path: Option<&str>) -> Choice {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut choice = Choice {
            provider: in_path
                .map(str::to_owned)
                .or_else(|| google::in_query(request, "custom_llm_provider").map(text))
                .or_else(|| request.header("custom-llm-provider").map(text))
                .or_else(|| request.header("custom_llm_provider").map(text)),
            model: google::in_query(request, "model").map(text),
            parts: Vec::new(),
        };
        let (kind, body) = (
            request.header("content-type").unwrap_or_default(),
            request.body(),
        );
        if kind.starts_with(b"multipart/") {
            let form = Multipart::parse(&String::from_utf8_lossy(kind), body);
            for part in form.iter().flat_map(|form| &form.parts) {
                let value = || text(&body[part.content.start as usize..part.content.end as usize]);
                match part.name.as_str() {
                    "custom_llm_provider" => {
                        choice.provider = choice.provider.or_else(|| Some(value()))
                    }
                    "model" | "target_model_names" => {
                        choice.model = choice.model.or_else(|| Some(value()))
                    }
                    _ => continue,
                }
                choice
                    .parts
                    .push(part.whole.start as usize..part.whole.end as usize);
            }
        } else if let Ok(fields) = scan(body) {
            let field = |name: &str| fields.string(body, name).map(std::borrow::Cow::into_owned);
            choice.provider = choice.provider.or_else(|| field("custom_llm_provider"));
            choice.model = choice.model.or_else(|| field("model"));
        }
        choice
    }

    /// The deployment of the model that was named, the settings of the provider, or the family's own.
    fn find<'a>(
        &self,
        snapshot: &'a Snapshot,
        family: Family,
    ) -> Result<(&'a Deployment, Way), GatewayError> {
        let named = self
            .model
            .as_deref()
            .and_then(|model| of_group(snapshot, model));
        let by_settings = || snapshot.passages.resource(family, self.provider.as_deref());
        let found = named.or_else(|| {
            let passage = by_settings()?;
            let deployment = passage.deployment.as_ref().ok()?;
            Some((deployment, passage.way.clone()))
        });
        // A stored answer lives where answers are made.
        let any = || {
            let provider = self.provider.as_deref();
            let of_provider = snapshot.deployments.iter().filter(|deployment| {
                deployment.unusable.is_none()
                    && provider.is_none_or(|name| name == deployment.target.entry.name)
            });
            of_provider
                .filter_map(|deployment| Some((deployment, deployment.target.resources()?)))
                .next()
        };
        found.or_else(any).ok_or_else(|| {
            let why = by_settings().and_then(|passage| passage.deployment.as_ref().err());
            fault::unusable(why.map_or(
                "no provider is configured for this resource: set files_settings, finetune_settings, \
                 router_settings.assistants_config, or OPENAI_API_KEY; or name a `model` of model_list",
                String::as_str,
            ))
        })
    }

    /// Takes what was meant for us out of the body; a model's public name becomes the provider's.
    fn take_out(&self, request: &mut Request, family: Family, deployment: &Deployment) {
        let made = if self.parts.is_empty() {
            self.without_fields(request.body(), family, deployment)
        } else {
            let (mut kept, mut at) = (Vec::new(), 0);
            for part in &self.parts {
                kept.extend_from_slice(&request.body()[at..part.start]);
                at = part.end;
            }
            kept.extend_from_slice(&request.body()[at..]);
            Some(kept)
        };
        if let Some(made) = made {
            google::replace_body(request, &made);
        }
    }

    fn without_fields(
        &self,
        body: &[u8],
        family: Family,
        deployment: &Deployment,
    ) -> Option<Vec<u8>> {
        let fields = scan(body).ok()?;
        let is_group = self.model.as_deref() == Some(deployment.group.as_str());
        let has_provider = fields.value(body, "custom_llm_provider").is_some();
        let has_group = is_group && fields.value(body, "model").is_some();
        if !has_provider && !has_group {
            return None;
        }
        let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        fields.remove("custom_llm_provider");
        if is_group && family == Family::Files {
            fields.remove("model");
        } else if is_group && let Some(model) = fields.get_mut("model") {
            *model = Value::String(deployment.target.model.clone());
        }
        serde_json::to_vec(&fields).ok()
    }
}

fn of_group<'a>(snapshot: &'a Snapshot, model: &str) -> Option<(&'a Deployment, Way)> {
    let first = model.split(',').next().unwrap_or(model).trim();
    let of_group = snapshot
        .deployments
        .iter()
        .filter(|deployment| deployment.group == first && deployment.unusable.is_none());
    of_group
        .filter_map(|deployment| Some((deployment, deployment.target.resources()?)))
        .next()
}

/// The caller may do this, and there is room. `None`: the client left.
async fn admitted<'a>(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: &Request,
    found: Found<'a>,
) -> Result<Option<(Found<'a>, Box<Asked>)>, GatewayError> {
    let model = model_of(&found.rest, request.body());
    call.passed = Some(Box::new(Passed {
        provider: match found.rules {
            Some(passage) => passage.provider.clone(),
            None => found.deployment.target.entry.name.to_owned(),
        },
        model: model.clone(),
        api_base: found.deployment.api_base.clone(),
    }));
    let asked = Box::new(Asked {
        operation: Operation::PassThrough,
        // The name of a deployment's group, where a resource named one, is as good as the provider's.
        model,
        alias: None,
        end_user: None,
        stream: false,
        keeps_model: false,
        array: false,
        include_usage: false,
        content: None,
        facts: Rc::default(),
        mock: None,
        own: None,
    });
    if found.rules.is_some_and(|rules| !rules.needs_key) {
        return ledger::reserve(shard, call, &asked).map(|()| Some((found, asked)));
    }
    let Some(asked) = callers::admit(shard, call, connection, asked).await? else {
        return Ok(None);
    };
    ledger::reserve(shard, call, &asked)?;
    Ok(Some((found, asked)))
}

/// The model that a request names: in its body, or in a path as Google and Amazon have it.
fn model_of(path: &str, body: &[u8]) -> String {
    if let Ok(fields) = scan(body)
        && let Some(model) = fields.string(body, "model")
    {
        return model.into_owned();
    }
    // Google's verbs stand behind a colon, Amazon's versions too.
    let marks: [(&str, &[char]); 3] = [
        ("/models/", &['/', ':']),
        ("/model/", &['/']),
        ("/deployments/", &['/']),
    ];
    for (mark, ends) in marks {
        if let Some((_, rest)) = path.split_once(mark) {
            let end = rest.find(ends).unwrap_or(rest.len());
            return crate::endpoint::percent_decoded(&rest[..end]);
        }
    }
    String::new()
}

/// Sends the request and relays what comes.
async fn pass(
    shard: &Shard,
    call: &mut Call,
    connection: &mut Connection,
    request: Box<Request>,
    found: &Found<'_>,
    asked: &Asked,
) -> After {
    let fresh_id = call.id.hex();
    let deadline = Instant::now() + call.snapshot.settings.timeout;
    let request = unboxed(request);
    let mut work = Box::new(Work::new(
        shard, call, connection, request, asked, None, &fresh_id,
    ));
    let exchange = answered(&mut work, found, deadline).await;
    let exchange = match exchange {
        Ok(exchange) => exchange,
        Err(None) => return gone(work.call),
        Err(Some(error)) => {
            return answer::error(shard, work.call, work.connection, &error, false).await;
        }
    };
    work.call.route.upstream = work.call.began.elapsed();
    let kind = exchange.header("content-type").unwrap_or_default();
    let is_json = memchr::memmem::find(kind, b"json").is_some()
        && memchr::memmem::find(kind, b"stream").is_none()
        && memchr::memmem::find(kind, b"jsonl").is_none();
    if is_json {
        whole(&mut work, exchange, found, deadline).await
    } else {
        let observer = match kind {
            _ if kind.starts_with(b"text/event-stream") => Some(Observer::default()),
            _ if kind.starts_with(b"application/vnd.amazon.eventstream") => {
                Some(Observer::of_frames())
            }
            _ => None,
        };
        streamed(&mut work, exchange, found, observer, deadline).await
    }
}

async fn answered(
    work: &mut Work<'_>,
    found: &Found<'_>,
    deadline: Instant,
) -> Result<Exchange, Failed> {
    let deployment = found.deployment;
    if let Some(fetched) = &deployment.credential {
        credential::ready(work, deployment, fetched, deadline).await?;
    }
    let lease = exchange::lease(work, deployment, false, deadline).await?;
    ledger::begin(work.shard, work.call);
    let reused = lease.reused;
    let sendable = sendable(work, found).map_err(Some)?;
    match exchange::send_and_wait(work, lease, sendable, deadline).await {
        Err(exchange::Broken::Stale) if reused => {
            let lease = exchange::lease(work, deployment, true, deadline).await?;
            let again = self::sendable(work, found).map_err(Some)?;
            let answered = exchange::send_and_wait(work, lease, again, deadline).await;
            answered.map_err(exchange::Broken::into_failed)
        }
        other => other.map_err(exchange::Broken::into_failed),
    }
}

fn sendable(work: &Work<'_>, found: &Found<'_>) -> Result<Sendable, GatewayError> {
    let body = work.body();
    let joins = found.rules.is_none_or(|rules| rules.merges_query);
    let mut route = Route {
        method: method(&work.call.method)?,
        path_and_query: found.way.target(&found.rest, &found.query, joins),
        headers: found.way.headers.clone(),
    };
    let target = &found.deployment.target;
    let is_signed = target.is_signed();
    if is_signed {
        let held = found.deployment.credential.as_ref().map(|own| own.look());
        let state = held.as_ref().and_then(|held| held.as_ref());
        let now_unix_s = answer::unix_seconds();
        let moment = Moment {
            now_unix_s,
            grant: state.and_then(|state| state.grant(now_unix_s)),
        };
        route.headers.extend(target.sign(&route, body, &moment)?);
        route
            .headers
            .push(("content-type".to_owned(), "application/json".to_owned()));
    }
    let mut head = Buf::small();
    request_line(&mut head, route.method, &route.path_and_query);
    header(&mut head, "host", target.base.authority().as_bytes());
    let all = found.rules.is_none_or(|rules| rules.forwards_headers);
    let clients = found.rules.is_some_and(|rules| rules.client_credentials);
    if clients {
        route
            .headers
            .retain(|(name, _)| !is_credential(name.as_bytes()));
    }
    for (name, value) in work.headers() {
        let goes = goes_along(name, all) || clients && is_credential(name);
        if goes && !(is_signed && name.eq_ignore_ascii_case(b"content-type")) {
            let is_ours = |(own, _): &&(String, String)| own.as_bytes().eq_ignore_ascii_case(name);
            match route.headers.iter().position(|own| is_ours(&own)) {
                // The client says which version of the API it speaks.
                Some(at) if says_version(name) => {
                    route.headers.remove(at);
                }
                Some(_) => continue,
                None => {}
            }
            header_bytes(&mut head, name, value);
        }
    }
    for (name, value) in &route.headers {
        header(&mut head, name, value.as_bytes());
    }
    if !body.is_empty() || !matches!(route.method, "GET" | "DELETE") {
        header_u64(&mut head, "content-length", body.len() as u64);
    }
    end_head(&mut head);
    if head.len() + body.len() <= ONE_WRITE_BYTES_MAX {
        head.extend_from_slice(body);
        return Ok(Sendable::One(head));
    }
    let mut pieces = Pieces::new();
    pieces.push(head);
    pieces.push_shared(&work.bytes, work.body_range());
    Ok(Sendable::Many(pieces))
}

/// Headers by which a client says which version of a provider's API it speaks.
fn says_version(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with(b"anthropic-") || name == b"openai-beta"
}

fn header_bytes(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    header(out, name, value);
}

fn method(name: &str) -> Result<&'static str, GatewayError> {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];
    let found = METHODS.iter().find(|method| **method == name);
    found
        .copied()
        .ok_or_else(|| GatewayError::malformed(format_args!("{name} is not passed on")))
}

/// Headers by which providers know a caller.
fn is_credential(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"authorization",
        b"api-key",
        b"x-api-key",
        b"x-goog-api-key",
        b"ocp-apim-subscription-key",
    ];
    NAMES.iter().any(|have| name.eq_ignore_ascii_case(have))
}

/// Headers that belong to one connection, to us, or are the client's credential stay here.
fn goes_along(name: &[u8], all: bool) -> bool {
    const STAY: &[&str] = &[
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "ocp-apim-subscription-key",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-goog-api-key",
        "x-shardgate-probe",
        "custom-llm-provider",
        "custom_llm_provider",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
    ];
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if matches!(name.as_str(), "content-type" | "accept") {
        return true;
    }
    all && !STAY.contains(&name.as_str())
        && !name.starts_with("x-litellm-")
        && !name.starts_with("x-forwarded-")
}

/// Notes what the answer used and costs.
fn bill(call: &mut Call, found: &Found<'_>, observer: &Observer) {
    if let Some(usage) = observer.usage() {
        let used = Quantities::from(&usage);
        let asked = call
            .passed
            .as_ref()
            .map(|passed| passed.model.as_str())
            .unwrap_or_default();
        let model = if asked.is_empty() {
            observer.model().unwrap_or_default()
        } else {
            asked
        };
        let cost = found.deployment.meter.cost_answered(&used, model);
        call.used = Some(usage.prompt_tokens + usage.completion_tokens);
        *call.bill.charge() = Charge { used, cost };
    }
    if let Some(rules) = found.rules {
        let cost = &mut call.bill.charge().cost;
        cost.original = cost.original.plus(rules.cost);
        cost.total = cost.total.plus(rules.cost);
    }
    call.cost = call.bill.cost().total.nanodollars();
    if let Some(passed) = call
        .passed
        .as_mut()
        .filter(|passed| passed.model.is_empty())
    {
        passed.model = observer.model().unwrap_or_default().to_owned();
    }
    call.bill.answer_id = observer.id().map(str::to_owned);
}

/// Starts the answer's head: the upstream's, without what belongs to its connection.
fn begin(work: &mut Work<'_>, status: u16, upstream: &Headers, out: &mut Vec<u8>) {
    const STAY: &[&str] = &[
        "access-control-allow-credentials",
        "access-control-allow-origin",
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    work.call.status = status;
    answer::begin(work.shard, work.call, status, out);
    header(out, "x-litellm-call-id", work.call.shown_id().as_bytes());
    header(
        out,
        "x-litellm-version",
        env!("CARGO_PKG_VERSION").as_bytes(),
    );
    callers::headers(work.shard, work.call, out);
    for (name, value) in upstream.each() {
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        if !STAY.contains(&lower.as_str()) {
            header_bytes(out, name, value);
        }
    }
}

async fn whole(
    work: &mut Work<'_>,
    mut exchange: Exchange,
    found: &Found<'_>,
    deadline: Instant,
) -> After {
    let bytes_max = work.call.snapshot.settings.response_bytes_max;
    let status = exchange.head.status;
    let body = exchange::collect(work, &mut exchange, bytes_max, deadline).await;
    let body = match body {
        Ok(body) => body,
        Err(None) => {
            exchange.finish();
            return gone(work.call);
        }
        Err(Some(error)) => {
            return answer::error(work.shard, work.call, work.connection, &error, false).await;
        }
    };
    let headers = exchange.take_headers();
    exchange.finish();
    let mut observer = Observer::default();
    if status < 400 {
        observer.whole(&body);
        bill(work.call, found, &observer);
    }
    let mut out = Buf::for_bytes(body.len() + answer::HEAD_BYTES);
    begin(work, status, &headers, &mut out);
    let shown = crate::spend::meter::header(&work.call.bill.cost());
    header(
        &mut out,
        "x-litellm-response-cost",
        shown.as_str().as_bytes(),
    );
    let close = answer::finish(
        work.call,
        work.connection,
        Length::Known(body.len()),
        &mut out,
    );
    out.extend_from_slice(&body);
    let outcome = if status < 400 {
        Outcome::Success
    } else {
        Outcome::Failure
    };
    if !ledger::settle(work.shard, work.call, outcome).await {
        return After::Abort;
    }
    answer::send(work.call, work.connection, out, close).await
}

/// Bytes as they come; events are looked at on their way.
async fn streamed(
    work: &mut Work<'_>,
    mut exchange: Exchange,
    found: &Found<'_>,
    mut observer: Option<Observer>,
    deadline: Instant,
) -> After {
    let status = exchange.head.status;
    let upstream = exchange.take_headers();
    let mut out = Buf::large();
    begin(work, status, &upstream, &mut out);
    drop(upstream);
    let close = answer::finish(work.call, work.connection, Length::Unknown, &mut out);
    work.forget_request();
    work.call.bill.first_token = work.call.began.elapsed();
    let ended = loop {
        match exchange.data() {
            Ok(Data::Run(range)) => {
                let run = &exchange.bytes()[range];
                if let Some(observer) = &mut observer {
                    observer.feed(run);
                }
                answer::push_chunk(work.call.http11, run, &mut out);
                continue;
            }
            Ok(Data::End) => break Some(out),
            Ok(Data::NeedMore) => {}
            Err(_) => break None,
        }
        if !out.is_empty() {
            match work.connection.send(out, 0).await {
                Ok(back) => out = back,
                Err(_) => break None,
            }
        }
        if relay::wait(&mut exchange, work.connection, deadline)
            .await
            .is_err()
        {
            break None;
        }
    };
    exchange.finish();
    bill(work.call, found, &observer.unwrap_or_default());
    // Without its last chunk nobody can take an answer for complete that was cut.
    let outcome = match (&ended, status) {
        (None, _) => Outcome::Cut,
        (_, ..400) => Outcome::Success,
        _ => Outcome::Failure,
    };
    let is_written = ledger::settle(work.shard, work.call, outcome).await;
    let Some(mut out) = ended.filter(|_| is_written) else {
        work.call.status = 499;
        return After::Abort;
    };
    if work.call.http11 {
        out.extend_from_slice(LAST_CHUNK);
    }
    answer::send(work.call, work.connection, out, close).await
}
