//! AWS keys: from a role that is assumed, a profile, a container's or an instance's own role, in the order of AWS's
//! SDKs.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::google::moment;
use super::oauth::{encode, post_form};
use super::{
    Fetched, Fetcher, LIFE_S, NEAR_TIMEOUT, Refused, host, now_unix_s, read_file, refusal,
};
use crate::coordinator::outbound::{Ask, Said};
use crate::provider::{
    AwsSource, Base, Credentials, Grant, Secret, SignedRequest, SignedScope, Variables, sign,
};

/// Where an instance asks for its role.
const INSTANCE: &str = "http://169.254.169.254";
/// Where a task asks for its role.
const CONTAINER: &str = "http://169.254.170.2";
/// How many profiles may stand behind each other.
const DEPTH_MAX: usize = 4;
/// The name of a session where none is given.
const SESSION: &str = "shardgate";

/// A role to assume.
struct Role<'a> {
    arn: &'a str,
    session: &'a str,
    external_id: Option<&'a str>,
}

impl Fetcher {
    /// Keys of a source.
    pub(super) async fn aws(&self, source: &AwsSource) -> Result<Fetched, Refused> {
        let session = source
            .session
            .as_deref()
            .or_else(|| source.env.get("AWS_ROLE_SESSION_NAME"))
            .unwrap_or(SESSION);
        let Some(arn) = source.role.as_deref() else {
            return self.own_keys(source).await;
        };
        let role = Role {
            arn,
            session,
            external_id: source.external_id.as_deref(),
        };
        if let Some(given) = &source.web_identity {
            let word = self.web_identity(given.reveal(), &source.env).await?;
            return self.with_web_identity(source, &role, word.trim()).await;
        }
        // A pod's own role need not assume itself.
        let pods = source.env.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some()
            && source.env.get("AWS_ROLE_ARN") == Some(arn);
        if pods && source.keys.is_none() {
            return self.own_keys(source).await;
        }
        let base = match &source.keys {
            Some(keys) => keys.clone(),
            None => keys_of(self.own_keys(source).await?)?,
        };
        self.assume(source, &role, &base).await
    }

