//! Credentials that have to be fetched: where they come from, and what comes back. The coordinator does the fetching
//! (`src/coordinator/credentials`); everything that a parameter or a variable decides is in the source already.

use std::fmt;

use super::sigv4::Credentials;
use super::{Moment, Secret, Setup};
use crate::error::{ErrorClass, GatewayError};

/// How the coordinator gets a credential for a deployment. Deployments with equal sources share what is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// An OAuth form to POST; the answer's `access_token` and `expires_in` count.
    Form {
        /// The token endpoint.
        url: String,
        /// Form fields, in order.
        fields: Vec<(String, Secret)>,
        /// The parameters that a refusal is about.
        settings: &'static str,
    },
    /// An Azure managed identity, or a workload's federated token.
    AzureIdentity {
        /// What the token is for.
        scope: String,
        /// The environment.
        env: Variables,
    },
    /// A Google account of any kind, or the machine's own.
    Google {
        /// The account's JSON, or the path of a file that holds it (what does not begin with a brace). Without it, the
        /// well-known places and the machine are asked.
        account: Option<Secret>,
        /// The scope.
        scope: &'static str,
        /// The environment.
        env: Variables,
    },
    /// AWS keys from a role, a profile, a container or an instance.
    Aws(Box<AwsSource>),
}

impl TokenSource {
    /// The parameters to look at when it gives nothing.
    pub const fn settings(&self) -> &'static str {
        match self {
            Self::Form { settings, .. } => settings,
            Self::AzureIdentity { .. } => {
                "litellm_params.api_key, azure_ad_token, or the identity of this machine (AZURE_CLIENT_ID)"
            }
            Self::Google { .. } => {
                "litellm_params.vertex_credentials or GOOGLE_APPLICATION_CREDENTIALS"
            }
            Self::Aws(_) => {
                "litellm_params.aws_access_key_id and aws_secret_access_key, aws_profile_name, aws_role_name or \
                 aws_web_identity_token"
            }
        }
    }
}

/// What AWS keys are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AwsSource {
    /// Keys that assume the role.
    pub keys: Option<Credentials>,
    /// `aws_profile_name`.
    pub profile: Option<String>,
    /// `aws_role_name`: an ARN.
    pub role: Option<String>,
    /// `aws_session_name`.
    pub session: Option<String>,
    /// `aws_external_id`.
    pub external_id: Option<String>,
    /// `aws_web_identity_token`: the token, `oidc/file/PATH`, `oidc/env/NAME` or the path of a file.
    pub web_identity: Option<Secret>,
    /// `aws_sts_endpoint`, or the variable's.
    pub sts_url: Option<String>,
    /// The region whose token service is asked.
    pub region: String,
    /// The environment.
    pub env: Variables,
}

/// The variables that matter to a source, as they were when the deployment was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variables(Vec<(&'static str, Secret)>);

impl Variables {
    /// Those of `names` that are set.
    pub fn take(names: &[&'static str], env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = names.iter().filter_map(|name| {
            let value = env(name).filter(|value| !value.is_empty())?;
            Some((*name, Secret::new(value)))
        });
        Self(set.collect())
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name)?;
        Some(found.1.reveal())
    }
}

/// What was fetched.
#[derive(Clone, PartialEq, Eq)]
pub enum Grant {
    /// A bearer token.
    Bearer(Secret),
    /// Keys to sign with.
    Aws(Credentials),
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The header that carries a fetched token.
pub(super) fn bearer(
    moment: &Moment<'_>,
    label: &str,
) -> Result<Vec<(String, String)>, GatewayError> {
    match moment.grant {
        Some(Grant::Bearer(token)) => Ok(vec![(
            "authorization".to_owned(),
            format!("Bearer {}", token.reveal()),
        )]),
        _ => Err(GatewayError::new(
            ErrorClass::Authentication,
            format!(
                "litellm.AuthenticationError: {label}Exception - there is no access token for this deployment"
            ),
        )),
    }
}

/// What the machine's own identity on Azure depends on.
const AZURE: &[&str] = &[
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
];

/// Where Azure's accounts are, unless AZURE_AUTHORITY_HOST says so.
const AZURE_AUTHORITY: &str = "https://login.microsoftonline.com";
const AZURE_SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// A service principal where all of it is given; else the identity of this machine, where `ambient` wants it.
pub(super) fn azure(setup: &Setup<'_>, ambient: bool) -> Option<TokenSource> {
    let env = |name: &str| (setup.env)(name).filter(|text| !text.is_empty());
    let text = |name: &str, variable: &str| setup.text(name).or_else(|| env(variable));
    let scope = text("azure_scope", "AZURE_SCOPE").unwrap_or_else(|| AZURE_SCOPE.to_owned());
    let principal = || {
        let tenant = text("tenant_id", "AZURE_TENANT_ID")?;
        let id = text("client_id", "AZURE_CLIENT_ID")?;
        let secret = text("client_secret", "AZURE_CLIENT_SECRET")?;
        let field = |name: &str, value: String| (name.to_owned(), Secret::new(value));
        Some(TokenSource::Form {
            url: azure_token_url(env("AZURE_AUTHORITY_HOST").as_deref(), &tenant),
            fields: vec![
                field("client_id", id),
                field("client_secret", secret),
                field("grant_type", "client_credentials".to_owned()),
                field("scope", scope.clone()),
            ],
            settings: "litellm_params.tenant_id, client_id and client_secret",
        })
    };
    principal().or_else(|| {
        ambient.then(|| TokenSource::AzureIdentity {
            scope: scope.clone(),
            env: Variables::take(AZURE, setup.env),
        })
    })
}

/// The token endpoint of a tenant.
pub fn azure_token_url(authority: Option<&str>, tenant: &str) -> String {
    let authority = authority.unwrap_or(AZURE_AUTHORITY).trim_end_matches('/');
    let authority = match authority.contains("://") {
        true => authority.to_owned(),
        false => format!("https://{authority}"),
    };
    format!(
        "{authority}/{}/oauth2/v2.0/token",
        super::azure::encode(tenant)
    )
}

/// What finding a Google account depends on.
const GOOGLE: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "HOME",
];

