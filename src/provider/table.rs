//! The table of providers, sorted by name.

use super::{
    Entry, anthropic, azure, bedrock, cohere, gemini, hosted, ollama, openai, replicate, vertex,
    watsonx,
};

/// A provider, on the OpenAI wire unless it has a builder of its own.
macro_rules! wire {
    ($name:literal, $label:literal, $base:expr, [$($base_env:literal),*], [$($key_env:literal),*], $host:expr) => {
        wire!($name, $label, $base, [$($base_env),*], [$($key_env),*], $host, openai::build)
    };
    ($name:literal, $label:literal, $base:expr, [$($base_env:literal),*], [$($key_env:literal),*], $host:expr,
     $build:expr) => {
        wire!($name, $label, $base, [$($base_env),*], [$($key_env),*], $host, $build, None)
    };
    ($name:literal, $label:literal, $base:expr, [$($base_env:literal),*], [$($key_env:literal),*], $host:expr,
     $build:expr, $base_by:expr) => {
        &Entry {
            name: $name,
            label: $label,
            base: $base,
            base_by: $base_by,
            base_env: &[$($base_env),*],
            key_env: &[$($key_env),*],
            host: $host,
            build: $build,
        }
    };
}

/// All providers, sorted by name.
pub static PROVIDERS: &[&Entry] = &[
    wire!(
        "ai21",
        "Ai21",
        Some("https://api.ai21.com/studio/v1"),
        [],
        ["AI21_API_KEY"],
        Some("api.ai21.com")
    ),
    wire!(
        "ai21_chat",
        "Ai21_chat",
        Some("https://api.ai21.com/studio/v1"),
        [],
        ["AI21_API_KEY"],
        None
    ),
    wire!(
        "aiml",
        "Aiml",
        Some("https://api.aimlapi.com/v1"),
        ["AIML_API_BASE"],
        ["AIML_API_KEY"],
        Some("api.aimlapi.com")
    ),
    wire!(
        "anthropic",
        "Anthropic",
        Some("https://api.anthropic.com"),
        ["ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"],
        ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
        Some("api.anthropic.com"),
        anthropic::build
    ),
    wire!(
        "anyscale",
        "Anyscale",
        Some("https://api.endpoints.anyscale.com/v1"),
        [],
        ["ANYSCALE_API_KEY"],
        Some("api.endpoints.anyscale.com")
    ),
    wire!(
        "azure",
        "Azure",
        None,
        ["AZURE_API_BASE"],
        ["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"],
        Some("openai.azure.com"),
        azure::build
    ),
    wire!(
        "azure_ai",
        "Azure_ai",
        None,
        ["AZURE_AI_API_BASE"],
        ["AZURE_AI_API_KEY"],
        Some("services.ai.azure.com"),
        azure::build_catalogue
    ),
    wire!(
        "baseten",
        "Baseten",
        Some("https://inference.baseten.co/v1"),
        ["BASETEN_API_BASE"],
        ["BASETEN_API_KEY"],
        Some("inference.baseten.co")
    ),
    wire!(
        "bedrock",
        "Bedrock",
        None,
        [],
        ["AWS_BEARER_TOKEN_BEDROCK"],
        None,
        bedrock::build,
        Some(bedrock::base)
    ),
    wire!(
        "cerebras",
        "Cerebras",
        Some("https://api.cerebras.ai/v1"),
        [],
        ["CEREBRAS_API_KEY"],
        Some("api.cerebras.ai")
    ),
    wire!(
        "chutes",
        "Chutes",
        Some("https://llm.chutes.ai/v1"),
        [],
        ["CHUTES_API_KEY"],
        Some("llm.chutes.ai")
    ),
    wire!(
        "cloudflare",
        "Cloudflare",
        None,
        ["CLOUDFLARE_API_BASE"],
        ["CLOUDFLARE_API_KEY"],
        None,
        hosted::build_cloudflare,
        Some(hosted::cloudflare_base)
    ),
    wire!(
        "codestral",
        "Codestral",
        Some("https://codestral.mistral.ai/v1"),
        [],
        ["CODESTRAL_API_KEY"],
        Some("codestral.mistral.ai")
    ),
    wire!(
        "cohere",
        "Cohere",
        Some("https://api.cohere.com"),
        ["COHERE_API_BASE"],
        ["COHERE_API_KEY", "CO_API_KEY"],
        None,
        cohere::build
    ),
    wire!(
        "cohere_chat",
        "Cohere_chat",
        Some("https://api.cohere.com"),
        ["COHERE_API_BASE"],
        ["COHERE_API_KEY", "CO_API_KEY"],
        Some("api.cohere.com"),
        cohere::build
    ),
    wire!(
        "cometapi",
        "Cometapi",
        Some("https://api.cometapi.com/v1"),
        ["COMETAPI_BASE_URL"],
        ["COMETAPI_KEY", "COMETAPI_API_KEY"],
        Some("api.cometapi.com")
    ),
    wire!("custom_openai", "Custom_openai", None, [], [], None),
    wire!(
        "dashscope",
        "Dashscope",
        Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ["DASHSCOPE_API_BASE"],
        ["DASHSCOPE_API_KEY"],
        Some("dashscope-intl.aliyuncs.com")
    ),
    wire!(
        "databricks",
        "Databricks",
        None,
        ["DATABRICKS_API_BASE"],
        ["DATABRICKS_API_KEY", "DATABRICKS_TOKEN"],
        None
    ),
    wire!(
        "deepinfra",
        "Deepinfra",
        Some("https://api.deepinfra.com/v1/openai"),
        [],
        ["DEEPINFRA_API_KEY"],
        Some("api.deepinfra.com")
    ),
    wire!(
        "deepseek",
        "Deepseek",
        Some("https://api.deepseek.com/beta"),
        ["DEEPSEEK_API_BASE"],
        ["DEEPSEEK_API_KEY"],
        Some("api.deepseek.com")
    ),
    wire!(
        "empower",
        "Empower",
        Some("https://app.empower.dev/api/v1"),
        [],
        ["EMPOWER_API_KEY"],
        Some("app.empower.dev")
    ),
    wire!(
        "featherless_ai",
        "Featherless_ai",
        Some("https://api.featherless.ai/v1"),
        ["FEATHERLESS_API_BASE"],
        ["FEATHERLESS_API_KEY", "FEATHERLESS_AI_API_KEY"],
        Some("api.featherless.ai")
    ),
    wire!(
        "fireworks_ai",
        "Fireworks_ai",
        Some("https://api.fireworks.ai/inference/v1"),
        ["FIREWORKS_API_BASE"],
        [
            "FIREWORKS_API_KEY",
            "FIREWORKS_AI_API_KEY",
            "FIREWORKSAI_API_KEY",
            "FIREWORKS_AI_TOKEN"
        ],
        Some("api.fireworks.ai")
    ),
    wire!(
        "friendliai",
        "Friendliai",
        Some("https://api.friendli.ai/serverless/v1"),
        [],
        ["FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"],
        Some("api.friendli.ai")
    ),
    wire!(
        "galadriel",
        "Galadriel",
        Some("https://api.galadriel.com/v1"),
        [],
        ["GALADRIEL_API_KEY"],
        Some("api.galadriel.com")
    ),
    wire!(
        "gemini",
        "Gemini",
        Some("https://generativelanguage.googleapis.com/v1beta"),
        ["GEMINI_API_BASE"],
        ["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        Some("generativelanguage.googleapis.com"),
        gemini::build
    ),
    wire!(
        "github",
        "Github",
        Some("https://models.inference.ai.azure.com"),
        [],
        ["GITHUB_API_KEY", "GITHUB_TOKEN"],
        Some("models.inference.ai.azure.com")
    ),
    wire!(
        "groq",
        "Groq",
        Some("https://api.groq.com/openai/v1"),
        ["GROQ_API_BASE"],
        ["GROQ_API_KEY"],
        Some("api.groq.com")
    ),
    wire!(
        "heroku",
        "Heroku",
        Some("https://us.inference.heroku.com/v1"),
        ["HEROKU_API_BASE"],
        ["HEROKU_API_KEY"],
        Some("inference.heroku.com")
    ),
    wire!(
        "hosted_vllm",
        "Hosted_vllm",
        None,
        ["HOSTED_VLLM_API_BASE"],
        ["HOSTED_VLLM_API_KEY"],
        None
    ),
    wire!(
        "huggingface",
        "Huggingface",
        Some("https://router.huggingface.co/v1"),
        ["HF_API_BASE", "HUGGINGFACE_API_BASE"],
        ["HF_TOKEN", "HUGGINGFACE_API_KEY"],
        None,
        hosted::build_huggingface
    ),
    wire!(
        "hyperbolic",
        "Hyperbolic",
        Some("https://api.hyperbolic.xyz/v1"),
        ["HYPERBOLIC_API_BASE"],
        ["HYPERBOLIC_API_KEY"],
        Some("api.hyperbolic.xyz")
    ),
    wire!(
        "inception",
        "Inception",
        Some("https://api.inceptionlabs.ai/v1"),
        ["INCEPTION_API_BASE"],
        ["INCEPTION_API_KEY"],
        Some("api.inceptionlabs.ai")
    ),
    wire!(
        "jina_ai",
        "Jina_ai",
        Some("https://api.jina.ai/v1"),
        [],
        ["JINA_AI_API_KEY", "JINA_AI_TOKEN"],
        Some("api.jina.ai")
    ),
    wire!(
        "lambda_ai",
        "Lambda_ai",
        Some("https://api.lambda.ai/v1"),
        ["LAMBDA_API_BASE"],
        ["LAMBDA_API_KEY"],
        Some("api.lambda.ai")
    ),
    wire!(
        "litellm_proxy",
        "Litellm_proxy",
        None,
        ["LITELLM_PROXY_API_BASE"],
        ["LITELLM_PROXY_API_KEY"],
        None
    ),
    wire!(
        "llamafile",
        "Llamafile",
        Some("http://127.0.0.1:8080/v1"),
        ["LLAMAFILE_API_BASE"],
        ["LLAMAFILE_API_KEY"],
        None
    ),
    wire!(
        "lm_studio",
        "Lm_studio",
        Some("http://localhost:1234/v1"),
        ["LM_STUDIO_API_BASE"],
        ["LM_STUDIO_API_KEY"],
        None
    ),
    wire!(
        "meta_llama",
        "Meta_llama",
        Some("https://api.llama.com/compat/v1"),
        ["LLAMA_API_BASE"],
        ["LLAMA_API_KEY"],
        Some("api.llama.com")
    ),
    wire!(
        "mistral",
        "Mistral",
        Some("https://api.mistral.ai/v1"),
        ["MISTRAL_API_BASE", "MISTRAL_AZURE_API_BASE"],
        ["MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY"],
        Some("api.mistral.ai")
    ),
    wire!(
        "moonshot",
        "Moonshot",
        Some("https://api.moonshot.ai/v1"),
        ["MOONSHOT_API_BASE"],
        ["MOONSHOT_API_KEY"],
        Some("api.moonshot.ai")
    ),
    wire!(
        "morph",
        "Morph",
        Some("https://api.morphllm.com/v1"),
        ["MORPH_API_BASE"],
        ["MORPH_API_KEY"],
        Some("api.morphllm.com")
    ),
    wire!(
        "nebius",
        "Nebius",
        Some("https://api.studio.nebius.ai/v1"),
        ["NEBIUS_API_BASE"],
        ["NEBIUS_API_KEY"],
        Some("api.studio.nebius.ai")
    ),
    wire!(
        "novita",
        "Novita",
        Some("https://api.novita.ai/v3/openai"),
        [],
        ["NOVITA_API_KEY"],
        Some("api.novita.ai")
    ),
    wire!(
        "nscale",
        "Nscale",
        Some("https://inference.api.nscale.com/v1"),
        ["NSCALE_API_BASE"],
        ["NSCALE_API_KEY"],
        Some("inference.api.nscale.com")
    ),
    wire!(
        "nvidia_nim",
        "Nvidia_nim",
        Some("https://integrate.api.nvidia.com/v1"),
        ["NVIDIA_NIM_API_BASE"],
        ["NVIDIA_NIM_API_KEY", "NVIDIA_API_KEY"],
        Some("integrate.api.nvidia.com")
    ),
    wire!(
        "ollama",
        "Ollama",
        Some("http://localhost:11434"),
        ["OLLAMA_API_BASE"],
        ["OLLAMA_API_KEY"],
        None,
        ollama::build
    ),
    wire!(
        "ollama_chat",
        "Ollama_chat",
        Some("http://localhost:11434"),
        ["OLLAMA_API_BASE"],
        ["OLLAMA_API_KEY"],
        None,
        ollama::build
    ),
    wire!(
        "openai",
        "OpenAI",
        Some("https://api.openai.com/v1"),
        ["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        ["OPENAI_API_KEY"],
        Some("api.openai.com")
    ),
    wire!(
        "openai_like",
        "Openai_like",
        None,
        ["OPENAI_LIKE_API_BASE"],
        ["OPENAI_LIKE_API_KEY"],
        None
    ),
    wire!(
        "openrouter",
        "Openrouter",
        Some("https://openrouter.ai/api/v1"),
        ["OPENROUTER_API_BASE"],
        ["OPENROUTER_API_KEY", "OR_API_KEY"],
        Some("openrouter.ai")
    ),
    wire!(
        "ovhcloud",
        "Ovhcloud",
        Some("https://oai.endpoints.kepler.ai.cloud.ovh.net/v1"),
        ["OVHCLOUD_API_BASE"],
        ["OVHCLOUD_API_KEY"],
        Some("kepler.ai.cloud.ovh.net")
    ),
    wire!(
        "perplexity",
        "Perplexity",
        Some("https://api.perplexity.ai"),
        ["PERPLEXITY_API_BASE"],
        ["PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"],
        Some("api.perplexity.ai")
    ),
    wire!(
        "replicate",
        "Replicate",
        Some("https://api.replicate.com/v1"),
        ["REPLICATE_API_BASE"],
        ["REPLICATE_API_KEY", "REPLICATE_API_TOKEN"],
        None,
        replicate::build
    ),
    wire!(
        "sambanova",
        "Sambanova",
        Some("https://api.sambanova.ai/v1"),
        ["SAMBANOVA_API_BASE"],
        ["SAMBANOVA_API_KEY"],
        Some("api.sambanova.ai")
    ),
    wire!(
        "text-completion-openai",
        "OpenAI",
        Some("https://api.openai.com/v1"),
        ["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        ["OPENAI_API_KEY"],
        None
    ),
    wire!(
        "together_ai",
        "Together_ai",
        Some("https://api.together.ai/v1"),
        ["TOGETHER_AI_API_BASE"],
        [
            "TOGETHERAI_API_KEY",
            "TOGETHER_AI_API_KEY",
            "TOGETHER_API_KEY",
            "TOGETHER_AI_TOKEN"
        ],
        Some("api.together.")
    ),
    wire!(
        "v0",
        "V0",
        Some("https://api.v0.dev/v1"),
        ["V0_API_BASE"],
        ["V0_API_KEY"],
        Some("api.v0.dev")
    ),
    wire!(
        "vercel_ai_gateway",
        "Vercel_ai_gateway",
        Some("https://ai-gateway.vercel.sh/v1"),
        ["VERCEL_AI_GATEWAY_API_BASE"],
        ["VERCEL_AI_GATEWAY_API_KEY"],
        Some("ai-gateway.vercel.sh")
    ),
    wire!(
        "vertex_ai",
        "Vertex_ai",
        None,
        ["VERTEXAI_API_BASE"],
        [],
        Some("aiplatform.googleapis.com"),
        vertex::build,
        Some(vertex::base)
    ),
    wire!(
        "volcengine",
        "Volcengine",
        Some("https://ark.cn-beijing.volces.com/api/v3"),
        ["VOLCENGINE_API_BASE"],
        ["VOLCENGINE_API_KEY", "ARK_API_KEY"],
        Some("ark.cn-beijing.volces.com")
    ),
    wire!(
        "voyage",
        "Voyage",
        Some("https://api.voyageai.com/v1"),
        ["VOYAGE_API_BASE"],
        ["VOYAGE_API_KEY", "VOYAGE_AI_API_KEY"],
        Some("api.voyageai.com")
    ),
    wire!(
        "wandb",
        "Wandb",
        Some("https://api.inference.wandb.ai/v1"),
        ["WANDB_API_BASE"],
        ["WANDB_API_KEY"],
        Some("api.inference.wandb.ai")
    ),
    wire!(
        "watsonx",
        "Watsonx",
        Some("https://us-south.ml.cloud.ibm.com"),
        ["WATSONX_API_BASE", "WATSONX_URL"],
        ["WATSONX_APIKEY", "WATSONX_API_KEY"],
        None,
        watsonx::build
    ),
    wire!(
        "watsonx_text",
        "Watsonx",
        Some("https://us-south.ml.cloud.ibm.com"),
        ["WATSONX_API_BASE", "WATSONX_URL"],
        ["WATSONX_APIKEY", "WATSONX_API_KEY"],
        None,
        watsonx::build
    ),
    wire!(
        "xai",
        "Xai",
        Some("https://api.x.ai/v1"),
        ["XAI_API_BASE"],
        ["XAI_API_KEY"],
        Some("api.x.ai")
    ),
    wire!(
        "xinference",
        "Xinference",
        Some("http://127.0.0.1:9997/v1"),
        ["XINFERENCE_API_BASE"],
        ["XINFERENCE_API_KEY"],
        None
    ),
    wire!(
        "zai",
        "Zai",
        Some("https://api.z.ai/api/paas/v4"),
        ["ZAI_API_BASE"],
        ["ZAI_API_KEY"],
        Some("api.z.ai")
    ),
];

/// The row of the provider of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    PROVIDERS
        .binary_search_by(|entry| entry.name.cmp(name))
        .ok()
        .map(|index| PROVIDERS[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(PROVIDERS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
