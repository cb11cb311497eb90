//! A base URL, split once into what a connection and a request head need.

/// `scheme://host:port/prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Base {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, the scheme's own when the URL names none.
    pub port: u16,
    /// The path below which the provider's operations stand: empty or `/...` without a slash at its end.
    pub prefix: String,
    /// A query that the base carries, without its question mark; goes behind every path.
    pub query: String,
}

impl Base {
    /// Splits an `http` or `https` URL. Credentials in it are refused, as they would show in logs.
    pub fn parse(url: &str) -> Result<Self, String> {
        let url = url.trim();
        let (tls, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => {
                return Err(format!(
                    "api_base must start with http:// or https://; got {url:?}"
                ));
            }
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("api_base must not hold credentials; use api_key".to_owned());
        }
        let (host, port) = split_port(authority, if tls { 443 } else { 80 })?;
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return Err(format!("api_base has no usable host: {url:?}"));
        }
        if !prefix
            .bytes()
            .chain(query.bytes())
            .all(|byte| byte.is_ascii_graphic())
        {
            return Err(format!("api_base must be ASCII without spaces: {url:?}"));
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            prefix: prefix.trim_end_matches('/').to_owned(),
            query: query.to_owned(),
        })
    }

    /// The prefix with `path` behind it, unless the prefix already ends in it, and the base's query.
    pub fn join(&self, path: &str) -> String {
        let mut out = self.prefix.clone();
        if path.is_empty() || !self.prefix.ends_with(path) {
            out.push_str(path);
        }
        if !self.query.is_empty() {
            out.push('?');
            out.push_str(&self.query);
        }
        out
    }

    /// What stands in `Host`.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.tls { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The URL again, without its query.
    pub fn url(&self) -> String {
        format!(
            "{}://{}{}",
            if self.tls { "https" } else { "http" },
            self.authority(),
            self.prefix
        )
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':')
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), String> {
    let (host, port) = if let Some(inside) = authority.strip_prefix('[') {
        let Some((host, rest)) = inside.split_once(']') else {
            return Err(format!("api_base has an unclosed bracket: {authority:?}"));
        };
        (host, rest.strip_prefix(':'))
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        None | Some("") => default,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("api_base has no usable port: {authority:?}"))?,
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_split() {
        let check = |url: &str, authority: &str, path: &str| {
            let base = Base::parse(url).unwrap();
            assert_eq!(
                (base.authority().as_str(), base.join("/chat").as_str()),
                (authority, path),
                "{url}"
            );
        };
        check("https://api.openai.com/v1", "api.openai.com", "/v1/chat");
        check("https://api.openai.com/v1/", "api.openai.com", "/v1/chat");
        check("http://localhost:8000", "localhost:8000", "/chat");
        check("http://[::1]:8000/a/b?x=1", "[::1]:8000", "/a/b/chat?x=1");
        check("HTTP://h:80/v1/chat", "h", "/v1/chat");
        for wrong in [
            "",
            "api.openai.com",
            "ftp://x",
            "https://",
            "http://u:p@h/",
            "http://h:0",
            "http://h:x",
            "http://h/a b",
        ] {
            assert!(Base::parse(wrong).is_err(), "{wrong}");
        }
    }
}
