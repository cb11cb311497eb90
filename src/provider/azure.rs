//! Azure: OpenAI's wire behind deployment URLs with a version (`azure`), and the models of its catalogue (`azure_ai`).

use super::openai::{OpenAiWire, PREVIEW, reasoning_name, unsupported};
use super::{
    Answer, AnswerContext, Incoming, Moment, Operation, Outgoing, Provider, Reply, RequestOptions,
    Route, Setup, StreamReader, TokenSource, compatible, token,
};
use crate::error::GatewayError;

/// The `api-version` of deployment URLs where none is given.
const API_VERSION: &str = "2024-10-21";

/// The `api-version` of the catalogue's own hosts where none is given.
const CATALOGUE_VERSION: &str = "2024-05-01-preview";

/// One deployment on Azure OpenAI.
struct Azure {
    wire: OpenAiWire,
    model: String,
    version: String,
    token: Option<TokenSource>,
    answers_whole: bool,
}

/// Builds an Azure OpenAI deployment. Credentials: `api_key`, else `azure_ad_token`, else a service principal whose token
/// is fetched.
pub(super) fn build(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let mut wire = OpenAiWire::new(&setup, compatible::rules("azure"));
    let env = |name: &str| (setup.env)(name).filter(|value| !value.is_empty());
    let given = setup
        .text("azure_ad_token")
        .or_else(|| env("AZURE_AD_TOKEN").filter(|_| setup.key.is_none()));
    let mut source = None;
    if let Some(token) = &given {
        wire.header("authorization", &format!("Bearer {token}"))?;
    } else if let Some(key) = setup.key {
        wire.header("api-key", key.reveal())?;
    } else {
        source = token::azure(&setup, true);
    }
    let version = setup
        .text("api_version")
        .or_else(|| env("AZURE_API_VERSION"))
        .unwrap_or_else(|| API_VERSION.to_owned());
    wire.images.without_model();
    Ok(Box::new(Azure {
        answers_whole: setup.flag(PREVIEW) && compatible::is_o1(&reasoning_name(&setup)),
        model: setup.model.to_owned(),
        version,
        token: source,
        wire,
    }))
}

impl Azure {
    fn path(&self, operation: Operation, model: &str) -> String {
        let prefix = &self.wire.base.prefix;
        let mut path = prefix.clone();
        if !prefix.ends_with("/openai/v1") && !prefix.contains("/openai/deployments/") {
            if !prefix.ends_with("/openai") {
                path.push_str("/openai");
            }
            if operation != Operation::Responses {
                path.push_str("/deployments/");
                path.push_str(&encode(model));
            }
        }
        if !path.ends_with(operation.path()) {
            path.push_str(operation.path());
        }
        match self.wire.base.query.as_str() {
            "" => format!("{path}?api-version={}", encode(&self.version)),
            query if query.contains("api-version=") => format!("{path}?{query}"),
            query => format!("{path}?{query}&api-version={}", encode(&self.version)),
        }
    }
}

impl Provider for Azure {
    fn speaks(&self, operation: Operation) -> bool {
        match operation {
            Operation::Messages | Operation::GenerateContent => false,
            Operation::Completions => super::openai::is_text_model(&self.model),
            _ => true,
        }
    }

    fn route(&self, operation: Operation, _stream: bool) -> Result<Route, GatewayError> {
        match operation {
            Operation::Messages | Operation::GenerateContent | Operation::Rerank => {
                Err(unsupported(self.wire.label, operation))
            }
            _ => Ok(self
                .wire
                .route_to(operation, self.path(operation, &self.model))),
        }
    }

    fn request(
        &self,
        operation: Operation,
        incoming: Incoming<'_>,
        options: &RequestOptions<'_>,
    ) -> Result<Outgoing, GatewayError> {
        let mut outgoing = self.wire.request(operation, incoming, options)?;
        outgoing.path_and_query = options.model.map(|model| self.path(operation, model));
        Ok(outgoing)
    }

    fn answers_whole(&self) -> bool {
        self.answers_whole
    }

