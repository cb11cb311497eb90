//! Files that clients name by address, fetched for providers that take bytes only. Bounded in number, size, time and
//! redirects; no address of a private network is asked, unless its host is allowed. Knows no dialect.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;

use super::Control;
use super::outbound::{self, Got};
use crate::auth::network::is_public;
use crate::dialect::hub::media_type_of;
use crate::dialect::media::File;
use crate::error::{ErrorClass, GatewayError};
use crate::message::{AdminAnswer, ToShard, Wanted};
use crate::provider::Base;
use crate::snapshot::UrlRules;

/// Files of one request.
const FILES_MAX: usize = 20;
/// All files of one request together.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Fetches that run at the same time; others wait their turn.
const FETCHES_MAX: usize = 16;
/// One file, its redirects included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
const REDIRECTS_MAX: usize = 3;
/// How long a file is kept for the request's retries and the conversation's next turn.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// All that is kept.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What was fetched lately, and whose turn it is.
pub(super) struct Media {
    turns: Semaphore,
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    url: String,
    at: Instant,
    file: Arc<File>,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(FETCHES_MAX),
            kept: Mutex::default(),
        }
    }
}

impl Media {
    fn look(&self, url: &str) -> Option<Arc<File>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept
            .front()
            .is_some_and(|first| first.at.elapsed() > KEPT_FOR)
        {
            kept.pop_front();
        }
        let found = kept.iter().find(|one| one.url == url)?;
        Some(found.file.clone())
    }

    fn keep(&self, url: &str, file: &Arc<File>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Kept {
            url: url.to_owned(),
            at: Instant::now(),
            file: file.clone(),
        });
        let mut bytes: usize = kept.iter().map(|one| one.file.base64.len()).sum();
        while bytes > KEPT_BYTES_MAX
            && let Some(first) = kept.pop_front()
        {
            bytes -= first.file.base64.len();
        }
    }
}

/// Fetches what a request wants and tells its shard.
pub(super) async fn answer(control: Arc<Control>, shard: usize, id: u64, wanted: Box<Wanted>) {
    let left = wanted.until.saturating_duration_since(Instant::now());
    let found = match tokio::time::timeout(left, all(&control, &wanted.urls)).await {
        Ok(found) => found,
        Err(_) => Err(refused("the request's time was over")),
    };
    *wanted.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    let answer = AdminAnswer {
        status: 200,
        headers: Vec::new(),
        body: Vec::new(),
    };
    let _ = control.hubs[shard].send(ToShard::Reply { id, answer });
}

async fn all(control: &Control, urls: &[String]) -> Result<Vec<File>, GatewayError> {
    if urls.len() > FILES_MAX {
        let text = format!(
            "at most {FILES_MAX} files of one request are fetched; it names {}",
            urls.len()
        );
        return Err(refused(&text));
    }
    let mut bytes = 0;
    let mut files = Vec::new();
    for url in urls {
        let file = one(control, url).await?;
        bytes += file.base64.len();
        if bytes > BYTES_MAX / 3 * 4 {
            return Err(refused(&format!(
                "the request's files have more than {BYTES_MAX} bytes together"
            )));
        }
        files.push(File::clone(&file));
    }
    Ok(files)
}

async fn one(control: &Control, url: &str) -> Result<Arc<File>, GatewayError> {
    let media = &control.media;
    let rules = &control.snapshot().settings.urls;
    if rules.bytes_max == 0 {
        return Err(refused(
            "this model's provider takes bytes only, and fetching is off (MAX_IMAGE_URL_DOWNLOAD_SIZE_MB is 0); send a data: URL",
        ));
    }
    if let Some(file) = media.look(url) {
        return Ok(file);
    }
    let _turn = media.turns.acquire().await;
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    let fetched = match tokio::time::timeout(FETCH_TIMEOUT, follow(control, rules, url)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("no answer within {} s", FETCH_TIMEOUT.as_secs())),
    };
    let file = fetched.map_err(|why| refused(&format!("{shown} could not be fetched: {why}")))?;
    let file = Arc::new(file);
    media.keep(url, &file);
    Ok(file)
}

async fn follow(control: &Control, rules: &UrlRules, url: &str) -> Result<File, String> {
    let mut at = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let got = get(control, rules, &at).await?;
        match got.status {
            200 => return file(&at, got),
            301 | 302 | 303 | 307 | 308 => {
                let to = got.location.ok_or("a redirect says not where to")?;
                at = joined(&at, &to).ok_or("a redirect leads nowhere")?;
            }
            status => return Err(format!("its host answered {status}")),
        }
    }
    Err(format!("more than {REDIRECTS_MAX} redirects"))
}

