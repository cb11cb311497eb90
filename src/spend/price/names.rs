//! The names under which a deployment's model may stand in a price table.

use std::borrow::Cow;

use super::Prices;

/// Providers that bill by another one's entries.
const SAME_BILL: [(&str, &str); 10] = [
    ("text-completion-openai", "openai"),
    ("cohere_chat", "cohere"),
    ("azure_text", "azure"),
    ("vertex_ai_beta", "vertex_ai"),
    ("ollama_chat", "ollama"),
    ("bedrock_converse", "bedrock"),
    ("watsonx_text", "watsonx"),
    ("sagemaker_chat", "sagemaker"),
    ("ai21_chat", "ai21"),
    ("text-completion-codestral", "codestral"),
];

/// Providers whose models run on the user's own machines: another vendor's price of a model of the
/// same name does not apply.
const OWN_MACHINES: [&str; 12] = [
    "hosted_vllm",
    "vllm",
    "lm_studio",
    "ollama",
    "llamafile",
    "xinference",
    "oobabooga",
    "triton",
    "infinity",
    "docker_model_runner",
    "lemonade",
    "petals",
];

/// Parts in front of a Bedrock model that choose a route, not a model.
const BEDROCK_ROUTES: [&str; 12] = [
    "converse/",
    "converse_like/",
    "invoke/",
    "async_invoke/",
    "llama/",
    "deepseek_r1/",
    "openai/",
    "nova/",
    "nova-2/",
    "qwen3/",
    "qwen2/",
    "mantle/",
];

/// Inference profiles of Bedrock that serve from several regions.
const BEDROCK_PROFILES: [&str; 9] = [
    "us.", "eu.", "apac.", "jp.", "au.", "ca.", "sa.", "us-gov.", "global.",
];

/// `model` without the provider's prefix.
pub(super) fn bare<'a>(provider: &str, model: &'a str) -> &'a str {
    model
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(model)
}

/// Bytes of the longest name that is looked for with a prefix; longer ones are in no table.
pub(super) const JOINED_BYTES_MAX: usize = 256;

/// `prefix/name`, without an allocation: this is done per answer where it names another model.
pub(super) fn joined<'b>(
    buffer: &'b mut [u8; JOINED_BYTES_MAX],
    prefix: &str,
    name: &str,
) -> Option<&'b str> {
    let len = prefix.len() + 1 + name.len();
    let place = buffer.get_mut(..len)?;
    place[..prefix.len()].copy_from_slice(prefix.as_bytes());
    place[prefix.len()] = b'/';
    place[prefix.len() + 1..].copy_from_slice(name.as_bytes());
    std::str::from_utf8(place).ok()
}

/// The provider's prefixes in the table, its own first.
pub(super) fn prefixes(provider: &str) -> [&str; 2] {
    let other = SAME_BILL.iter().find(|(name, _)| *name == provider);
    [provider, other.map_or(provider, |(_, other)| *other)]
}

/// Whether a model of `provider` may be billed by an entry that carries no prefix: the provider's
/// own ones (`bedrock_converse` for bedrock, `vertex_ai-language-models` for vertex_ai), and those
/// of OpenAI, whose models others sell on at its price.
pub(super) fn may_bill(provider: &str, entry: &Prices) -> bool {
    let [own, other] = prefixes(provider);
    let owner = &*entry.provider;
    let family = owner.starts_with(own) || owner.starts_with(other);
    family || own.is_empty() || (owner.ends_with("openai") && !OWN_MACHINES.contains(&other))
}

/// The model's name as given, and what remains of it when parts that choose a route, a region or a
/// version are taken off one after another.
pub(super) fn forms<'a>(provider: &str, bare: &'a str) -> Vec<Cow<'a, str>> {
    let mut forms: Vec<Cow<'a, str>> = vec![Cow::Borrowed(bare)];
    let mut add = |form: Cow<'a, str>| {
        if !form.is_empty() && !forms.contains(&form) {
            forms.push(form);
        }
    };
    let mut rest = bare;
    if let Some((before, _)) = rest.split_once('#') {
        rest = before;
        add(Cow::Borrowed(rest));
    }
    match provider {
        "bedrock" | "bedrock_converse" | "bedrock_mantle" => bedrock_forms(rest, &mut add),
        "vertex_ai" | "vertex_ai_beta" | "gemini" => google_forms(rest, &mut add),
        "fireworks_ai" => add(Cow::Owned(format!("accounts/fireworks/models/{rest}"))),
        _ => {}
    }
    // ft:gpt-4o-2024-08-06:my-org:my-suffix:id
    if let Some(tuned) = rest.strip_prefix("ft:") {
        let base = tuned.split(':').next().unwrap_or(tuned);
        add(Cow::Owned(format!("ft:{base}")));
        add(Cow::Borrowed(base));
    }
    forms
}

