//! What Claude models differ in, by their names.

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// By a number of tokens.
    Budget,
    /// By an effort; the model decides.
    Adaptive,
}

/// `4-5` of `us.anthropic.claude-sonnet-4-5-20250929-v1:0` as (4, 5); `claude-3-7-sonnet` is (3, 7).
pub fn version(model: &str) -> Option<(u32, u32)> {
    let name = &model[model.find("claude")?..];
    let mut numbers = name
        .split(['-', '@', ':', '.', '_'])
        .map(str::parse::<u32>)
        .skip_while(Result::is_err);
    let major = numbers.next()?.ok()?;
    let minor = match numbers.next() {
        Some(Ok(minor)) if minor < 100 => minor,
        _ => 0,
    };
    Some((major, minor))
}

/// Whether the model takes a JSON schema for its answer.
pub fn has_structured_output(model: &str) -> bool {
    match version(model) {
        Some((4, 1)) => model.contains("opus"),
        Some(version) => version >= (4, 5),
        None => false,
    }
}

/// How the model is told to think.
pub fn thinking(model: &str) -> Thinking {
    if version(model).is_some_and(|version| version >= (4, 6)) {
        Thinking::Adaptive
    } else {
        Thinking::Budget
    }
}

/// The limit of tokens where the client names none: what the model may write at most.
pub fn max_tokens(model: &str) -> u64 {
    match version(model) {
        None | Some((0..=2, _)) => 4096,
        Some((3, 0..=4)) => 4096,
        Some((3, 5..=6)) => 8192,
        Some((4, 0..=1)) if model.contains("opus") => 32_000,
        Some((3, _) | (4, 0..=5)) => 64_000,
        Some((4.., _)) => 128_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        let check = |model, expected| assert_eq!(version(model), expected, "{model}");
        check("claude-3-7-sonnet-20250219", Some((3, 7)));
        check("claude-3-haiku-20240307", Some((3, 0)));
        check("claude-sonnet-4-20250514", Some((4, 0)));
        check("claude-sonnet-4-5@20250929", Some((4, 5)));
        check("us.anthropic.claude-opus-4-6-v1:0", Some((4, 6)));
        check("claude-instant", None);
        check("gpt-4o", None);
    }
}