async fn get(control: &Control, rules: &UrlRules, url: &str) -> Result<Got, String> {
    let base = Base::parse(url).map_err(|_| "the URL is not usable")?;
    let addresses = addresses(rules, &base).await?;
    let tls = match base.tls {
        true => Some(control.lasting.origins.client_tls(true)?.config()),
        false => None,
    };
    outbound::get(tls, &base, url, &addresses, rules.bytes_max).await
}

/// Where to connect to. The name is looked up once and what is dialled is what was judged.
async fn addresses(rules: &UrlRules, base: &Base) -> Result<Vec<SocketAddr>, String> {
    let bare = base.host.trim_matches(['[', ']']).to_owned();
    let found = tokio::net::lookup_host((bare.as_str(), base.port)).await;
    let found: Vec<_> = found.map_err(|_| "its host does not resolve")?.collect();
    let is_named = |host: &String| {
        host.eq_ignore_ascii_case(&bare)
            || host.eq_ignore_ascii_case(&format!("{bare}:{}", base.port))
    };
    if rules.checked
        && !rules.hosts_allowed.iter().any(is_named)
        && let Some(private) = found.iter().find(|address| !is_public(address.ip()))
    {
        return Err(format!(
            "{} is no public address; if its host is one of yours, name {bare} in litellm_settings.user_url_allowed_hosts",
            private.ip()
        ));
    }
    match found.is_empty() {
        true => Err("its host has no address".to_owned()),
        false => Ok(found),
    }
}

/// Where a redirect leads.
fn joined(from: &str, to: &str) -> Option<String> {
    if to.contains("://") {
        return Some(to.to_owned());
    }
    let (scheme, rest) = from.split_once("://")?;
    if let Some(rest) = to.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if to.starts_with('/') {
        return Some(format!("{scheme}://{authority}{to}"));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    Some(format!("{scheme}://{authority}{folder}{to}"))
}

fn file(url: &str, got: Got) -> Result<File, String> {
    let said = got.content_type.unwrap_or_default();
    let said = said
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let vague = matches!(
        said.as_str(),
        "" | "application/octet-stream" | "binary/octet-stream"
    );
    let media_type = match vague {
        true => looks_like(&got.body)
            .or_else(|| media_type_of(url))
            .map(str::to_owned),
        false => Some(said.clone()).filter(|said| is_file(said)),
    };
    let media_type = media_type
        .ok_or_else(|| format!("its content type {said:?} is none of an image or a document"))?;
    Ok(File {
        media_type,
        base64: STANDARD.encode(&got.body),
    })
}

/// Types that models read.
fn is_file(media_type: &str) -> bool {
    const KINDS: [&str; 4] = ["image/", "audio/", "video/", "text/"];
    const DOCUMENTS: [&str; 6] = [
        "application/json",
        "application/msword",
        "application/pdf",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ];
    KINDS.iter().any(|kind| media_type.starts_with(kind)) || DOCUMENTS.contains(&media_type)
}

/// The type by a file's first bytes.
fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "image/webp",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => return None,
    })
}

fn refused(text: &str) -> GatewayError {
    GatewayError::refused(
        ErrorClass::BadRequest,
        format_args!("litellm.ImageFetchError: {text}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined() {
        let check = |to: &str, expected: &str| {
            assert_eq!(joined("https://h:1/a/b?c=d", to).as_deref(), Some(expected));
        };
        check("http://o/x", "http://o/x");
        check("//o/x", "https://o/x");
        check("/x?y", "https://h:1/x?y");
        check("x", "https://h:1/a/x");
    }

    #[test]
    fn a_type_is_told_by_word_or_bytes() {
        let check = |content_type: &str, body: &[u8], expected: Option<&str>| {
            let got = Got {
                status: 200,
                content_type: Some(content_type.to_owned()),
                location: None,
                body: body.to_vec(),
            };
            let found = file("https://h/cat", got).ok().map(|file| file.media_type);
            assert_eq!(found.as_deref(), expected, "{content_type}");
        };
        check("image/PNG; charset=x", b"", Some("image/png"));
        check(
            "application/octet-stream",
            b"%PDF-1.4",
            Some("application/pdf"),
        );
        check("application/octet-stream", b"MZ", None);
        check("application/x-sh", b"", None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let media = Media::default();
        let file = Arc::new(File {
            media_type: String::new(),
            base64: "x".repeat(KEPT_BYTES_MAX / 4),
        });
        for number in 0..10 {
            media.keep(&number.to_string(), &file);
        }
        assert!(media.look("0").is_none() && media.look("9").is_some());
        assert_eq!(media.kept.lock().unwrap().len(), 4);
    }
}