fn bedrock_forms<'a>(model: &'a str, add: &mut impl FnMut(Cow<'a, str>)) {
    let mut rest = model;
    while let Some(shorter) = BEDROCK_ROUTES
        .iter()
        .find_map(|route| rest.strip_prefix(route))
    {
        rest = shorter;
        add(Cow::Borrowed(rest));
    }
    // us-west-2/anthropic.claude..., arn:aws:bedrock:...:foundation-model/amazon.rerank-v1:0
    if let Some((_, last)) = rest.rsplit_once('/') {
        rest = last;
        add(Cow::Borrowed(rest));
    }
    if let Some(shorter) = BEDROCK_PROFILES
        .iter()
        .find_map(|profile| rest.strip_prefix(profile))
    {
        add(Cow::Borrowed(shorter));
    }
}

fn google_forms<'a>(model: &'a str, add: &mut impl FnMut(Cow<'a, str>)) {
    let mut rest = model;
    if let Some((_, last)) = rest.rsplit_once("models/") {
        rest = last;
        add(Cow::Borrowed(rest));
    }
    // gemini-x-001, claude-x@20250929
    if let Some((before, version)) = rest.rsplit_once(['-', '@'])
        && version.bytes().all(|byte| byte.is_ascii_digit())
    {
        add(Cow::Borrowed(before));
    }
}

/// The entry for a model of that many parameters, where the vendor bills so.
pub(super) fn size_bucket(provider: &str, model: &str) -> Option<&'static str> {
    let size = parameters(model);
    match provider {
        "fireworks_ai" => Some(fireworks_bucket(model, size)),
        "together_ai" => together_bucket(model, size?),
        _ => None,
    }
}

/// Entries by their largest size in millions of parameters, ascending.
type Buckets = &'static [(u64, &'static str)];

const FIREWORKS: Buckets = &[
    (4_000, "fireworks-ai-up-to-4b"),
    (16_000, "fireworks-ai-4.1b-to-16b"),
    (u64::MAX, "fireworks-ai-above-16b"),
];
const FIREWORKS_EXPERTS: Buckets = &[
    (56_000, "fireworks-ai-moe-up-to-56b"),
    (176_000, "fireworks-ai-56b-to-176b"),
    (u64::MAX, "fireworks-ai-default"),
];
const FIREWORKS_EMBEDDINGS: Buckets = &[
    (150, "fireworks-ai-embedding-up-to-150m"),
    (350, "fireworks-ai-embedding-150m-to-350m"),
];
const TOGETHER: Buckets = &[
    (4_000, "together-ai-up-to-4b"),
    (8_000, "together-ai-4.1b-8b"),
    (21_000, "together-ai-8.1b-21b"),
    (41_000, "together-ai-21.1b-41b"),
    (80_000, "together-ai-41.1b-80b"),
    (110_000, "together-ai-81.1b-110b"),
];
const TOGETHER_EMBEDDINGS: Buckets = &[
    (150, "together-ai-embedding-up-to-150m"),
    (350, "together-ai-embedding-151m-to-350m"),
];

fn bucket(buckets: Buckets, size: Size) -> Option<&'static str> {
    buckets
        .iter()
        .find(|(most, _)| size.millions <= *most)
        .map(|(_, name)| *name)
}

fn fireworks_bucket(model: &str, size: Option<Size>) -> &'static str {
    let of_size = size.and_then(|size| match size.experts {
        true => bucket(FIREWORKS_EXPERTS, size),
        false if is_embedding(model) => bucket(FIREWORKS_EMBEDDINGS, size),
        false => None,
    });
    let plain = || bucket(FIREWORKS, size?);
    of_size.or_else(plain).unwrap_or("fireworks-ai-default")
}

