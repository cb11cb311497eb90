//! OAuth's token endpoints, and the identities that Azure gives to machines.

use serde_json::Value;

use super::{
    CALL_TIMEOUT, Fetched, Fetcher, LIFE_S, NEAR_TIMEOUT, Refused, host, now_unix_s, read_file,
    refusal,
};
use crate::coordinator::outbound::{Ask, Said};
use crate::provider::{Grant, Secret, Variables, azure_token_url};

impl Fetcher {
    /// POSTs a form to a token endpoint.
    pub(super) async fn form(
        &self,
        url: String,
        fields: &[(String, Secret)],
    ) -> Result<Fetched, Refused> {
        let pairs = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.reveal()));
        let who = host(&url).to_owned();
        let said = self.call(post_form(url, pairs)).await?;
        token(&who, &said)
    }

    /// The identity of the machine that we run on: a federated token, App Service's, or the metadata host's.
    pub(super) async fn azure_identity(
        &self,
        scope: &str,
        env: &Variables,
    ) -> Result<Fetched, Refused> {
        if let (Some(file), Some(tenant), Some(client)) = (
            env.get("AZURE_FEDERATED_TOKEN_FILE"),
            env.get("AZURE_TENANT_ID"),
            env.get("AZURE_CLIENT_ID"),
        ) {
            let assertion = read_file(file).await?;
            let url = azure_token_url(env.get("AZURE_AUTHORITY_HOST"), tenant);
            let field = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
            let fields = [
                field("client_id", client),
                field(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ),
                field("client_assertion", assertion.trim()),
                field("grant_type", "client_credentials"),
                field("scope", scope),
            ];
            return self.form(url, &fields).await;
        }
        let resource = encode(scope.strip_suffix("/.default").unwrap_or(scope));
        let client = env
            .get("AZURE_CLIENT_ID")
            .map_or(String::new(), |id| format!("&client_id={}", encode(id)));
        let (url, header) = match (env.get("IDENTITY_ENDPOINT"), env.get("IDENTITY_HEADER")) {
            (Some(endpoint), Some(word)) => (
                format!("{endpoint}?api-version=2019-08-01&resource={resource}{client}"),
                ("x-identity-header".to_owned(), word.to_owned()),
            ),
            _ => {
                let base = env
                    .get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                    .unwrap_or("http://169.254.169.254")
                    .trim_end_matches('/');
                (
                    format!(
                        "{base}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{client}"
                    ),
                    ("metadata".to_owned(), "true".to_owned()),
                )
            }
        };
        let who = host(&url).to_owned();
        let said = self.get(url, vec![header], NEAR_TIMEOUT).await?;
        token(&who, &said)
    }
}

/// A form as a request.
pub(super) fn post_form<'a>(url: String, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Ask {
    let mut body = String::new();
    for (name, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        body.push_str(&encode(name));
        body.push('=');
        body.push_str(&encode(value));
    }
    Ask {
        method: "POST",
        url,
        headers: vec![
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("accept".to_owned(), "application/json".to_owned()),
        ],
        body: body.into_bytes(),
        timeout: CALL_TIMEOUT,
    }
}

/// Reads a token endpoint's answer.
pub(super) fn token(who: &str, said: &Said) -> Result<Fetched, Refused> {
    if said.status >= 300 {
        return Err(refusal(who, said));
    }
    let answer: Value = serde_json::from_slice(&said.body).unwrap_or_default();
    let found = answer["access_token"]
        .as_str()
        .filter(|text| is_token(text));
    let Some(text) = found else {
        return Err(Refused::denied(format!(
            "{who} answered {} without a usable access_token",
            said.status
        )));
    };
    // Azure's metadata host writes numbers as text.
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        value => value
            .as_u64()
            .or_else(|| value.as_f64().map(|number| number as u64)),
    };
    let now = now_unix_s();
    let expires_unix_s = number(&answer["expires_in"])
        .map(|life: u64| now.saturating_add(life))
        .or_else(|| number(&answer["expires_on"]))
        .or_else(|| number(&answer["expiration"]))
        .unwrap_or(now + LIFE_S);
    Ok(Fetched {
        grant: Grant::Bearer(Secret::new(text)),
        expires_unix_s,
    })
}

/// What a header may carry.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The part of a refusal that says why: OAuth's fields, AWS's, IBM's, else nothing.
pub(super) fn complaint(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let Ok(answer) = serde_json::from_str::<Value>(&text) else {
        let tag = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split('<').next().unwrap_or_default().to_owned())
        };
        let parts = [tag("Code"), tag("Message")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        return match parts.is_empty() {
            true => "no reason is given".to_owned(),
            false => parts.join(": "),
        };
    };
    let names = [
        "error",
        "error_description",
        "errorCode",
        "errorMessage",
        "code",
        "message",
    ];
    let mut parts: Vec<String> = Vec::new();
    for from in [&answer, &answer["error"]] {
        let texts = names.iter().filter_map(|name| from[*name].as_str());
        parts.extend(texts.map(str::to_owned));
    }
    match parts.is_empty() {
        true => "no reason is given".to_owned(),
        false => parts.join(": "),
    }
}

/// Form and query encoding.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<u64, String> {
        let said = Said {
            status,
            body: body.as_bytes().to_vec(),
        };
        token("host", &said)
            .map(|fetched| fetched.expires_unix_s.saturating_sub(now_unix_s()))
            .map_err(|refused| refused.why)
    }

    #[test]
    fn lives_are_read_however_they_are_written() {
        let near = |found: Result<u64, String>, wanted: u64| {
            let found = found.unwrap();
            assert!(found.abs_diff(wanted) <= 1, "{found} {wanted}");
        };
        near(read(200, r#"{"access_token":"t","expires_in":60}"#), 60);
        near(read(200, r#"{"access_token":"t","expires_in":"60"}"#), 60);
        near(read(200, r#"{"access_token":"t"}"#), LIFE_S);
    }

    #[test]
    fn refusals_say_why_and_no_more() {
        let check = |body: &str, expected: &str| {
            assert_eq!(
                read(400, body).unwrap_err(),
                format!("host answered 400: {expected}")
            );
        };
        check(
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: wrong secret","x":"hidden"}"#,
            "invalid_client: AADSTS7000215: wrong secret",
        );
        check(
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
            "AccessDenied: no",
        );
        check("<html>", "no reason is given");
        assert!(
            read(200, "{}")
                .unwrap_err()
                .contains("without a usable access_token")
        );
        assert!(read(200, r#"{"access_token":"a\nb"}"#).is_err());
    }
}
