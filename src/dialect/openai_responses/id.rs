//! Ids of stored answers that say where they live: LiteLLM's form, `resp_` and base64 of
//! `litellm:custom_llm_provider:<provider>;model_id:<deployment>;response_id:<the provider's own id>`. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An id taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The provider.
    pub provider: String,
    /// The deployment that answered.
    pub deployment: String,
    /// The id as the provider knows it.
    pub own: String,
}

const PREFIX: &str = "resp_";
/// Longer ones are nobody's.
const BYTES_MAX: usize = 4096;

/// The id for clients.
pub fn bound(provider: &str, deployment: &str, own: &str) -> String {
    let text =
        format!("litellm:custom_llm_provider:{provider};model_id:{deployment};response_id:{own}");
    format!("{PREFIX}{}", STANDARD.encode(text))
}

/// Takes an id of ours apart; `None` for any other.
pub fn read(id: &str) -> Option<Bound> {
    let coded = id.strip_prefix(PREFIX).filter(|_| id.len() <= BYTES_MAX)?;
    let text = String::from_utf8(STANDARD.decode(coded).ok()?).ok()?;
    let rest = text.strip_prefix("litellm:custom_llm_provider:")?;
    let (provider, rest) = rest.split_once(";model_id:")?;
    let (deployment, own) = rest.split_once(";response_id:")?;
    let own = own.split(';').next().unwrap_or(own);
    Some(Bound {
        provider: provider.to_owned(),
        deployment: deployment.to_owned(),
        own: own.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let id = bound("anthropic", "id-1", "resp_x");
        assert!(id.starts_with("resp_"));
        let expected = Bound {
            provider: "anthropic".to_owned(),
            deployment: "id-1".to_owned(),
            own: "resp_x".to_owned(),
        };
        assert_eq!(read(&id), Some(expected));
        for other in [
            "resp_67cb32528d6881909eb2859a55e18a85",
            "resp_",
            "x",
            "resp_aGVsbG8=",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