    /// What there is without a role of the deployment's: its profile, else what AWS's SDKs look through.
    async fn own_keys(&self, source: &AwsSource) -> Result<Fetched, Refused> {
        let env = &source.env;
        if let Some(profile) = source.profile.as_deref().or_else(|| env.get("AWS_PROFILE")) {
            return self.profile(source, profile).await;
        }
        if let (Some(file), Some(arn)) = (
            env.get("AWS_WEB_IDENTITY_TOKEN_FILE"),
            env.get("AWS_ROLE_ARN"),
        ) {
            let word = read_file(file).await?;
            let role = Role {
                arn,
                session: env.get("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION),
                external_id: None,
            };
            return self.with_web_identity(source, &role, word.trim()).await;
        }
        if let Ok(profiles) = Profiles::read(env).await
            && profiles.sections.contains_key("default")
        {
            return self.profile(source, "default").await;
        }
        if let Some(found) = self.container(env).await? {
            return Ok(found);
        }
        self.instance(env).await
    }

    /// A web identity's token: in a file, or as it is.
    async fn web_identity(&self, given: &str, env: &Variables) -> Result<String, Refused> {
        if let Some(path) = given.strip_prefix("oidc/file/") {
            let path = match path.starts_with('/') {
                true => path.to_owned(),
                false => format!("/{path}"),
            };
            return read_file(&path).await;
        }
        if let Some(audience) = given.strip_prefix("oidc/google/") {
            let machine = env
                .get("GCE_METADATA_HOST")
                .unwrap_or("metadata.google.internal");
            let url = format!(
                "http://{machine}/computeMetadata/v1/instance/service-accounts/default/identity?audience={}",
                encode(audience)
            );
            let header = ("metadata-flavor".to_owned(), "Google".to_owned());
            let said = self.get(url, vec![header], NEAR_TIMEOUT).await?;
            return good(machine, said);
        }
        if given.starts_with("oidc/") {
            return Err(Refused::denied(
                "litellm_params.aws_web_identity_token: of oidc/ there are file/PATH, env/NAME, env_path/NAME and \
                 google/AUDIENCE",
            ));
        }
        if given.starts_with('/') {
            return read_file(given).await;
        }
        Ok(given.to_owned())
    }

    async fn with_web_identity(
        &self,
        source: &AwsSource,
        role: &Role<'_>,
        word: &str,
    ) -> Result<Fetched, Refused> {
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role.arn),
            ("RoleSessionName", role.session),
            ("WebIdentityToken", word),
        ];
        let url = sts_url(source);
        let said = self
            .call(post_form(url.clone(), fields.into_iter()))
            .await?;
        assumed(host(&url), &said)
    }

    async fn assume(
        &self,
        source: &AwsSource,
        role: &Role<'_>,
        keys: &Credentials,
    ) -> Result<Fetched, Refused> {
        let mut fields = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role.arn),
            ("RoleSessionName", role.session),
        ];
        fields.extend(role.external_id.map(|id| ("ExternalId", id)));
        let url = sts_url(source);
        let mut ask = post_form(url.clone(), fields.into_iter());
        let base = Base::parse(&url).map_err(|_| Refused::denied("aws_sts_endpoint is no URL"))?;
        let path = match base.prefix.as_str() {
            "" => "/",
            prefix => prefix,
        };
        let request = SignedRequest {
            method: "POST",
            host: &base.authority(),
            path_and_query: path,
            content_type: Some("application/x-www-form-urlencoded"),
            body: &ask.body,
        };
        let scope = SignedScope {
            region: &source.region,
            service: "sts",
            now_unix_s: now_unix_s(),
        };
        ask.headers.extend(sign(&request, keys, &scope));
        let said = self.call(ask).await?;
        assumed(host(&url), &said)
    }

    /// A profile of the shared files: its keys, or the role that it assumes with another's.
    async fn profile(&self, source: &AwsSource, name: &str) -> Result<Fetched, Refused> {
        let profiles = Profiles::read(&source.env).await?;
        Box::pin(self.profile_in(source, &profiles, name, 0)).await
    }

    async fn profile_in(
        &self,
        source: &AwsSource,
        profiles: &Profiles,
        name: &str,
        depth: usize,
    ) -> Result<Fetched, Refused> {
        let Some(profile) = profiles.sections.get(name) else {
            return Err(Refused::denied(format!(
                "there is no profile {name:?} in {}",
                profiles.paths
            )));
        };
        let entry = |key: &str| profile.get(key).map(String::as_str);
        let Some(arn) = entry("role_arn") else {
            return keys_in(profile).ok_or_else(|| {
                Refused::denied(format!(
                    "profile {name:?} has no aws_access_key_id and aws_secret_access_key and no role_arn"
                ))
            });
        };
        let role = Role {
            arn,
            session: entry("role_session_name").unwrap_or(SESSION),
            external_id: entry("external_id"),
        };
        if let Some(file) = entry("web_identity_token_file") {
            let word = read_file(file).await?;
            return self.with_web_identity(source, &role, word.trim()).await;
        }
        let base = match (entry("source_profile"), entry("credential_source")) {
            (Some(other), _) if other == name => keys_in(profile)
                .ok_or_else(|| Refused::denied(format!("profile {name:?} has no keys")))?,
            (Some(_), _) if depth >= DEPTH_MAX => {
                return Err(Refused::denied("profiles stand behind each other"));
            }
            (Some(other), _) => {
                Box::pin(self.profile_in(source, profiles, other, depth + 1)).await?
            }
            (None, Some("Ec2InstanceMetadata")) => self.instance(&source.env).await?,
            (None, Some("EcsContainer")) => self
                .container(&source.env)
                .await?
                .ok_or_else(|| Refused::denied("this is no container with a role"))?,
            _ => {
                return Err(Refused::denied(format!(
                    "profile {name:?} has a role_arn but no source_profile"
                )));
            }
        };
        self.assume(source, &role, &keys_of(base)?).await
    }

    /// The role of the container that we run in; `None` when it has none.
    async fn container(&self, env: &Variables) -> Result<Option<Fetched>, Refused> {
        let url = match (
            env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
            env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ) {
            (Some(path), _) => format!("{CONTAINER}{path}"),
            (None, Some(url)) if may_be_asked(url) => url.to_owned(),
            (None, Some(_)) => {
                return Err(Refused::denied(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or name this machine or the container's agent",
                ));
            }
            (None, None) => return Ok(None),
        };
        let word = match (
            env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ) {
            (Some(file), _) => Some(read_file(file).await?.trim().to_owned()),
            (None, word) => word.map(str::to_owned),
        };
        let headers = word.map(|word| ("authorization".to_owned(), word));
        let who = host(&url).to_owned();
        let said = self
            .get(url, headers.into_iter().collect(), NEAR_TIMEOUT)
            .await?;
        role_keys(&who, &said).map(Some)
    }

    /// The role of the instance that we run on, by the second version of its metadata service.
    async fn instance(&self, env: &Variables) -> Result<Fetched, Refused> {
        let is_off = env
            .get("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|word| word.eq_ignore_ascii_case("true"));
        if is_off {
            return Err(Refused::denied("no keys, no profile, no role were found"));
        }
        let base = env
            .get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .unwrap_or(INSTANCE);
        let base = base.trim_end_matches('/');
        let header = self.instance_session(base).await?;
        let folder = format!("{base}/latest/meta-data/iam/security-credentials/");
        let said = self
            .get(folder.clone(), vec![header.clone()], NEAR_TIMEOUT)
            .await?;
        let names = good(host(base), said)?;
        let name = names.lines().next().unwrap_or_default().trim();
        if name.is_empty() {
            return Err(Refused::denied("this instance has no role"));
        }
        let said = self
            .get(
                format!("{folder}{}", encode(name)),
                vec![header],
                NEAR_TIMEOUT,
            )
            .await?;
        role_keys(host(base), &said)
    }

    /// The header that the metadata service wants.
    async fn instance_session(&self, base: &str) -> Result<(String, String), Refused> {
        let ask = Ask {
            method: "PUT",
            url: format!("{base}/latest/api/token"),
            headers: vec![(
                "x-aws-ec2-metadata-token-ttl-seconds".to_owned(),
                "300".to_owned(),
            )],
            body: Vec::new(),
            timeout: NEAR_TIMEOUT,
        };
        let word = good(host(base), self.call(ask).await?)?;
        Ok((
            "x-aws-ec2-metadata-token".to_owned(),
            word.trim().to_owned(),
        ))
    }
}

