//! Calls that the coordinator itself makes (token services, metadata hosts): one connection each, bounded in time and
//! size, no redirects. What is asked and what an answer means is the asker's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, LOCATION};
use hyper::http::response::Parts;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::provider::Base;

/// An answer's size.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A request.
pub(super) struct Ask {
    /// `GET`, `POST`, `PUT`.
    pub(super) method: &'static str,
    /// `http` or `https`, with query.
    pub(super) url: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// All of it.
    pub(super) body: Vec<u8>,
    /// For everything from the name's look-up to the last byte.
    pub(super) timeout: Duration,
}

/// An answer, whatever its status.
pub(super) struct Said {
    /// The status.
    pub(super) status: u16,
    /// At most a megabyte.
    pub(super) body: Vec<u8>,
}

/// An answer to a [`get`].
pub(super) struct Got {
    /// The status.
    pub(super) status: u16,
    /// `content-type`
    pub(super) content_type: Option<String>,
    /// `location`
    pub(super) location: Option<String>,
    /// All of it.
    pub(super) body: Vec<u8>,
}

/// Reads a file of a public host from one of `addresses`, which the asker has looked at: its name is not looked up again.
/// The asker keeps the time.
pub(super) async fn get(
    tls: Option<Arc<ClientConfig>>,
    base: &Base,
    url: &str,
    addresses: &[SocketAddr],
    bytes_max: usize,
) -> Result<Got, String> {
    let ask = Ask {
        method: "GET",
        url: url.to_owned(),
        headers: vec![
            ("accept".to_owned(), "*/*".to_owned()),
            ("user-agent".to_owned(), "shardgate".to_owned()),
        ],
        body: Vec::new(),
        timeout: Duration::ZERO,
    };
    let stream = connect_to(addresses).await?;
    let (parts, body) = match tls {
        Some(config) => talk(secured(config, base, stream).await?, base, ask, bytes_max).await?,
        None => talk(stream, base, ask, bytes_max).await?,
    };
    let text = |name| {
        let value = parts.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    Ok(Got {
        status: parts.status.as_u16(),
        content_type: text(CONTENT_TYPE),
        location: text(LOCATION),
        body,
    })
}

/// Makes one call. Its error names the host, never a query or a header.
pub(super) async fn ask(tls: Option<Arc<ClientConfig>>, ask: Ask) -> Result<Said, String> {
    let base = Base::parse(&ask.url).map_err(|_| "its URL is not usable".to_owned())?;
    let host = base.authority();
    let timeout = ask.timeout;
    match tokio::time::timeout(timeout, exchange(tls, base, ask)).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(why)) => Err(format!("{host} cannot be asked: {why}")),
        Err(_) => Err(format!(
            "{host} did not answer within {} s",
            timeout.as_secs_f32()
        )),
    }
}

async fn exchange(tls: Option<Arc<ClientConfig>>, base: Base, ask: Ask) -> Result<Said, String> {
    let bare = base.host.trim_matches(['[', ']']);
    let stream = connect(bare, base.port).await?;
    let (parts, body) = if base.tls {
        let config = tls.ok_or("no TLS")?;
        let stream = secured(config, &base, stream).await?;
        talk(stream, &base, ask, ANSWER_BYTES_MAX).await?
    } else {
        talk(stream, &base, ask, ANSWER_BYTES_MAX).await?
    };
    Ok(Said {
        status: parts.status.as_u16(),
        body,
    })
}

async fn secured(
    config: Arc<ClientConfig>,
    base: &Base,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let bare = base.host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| error.to_string())
}

/// Tries each address of a name.
async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| error.to_string())?;
    let addresses: Vec<SocketAddr> = found.collect();
    connect_to(&addresses).await
}

async fn connect_to(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

async fn talk<S>(
    stream: S,
    base: &Base,
    ask: Ask,
    bytes_max: usize,
) -> Result<(Parts, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let driven = tokio::spawn(connection);
    let mut request = hyper::Request::builder()
        .method(ask.method)
        .uri(path_and_query(&ask.url))
        .header(HOST, base.authority());
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(ask.body)))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(text)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, bytes_max)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    driven.abort();
    Ok((parts, body.to_bytes().to_vec()))
}

/// What stands in the request line: a trailing slash counts.
fn path_and_query(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('#').next().unwrap_or_default();
    match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('?') => format!("/{}", &rest[at..]),
        Some(at) => rest[at..].to_owned(),
        None => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_url_has_a_request_line() {
        let check = |url: &str, expected: &str| assert_eq!(super::path_and_query(url), expected);
        check("http://h", "/");
        check("http://h:1/a/b/?c=d#e", "/a/b/?c=d");
        check("https://h?c=d", "/?c=d");
    }
}
