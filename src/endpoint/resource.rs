//! Resources of the OpenAI API that live at a provider: files, batches, fine-tuning jobs, assistants, vector stores, stored
//! responses. The gateway keeps nothing of them; which provider is asked is found elsewhere.

/// What a path is about; each family has settings of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `/files`, `/batches`, `/uploads`: `files_settings`.
    Files,
    /// `/fine_tuning/jobs`: `finetune_settings`.
    FineTuning,
    /// `/assistants`, `/threads`: `assistants_config`.
    Assistants,
    /// `/vector_stores`, `/responses/{id}`, `/containers`: the deployments' own credentials.
    Plain,
}

/// A request for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// What it is about.
    pub family: Family,
    /// The provider, where the path names one.
    pub provider: Option<&'a str>,
    /// What follows the API's base: `/files/file-1/content`.
    pub rest: &'a str,
}

/// The first word of a path, and its family.
pub(super) const FAMILIES: &[(&str, Family)] = &[
    ("assistants", Family::Assistants),
    ("batches", Family::Files),
    ("containers", Family::Plain),
    ("files", Family::Files),
    ("fine_tuning", Family::FineTuning),
    ("responses", Family::Plain),
    ("threads", Family::Assistants),
    ("uploads", Family::Files),
    ("vector_stores", Family::Plain),
];

/// The resource that `path` (without the root) names.
pub fn of(path: &str) -> Option<Resource<'_>> {
    let in_family = |rest: &'_ str| {
        let word = rest[1..].split('/').next().unwrap_or_default();
        let found = FAMILIES.iter().find(|(name, _)| *name == word);
        // `/responses` itself is a call.
        found
            .map(|(_, family)| *family)
            .filter(|_| word != "responses" || rest.len() > word.len() + 2)
    };
    for prefix in ["/v1", "", "/openai/v1"] {
        let Some(rest) = path.strip_prefix(prefix) else {
            continue;
        };
        if rest.starts_with('/')
            && let Some(family) = in_family(rest)
        {
            return Some(Resource {
                family,
                provider: None,
                rest,
            });
        }
    }
    let (provider, _) = path.strip_prefix('/')?.split_once('/')?;
    let rest = path[provider.len() + 1..].strip_prefix("/v1")?;
    let family = rest.starts_with('/').then(|| in_family(rest))??;
    (family == Family::Files).then_some(Resource {
        family,
        provider: Some(provider),
        rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |path, expected: Option<(Family, Option<&str>, &str)>| {
            let found = of(path).map(|found| (found.family, found.provider, found.rest));
            assert_eq!(found, expected, "{path}");
        };
        check("/v1/files", Some((Family::Files, None, "/files")));
        check(
            "/files/f/content",
            Some((Family::Files, None, "/files/f/content")),
        );
        check(
            "/azure/v1/batches",
            Some((Family::Files, Some("azure"), "/batches")),
        );
        check(
            "/openai/v1/threads/t/runs",
            Some((Family::Assistants, None, "/threads/t/runs")),
        );
        check(
            "/v1/fine_tuning/jobs",
            Some((Family::FineTuning, None, "/fine_tuning/jobs")),
        );
        check(
            "/v1/responses/resp_1",
            Some((Family::Plain, None, "/responses/resp_1")),
        );
        check("/v1/responses", None);
        check("/v1/filesystem", None);
        check("/azure/v1/threads", None);
        check("/", None);
    }
}