/// Google's proof of who we are at AWS: a signed question that Google asks for us.
pub(super) async fn caller_identity(
    fetcher: &Fetcher,
    source: &Value,
    audience: &str,
    env: &Variables,
) -> Result<String, Refused> {
    let base = match env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        Some(base) => base.trim_end_matches('/'),
        None => INSTANCE,
    };
    let region = match env
        .get("AWS_REGION")
        .or_else(|| env.get("AWS_DEFAULT_REGION"))
    {
        Some(region) => region.to_owned(),
        None => {
            let header = fetcher.instance_session(base).await?;
            let url = format!("{base}/latest/meta-data/placement/region");
            let said = fetcher.get(url, vec![header], NEAR_TIMEOUT).await?;
            good(host(base), said)?.trim().to_owned()
        }
    };
    let keys = match (
        env.get("AWS_ACCESS_KEY_ID"),
        env.get("AWS_SECRET_ACCESS_KEY"),
    ) {
        (Some(id), Some(secret)) => Credentials {
            access_key: id.to_owned(),
            secret_key: Secret::new(secret),
            session_token: env.get("AWS_SESSION_TOKEN").map(Secret::new),
        },
        _ => match fetcher.container(env).await? {
            Some(found) => keys_of(found)?,
            None => keys_of(fetcher.instance(env).await?)?,
        },
    };
    let url = source["regional_cred_verification_url"].as_str().unwrap_or(
        "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    );
    let url = url.replace("{region}", &region);
    let asked = host(&url).to_owned();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let path = format!("/?{query}");
    let request = SignedRequest {
        method: "POST",
        host: &asked,
        path_and_query: &path,
        content_type: None,
        body: b"",
    };
    let scope = SignedScope {
        region: &region,
        service: "sts",
        now_unix_s: now_unix_s(),
    };
    let mut headers = sign(&request, &keys, &scope);
    headers.push(("host".to_owned(), asked.clone()));
    headers.push((
        "x-goog-cloud-target-resource".to_owned(),
        audience.to_owned(),
    ));
    let headers: Vec<Value> = headers
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let question = json!({"url": url, "method": "POST", "headers": headers});
    Ok(encode(&question.to_string()))
}