    fn is_signed(&self) -> bool {
        self.token.is_some()
    }

    fn sign(
        &self,
        _route: &Route,
        _body: &[u8],
        moment: &Moment<'_>,
    ) -> Result<Vec<(String, String)>, GatewayError> {
        token::bearer(moment, "Azure")
    }

    fn token_source(&self) -> Option<TokenSource> {
        self.token.clone()
    }

    fn answer(
        &self,
        reply: &Reply<'_>,
        context: &AnswerContext<'_>,
    ) -> Result<Answer, GatewayError> {
        self.wire.answer(reply, context)
    }

    fn stream(&self, context: &AnswerContext<'_>) -> StreamReader {
        self.wire.stream(context)
    }

    fn error(&self, reply: &Reply<'_>) -> GatewayError {
        self.wire.error(reply)
    }
}

/// Builds a deployment of Azure's catalogue. Its own hosts want `api-key`, `/models` and a version; others a bearer.
pub(super) fn build_catalogue(setup: Setup<'_>) -> Result<Box<dyn Provider>, String> {
    let own_host = setup.base.host.ends_with(".services.ai.azure.com");
    let mut base = setup.base.clone();
    if own_host {
        if !base.prefix.contains("/models") && !base.prefix.contains("/openai") {
            base.prefix.push_str("/models");
        }
        if !base.query.contains("api-version=") && !base.prefix.ends_with("/openai/v1") {
            let version = setup
                .text("api_version")
                .unwrap_or_else(|| CATALOGUE_VERSION.to_owned());
            base.query = format!(
                "{}{}api-version={}",
                base.query,
                if base.query.is_empty() { "" } else { "&" },
                encode(&version)
            );
        }
    }
    let setup = Setup {
        base: &base,
        ..setup
    };
    let mut wire = OpenAiWire::new(&setup, compatible::rules("azure_ai"));
    match setup.key {
        Some(key) if own_host => wire.header("api-key", key.reveal())?,
        Some(key) => wire.header("authorization", &format!("Bearer {}", key.reveal()))?,
        None => {}
    }
    Ok(Box::new(wire))
}

/// Percent-encodes what is not unreserved in a path segment or a query value.
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
    use super::super::{Operation, Target};

    fn path(base: &str, operation: Operation) -> String {
        let params = serde_json::json!({"model": "azure/dep one", "api_base": base, "api_key": "k", "api_version": "v1"});
        let target = Target::from_params(params.as_object().unwrap(), &|_| None).unwrap();
        target.route(operation, false).unwrap().path_and_query
    }

    #[test]
    fn bases_of_all_forms_lead_to_the_deployment() {
        let chat = |base| path(base, Operation::Chat);
        assert_eq!(
            chat("https://r.openai.azure.com"),
            "/openai/deployments/dep%20one/chat/completions?api-version=v1"
        );
        assert_eq!(
            chat("https://r/openai/"),
            "/openai/deployments/dep%20one/chat/completions?api-version=v1"
        );
        assert_eq!(
            chat("https://r/openai/deployments/x"),
            "/openai/deployments/x/chat/completions?api-version=v1"
        );
        assert_eq!(
            chat("https://r/openai/deployments/x/chat/completions?api-version=v2"),
            "/openai/deployments/x/chat/completions?api-version=v2"
        );
        assert_eq!(
            chat("https://r/openai/v1"),
            "/openai/v1/chat/completions?api-version=v1"
        );
        assert_eq!(
            path("https://r", Operation::Responses),
            "/openai/responses?api-version=v1"
        );
    }

    #[test]
    fn a_service_principal_is_a_token_source() {
        let params = serde_json::json!({"model": "azure/d", "api_base": "https://r", "tenant_id": "t", "client_id": "i",
            "client_secret": "s"});
        let target = Target::from_params(params.as_object().unwrap(), &|_| None).unwrap();
        assert!(target.is_signed());
        assert!(format!("{:?}", target.token_source()).contains("login.microsoftonline.com/t/"));
        assert!(!format!("{:?}", target.token_source()).contains("\"s\""));
    }
}