/// A Google account.
pub(super) fn google(
    setup: &Setup<'_>,
    account: Option<String>,
    scope: &'static str,
) -> TokenSource {
    google_account(account, scope, setup.env)
}

/// A Google account: its JSON or the path of it, or else what this machine has.
pub fn google_account(
    account: Option<String>,
    scope: &'static str,
    env: &dyn Fn(&str) -> Option<String>,
) -> TokenSource {
    TokenSource::Google {
        account: account.map(Secret::new),
        scope,
        env: Variables::take(GOOGLE, env),
    }
}

/// What AWS's chain of credentials depends on.
const AWS: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "GCE_METADATA_HOST",
    "HOME",
];

/// What AWS keys a deployment has: its own to sign with at once, or a source of them.
pub(super) fn aws(setup: &Setup<'_>, region: &str) -> (Option<Credentials>, Option<AwsSource>) {
    let env = |name: &str| (setup.env)(name).filter(|text| !text.is_empty());
    let given = setup
        .text("aws_access_key_id")
        .zip(setup.text("aws_secret_access_key"))
        .map(|pair| (pair, setup.text("aws_session_token")));
    let around = || {
        let pair = env("AWS_ACCESS_KEY_ID").zip(env("AWS_SECRET_ACCESS_KEY"))?;
        Some((pair, env("AWS_SESSION_TOKEN")))
    };
    let (role, profile) = (setup.text("aws_role_name"), setup.text("aws_profile_name"));
    let found = match (&given, &profile) {
        // A profile that the deployment names stands before what is in the environment.
        (None, Some(_)) => None,
        _ => given.or_else(around),
    };
    let keys = found.map(|((access_key, secret_key), token)| Credentials {
        access_key,
        secret_key: Secret::new(secret_key),
        session_token: token.map(Secret::new),
    });
    if role.is_none() && keys.is_some() {
        return (keys, None);
    }
    let variables = Variables::take(AWS, setup.env);
    let source = AwsSource {
        keys,
        profile,
        role,
        session: setup.text("aws_session_name"),
        external_id: setup.text("aws_external_id"),
        web_identity: web_identity(setup).map(Secret::new),
        sts_url: setup
            .text("aws_sts_endpoint")
            .or_else(|| variables.get("AWS_ENDPOINT_URL_STS").map(str::to_owned)),
        region: region.to_owned(),
        env: variables,
    };
    (None, Some(source))
}

/// `oidc/env/NAME` is the variable's value, `oidc/env_path/NAME` the path in it.
fn web_identity(setup: &Setup<'_>) -> Option<String> {
    let given = setup.text("aws_web_identity_token")?;
    if let Some(name) = given.strip_prefix("oidc/env/") {
        return (setup.env)(name).or(Some(given));
    }
    match given.strip_prefix("oidc/env_path/") {
        Some(name) => (setup.env)(name)
            .map(|path| format!("oidc/file/{path}"))
            .or(Some(given)),
        None => Some(given),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Target, TokenSource};
    use serde_json::{Value, json};

    fn source(params: Value, env: &[(&str, &str)]) -> Option<TokenSource> {
        let env = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        Target::from_params(params.as_object().unwrap(), &env)
            .unwrap()
            .token_source()
    }

    #[test]
    fn keys_that_are_given_need_no_source() {
        let keys =
            json!({"model": "bedrock/m", "aws_access_key_id": "a", "aws_secret_access_key": "s"});
        assert_eq!(source(keys, &[]), None);
        let env = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(source(json!({"model": "bedrock/m"}), &env), None);
        assert_eq!(
            source(json!({"model": "bedrock/m", "api_key": "k"}), &[]),
            None
        );
    }

    #[test]
    fn a_role_is_assumed_with_the_keys_that_are_given() {
        let role = json!({"model": "bedrock/m", "aws_access_key_id": "a", "aws_secret_access_key": "s",
            "aws_role_name": "arn:aws:iam::1:role/r", "aws_region_name": "eu-central-1"});
        let Some(TokenSource::Aws(found)) = source(role, &[("AWS_ENDPOINT_URL_STS", "http://sts")])
        else {
            panic!("no source");
        };
        assert_eq!(found.keys.unwrap().access_key, "a");
        assert_eq!(found.role.as_deref(), Some("arn:aws:iam::1:role/r"));
        assert_eq!(found.sts_url.as_deref(), Some("http://sts"));
        assert_eq!(found.region, "eu-central-1");
    }

    #[test]
    fn a_named_profile_stands_before_the_environment() {
        let env = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let named = json!({"model": "bedrock/m", "aws_profile_name": "p"});
        let Some(TokenSource::Aws(found)) = source(named, &env) else {
            panic!("no source");
        };
        assert_eq!((found.keys, found.profile.as_deref()), (None, Some("p")));
    }

    #[test]
    fn azure_asks_the_authority_that_is_named() {
        let params = json!({"model": "azure/d", "api_base": "https://r", "tenant_id": "t", "client_id": "i",
            "client_secret": "hidden-word"});
        let found = source(params, &[("AZURE_AUTHORITY_HOST", "http://local:1/")]).unwrap();
        let text = format!("{found:?}");
        assert!(
            text.contains("http://local:1/t/oauth2/v2.0/token"),
            "{text}"
        );
        assert!(!text.contains("hidden-word"));
    }
}