/// The token service of the source's region.
fn sts_url(source: &AwsSource) -> String {
    source.sts_url.clone().unwrap_or_else(|| {
        let china = if source.region.starts_with("cn-") {
            ".cn"
        } else {
            ""
        };
        format!("https://sts.{}.amazonaws.com{china}/", source.region)
    })
}

/// Plain http only to the machine itself and the agents that hand out roles.
fn may_be_asked(url: &str) -> bool {
    const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    let Ok(base) = Base::parse(url) else {
        return false;
    };
    let is_near = |ip: IpAddr| ip.is_loopback() || AGENTS.contains(&ip.to_string().as_str());
    base.tls || base.host == "localhost" || base.host.parse().is_ok_and(is_near)
}

/// A text answer with a good status.
fn good(who: &str, said: Said) -> Result<String, Refused> {
    if said.status >= 300 {
        return Err(refusal(who, &said));
    }
    Ok(String::from_utf8_lossy(&said.body).into_owned())
}

/// The token service's answer: XML of which four elements count.
fn assumed(who: &str, said: &Said) -> Result<Fetched, Refused> {
    if said.status >= 300 {
        return Err(refusal(who, said));
    }
    let text = String::from_utf8_lossy(&said.body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (found, _) = rest.split_once("</")?;
        Some(found.trim().to_owned()).filter(|found| !found.is_empty())
    };
    let found = element("AccessKeyId")
        .zip(element("SecretAccessKey"))
        .ok_or_else(|| Refused::denied(format!("{who} answered without keys")))?;
    let expires = element("Expiration").and_then(|text| moment(&Value::String(text)));
    Ok(fetched(found, element("SessionToken"), expires))
}

/// A role's keys as metadata services answer them.
fn role_keys(who: &str, said: &Said) -> Result<Fetched, Refused> {
    if said.status >= 300 {
        return Err(refusal(who, said));
    }
    let answer: Value = serde_json::from_slice(&said.body).unwrap_or_default();
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let found = text("AccessKeyId")
        .zip(text("SecretAccessKey"))
        .ok_or_else(|| Refused::denied(format!("{who} answered without keys")))?;
    Ok(fetched(found, text("Token"), moment(&answer["Expiration"])))
}

fn fetched(keys: (String, String), token: Option<String>, expires: Option<u64>) -> Fetched {
    Fetched {
        grant: Grant::Aws(Credentials {
            access_key: keys.0,
            secret_key: Secret::new(keys.1),
            session_token: token.map(Secret::new),
        }),
        expires_unix_s: expires.unwrap_or(now_unix_s() + LIFE_S),
    }
}

