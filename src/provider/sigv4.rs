//! AWS Signature Version 4: which headers prove who sends a request. The time is passed in.

use sha2::{Digest, Sha256};

use super::Secret;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The key's id.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// The token that goes with temporary keys.
    pub session_token: Option<Secret>,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `POST`, `GET`.
    pub method: &'a str,
    /// The Host header.
    pub host: &'a str,
    /// As it stands in the request line.
    pub path_and_query: &'a str,
    /// `None` is not signed.
    pub content_type: Option<&'a str>,
    /// All of it.
    pub body: &'a [u8],
}

/// Where and when.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `us-east-1`.
    pub region: &'a str,
    /// `bedrock`, `sts`.
    pub service: &'a str,
    /// Now, seconds of unix time.
    pub now_unix_s: u64,
}

/// The headers to add.
pub fn sign(
    request: &Request<'_>,
    credentials: &Credentials,
    scope: &Scope<'_>,
) -> Vec<(String, String)> {
    let moment = timestamp(scope.now_unix_s);
    let date = &moment[..8];
    let token = credentials.session_token.as_ref().map(Secret::reveal);
    let mut headers = vec![("host", request.host), ("x-amz-date", moment.as_str())];
    headers.extend(request.content_type.map(|kind| ("content-type", kind)));
    headers.extend(token.map(|token| ("x-amz-security-token", token)));
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let (path, query) = request
        .path_and_query
        .split_once('?')
        .unwrap_or((request.path_and_query, ""));
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        encode(path),
        canonical_query(query)
    );
    for (name, value) in &headers {
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    canonical.push_str(&format!(
        "\n{names}\n{}",
        hex(&Sha256::digest(request.body))
    ));
    let place = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!(
        "AWS4-HMAC-SHA256\n{moment}\n{place}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let mut key = hmac(
        format!("AWS4{}", credentials.secret_key.reveal()).as_bytes(),
        date.as_bytes(),
    );
    for part in [scope.region, scope.service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );
    let mut added = vec![
        ("x-amz-date".to_owned(), moment.clone()),
        ("authorization".to_owned(), authorization),
    ];
    added.extend(token.map(|token| ("x-amz-security-token".to_owned(), token.to_owned())));
    added
}

/// A path, encoded once more than it is on the wire, as all services but S3 want it.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.contains('=') {
            true => pair.to_owned(),
            false => format!("{pair}="),
        })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// HMAC of SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20150830T123600Z`.
fn timestamp(unix_s: u64) -> String {
    let (days, seconds) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Year, month and day of a day since 1970. Years are counted from March, so that the leap day is their last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(headers: &[(String, String)]) -> &str {
        let (_, value) = headers
            .iter()
            .find(|(name, _)| name == "authorization")
            .unwrap();
        value.rsplit("Signature=").next().unwrap()
    }

    #[test]
    fn the_published_vector_is_met() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let request = Request {
            method: "GET",
            host: "example.amazonaws.com",
            path_and_query: "/",
            content_type: None,
            body: b"",
        };
        let scope = Scope {
            region: "us-east-1",
            service: "service",
            now_unix_s: 1_440_938_160,
        };
        let headers = sign(&request, &credentials, &scope);
        assert_eq!(
            signature(&headers),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[test]
    fn hmac_meets_rfc_4231() {
        let tag = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(
            hex(&tag),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn days_have_dates() {
        assert_eq!(timestamp(0), "19700101T000000Z");
        assert_eq!(timestamp(951_827_696), "20000229T123456Z");
        assert_eq!(timestamp(1_440_938_160), "20150830T123600Z");
    }
}