fn together_bucket(model: &str, size: Size) -> Option<&'static str> {
    let embedding = is_embedding(model)
        .then(|| bucket(TOGETHER_EMBEDDINGS, size))
        .flatten();
    embedding.or_else(|| bucket(TOGETHER, size))
}

fn is_embedding(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    ["embed", "bert", "bge", "gte", "e5"]
        .iter()
        .any(|part| model.contains(part))
}

/// Parameters of a model, in millions; `experts` for `8x7b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    millions: u64,
    experts: bool,
}

/// Reads `70b`, `0.5b`, `1p5b`, `8x22b`, `80M` between separators of a model's name.
fn parameters(model: &str) -> Option<Size> {
    let words = model.split(['-', '_', '/', ':', ' ']);
    words.filter_map(word_parameters).next()
}

fn word_parameters(word: &str) -> Option<Size> {
    let word = word.to_ascii_lowercase();
    let (number, unit) = match (word.strip_suffix('b'), word.strip_suffix('m')) {
        (Some(number), _) => (number, 1000.0),
        (_, Some(number)) => (number, 1.0),
        _ => return None,
    };
    let (experts, number) = match number.split_once('x') {
        Some((experts, each)) => (experts.parse::<u64>().ok()?, each),
        None => (1, number),
    };
    let each: f64 = number.replacen('p', ".", 1).parse().ok()?;
    let millions = (each * unit).round() as u64;
    Some(Size {
        millions: millions.checked_mul(experts)?,
        experts: experts > 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_forms(provider: &str, model: &str, expected: &[&str]) {
        assert_eq!(forms(provider, model), expected, "of {provider} {model}");
    }

    #[test]
    fn parts_are_taken_off() {
        check_forms("openai", "gpt-4o", &["gpt-4o"]);
        check_forms(
            "bedrock",
            "converse/us-west-2/us.anthropic.claude-v2:1",
            &[
                "converse/us-west-2/us.anthropic.claude-v2:1",
                "us-west-2/us.anthropic.claude-v2:1",
                "us.anthropic.claude-v2:1",
                "anthropic.claude-v2:1",
            ],
        );
        check_forms(
            "bedrock",
            "arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0",
            &[
                "arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0",
                "amazon.rerank-v1:0",
            ],
        );
        check_forms(
            "openai",
            "ft:gpt-4o-2024-08-06:acme::abc",
            &[
                "ft:gpt-4o-2024-08-06:acme::abc",
                "ft:gpt-4o-2024-08-06",
                "gpt-4o-2024-08-06",
            ],
        );
        check_forms(
            "vertex_ai",
            "gemini-1.5-pro-002",
            &["gemini-1.5-pro-002", "gemini-1.5-pro"],
        );
    }

    #[test]
    fn sizes_in_names() {
        let check = |model: &str, expected: Option<(u64, bool)>| {
            let expected = expected.map(|(millions, experts)| Size { millions, experts });
            assert_eq!(parameters(model), expected, "of {model}");
        };
        check("llama-v3p3-70b-instruct", Some((70_000, false)));
        check("mixtral-8x22b-instruct", Some((176_000, true)));
        check("Qwen/Qwen2.5-0.5B", Some((500, false)));
        check("qwen2p5-1p5b", Some((1500, false)));
        check(
            "togethercomputer/m2-bert-80M-8k-retrieval",
            Some((80, false)),
        );
        check("phi-3-vision-128k-instruct", None);
        check("kimi-k2-instruct", None);
    }

    #[test]
    fn buckets() {
        assert_eq!(
            size_bucket("fireworks_ai", "mixtral-8x7b"),
            Some("fireworks-ai-moe-up-to-56b")
        );
        assert_eq!(
            size_bucket("fireworks_ai", "kimi"),
            Some("fireworks-ai-default")
        );
        assert_eq!(
            size_bucket("together_ai", "llama-90b"),
            Some("together-ai-81.1b-110b")
        );
        assert_eq!(size_bucket("together_ai", "llama-405b"), None);
        assert_eq!(size_bucket("openai", "llama-70b"), None);
    }
}