fn keys_of(found: Fetched) -> Result<Credentials, Refused> {
    match found.grant {
        Grant::Aws(keys) => Ok(keys),
        Grant::Bearer(_) => Err(Refused::denied("these are no AWS keys")),
    }
}

/// A profile's own keys; looked at again every hour, for files are changed.
fn keys_in(profile: &HashMap<String, String>) -> Option<Fetched> {
    let entry = |name: &str| profile.get(name).cloned();
    let keys = entry("aws_access_key_id").zip(entry("aws_secret_access_key"))?;
    Some(fetched(keys, entry("aws_session_token"), None))
}

/// The shared files' sections by name.
struct Profiles {
    sections: HashMap<String, HashMap<String, String>>,
    /// For messages.
    paths: String,
}

impl Profiles {
    /// Reads both files; keys stand in the first, in the second the rest.
    async fn read(env: &Variables) -> Result<Profiles, Refused> {
        let home = env.get("HOME").unwrap_or("");
        let path = |variable: &str, file: &str| {
            env.get(variable)
                .map_or_else(|| format!("{home}/.aws/{file}"), str::to_owned)
        };
        let credentials = path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = path("AWS_CONFIG_FILE", "config");
        let mut sections = HashMap::new();
        let (first, second) = (read_file(&config).await, read_file(&credentials).await);
        if let (Err(_), Err(error)) = (&first, &second) {
            return Err(Refused::denied(error.why.clone()));
        }
        for text in [first, second].into_iter().flatten() {
            read_sections(&text, &mut sections);
        }
        Ok(Profiles {
            sections,
            paths: format!("{credentials} and {config}"),
        })
    }
}

/// `[name]`, `[profile name]`, `key = value`; later ones win.
fn read_sections(text: &str, sections: &mut HashMap<String, HashMap<String, String>>) {
    let mut name = None;
    for line in text.lines() {
        // What is indented belongs to the entry above it and is none of ours.
        let is_inner = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(inside) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            let inside = inside.trim();
            let inside = inside.strip_prefix("profile ").unwrap_or(inside).trim();
            name = Some(inside.to_owned());
            sections.entry(inside.to_owned()).or_default();
        } else if let (Some(name), Some((key, value)), false) =
            (&name, line.split_once('='), is_inner)
        {
            let section = sections.entry(name.clone()).or_default();
            section.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_aws_writes_them() {
        let mut sections = HashMap::new();
        let text = "# c\n[default]\naws_access_key_id = A\n[profile dev]\nrole_arn=arn:x\ns3 =\n  key = v\nregion = r\n";
        read_sections(text, &mut sections);
        assert_eq!(sections["default"]["aws_access_key_id"], "A");
        assert_eq!(sections["dev"]["role_arn"], "arn:x");
        assert_eq!(sections["dev"]["region"], "r");
        assert!(!sections["dev"].contains_key("key"));
    }

    #[test]
    fn agents_are_asked_and_strangers_are_not() {
        for good in [
            "http://169.254.170.23/v1/credentials",
            "http://127.0.0.1:8080/x",
            "http://[fd00:ec2::23]/v1",
            "https://anything.example/x",
        ] {
            assert!(may_be_asked(good), "{good}");
        }
        for bad in ["http://example.com/x", "http://10.0.0.1/", "ftp://x"] {
            assert!(!may_be_asked(bad), "{bad}");
        }
    }

    #[test]
    fn a_role_is_read() {
        let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
            <SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t</SessionToken>\
            <Expiration>1970-01-01T01:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let said = Said {
            status: 200,
            body: body.as_bytes().to_vec(),
        };
        let found = assumed("sts", &said).ok().unwrap();
        assert_eq!(found.expires_unix_s, 3600);
        let keys = keys_of(found).ok().unwrap();
        assert_eq!(
            (keys.access_key.as_str(), keys.secret_key.reveal()),
            ("ASIA", "s/+=")
        );
    }
}
