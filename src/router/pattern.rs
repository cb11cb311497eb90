//! Names with stars: `*`, `openai/*`, `*-mini`. A star stands for any run of characters; what it
//! stood for is put where the target model has stars of its own.

/// A name with at least one star, cut at its stars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Box<str>>,
}

/// What the stars of a pattern stood for, in order.
pub(super) type Captures = Vec<Box<str>>;

impl Pattern {
    /// The pattern of a name, if it has a star.
    #[must_use]
    pub(super) fn parse(name: &str) -> Option<Pattern> {
        let pieces: Vec<Box<str>> = name.split('*').map(Box::from).collect();
        (pieces.len() > 1).then_some(Pattern { pieces })
    }

    /// More specific sorts first: the longer text before the first star, then the longer text in
    /// all, then fewer stars.
    #[must_use]
    pub(super) fn rank(&self) -> (std::cmp::Reverse<usize>, std::cmp::Reverse<usize>, usize) {
        let prefix = self.pieces.first().map_or(0, |piece| piece.len());
        let text = self.pieces.iter().map(|piece| piece.len()).sum();
        (
            std::cmp::Reverse(prefix),
            std::cmp::Reverse(text),
            self.pieces.len(),
        )
    }

    /// What the stars stand for in `name`, the first ones as long as can be; `None` when the name
    /// does not match from end to end.
    #[must_use]
    pub(super) fn captures(&self, name: &str) -> Option<Captures> {
        let (first, rest) = self.pieces.split_first()?;
        let mut tail = name.strip_prefix(&**first)?;
        let mut captures = Vec::with_capacity(rest.len());
        for (position, piece) in rest.iter().enumerate().rev() {
            let last = position + 1 == rest.len();
            let at = if last {
                tail.strip_suffix(&**piece)?.len()
            } else {
                tail.rfind(&**piece)?
            };
            captures.push(Box::from(&tail[at + piece.len()..]));
            tail = &tail[..at];
        }
        captures.push(Box::from(tail));
        captures.reverse();
        captures.pop();
        Some(captures)
    }
}

/// Puts the captured pieces where `model` has stars, in order. With more pieces than stars the
/// name that was asked for goes upstream as it is; a model without stars stays as it is.
#[must_use]
pub(super) fn substitute(model: &str, asked: &str, captures: &[Box<str>]) -> String {
    let stars = model.matches('*').count();
    if stars == 0 {
        return model.to_owned();
    }
    if captures.len() > stars {
        return asked.to_owned();
    }
    let mut result = String::with_capacity(model.len() + asked.len());
    let mut captured = captures.iter();
    for (index, piece) in model.split('*').enumerate() {
        if index > 0 {
            result.push_str(captured.next().map_or("*", |piece| piece));
        }
        result.push_str(piece);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: Option<&[&str]>) {
        let captures = Pattern::parse(pattern).expect("a star").captures(name);
        let got = captures
            .as_ref()
            .map(|c| c.iter().map(|s| &**s).collect::<Vec<_>>());
        assert_eq!(got.as_deref(), expected, "{pattern} on {name}");
    }

    #[test]
    fn stars_stand_for_any_run() {
        check("*", "gpt-4o", Some(&["gpt-4o"]));
        check("*", "", Some(&[""]));
        check("openai/*", "openai/gpt-4o", Some(&["gpt-4o"]));
        check("openai/*", "azure/gpt-4o", None);
        check("*-mini", "gpt-4o-mini", Some(&["gpt-4o"]));
        check("*-mini", "gpt-4o-mini-x", None);
        check("a/*/b/*", "a/x/b/y/b/z", Some(&["x/b/y", "z"]));
        check("a*b*c", "aXbYc", Some(&["X", "Y"]));
        check("a*b*c", "abc", Some(&["", ""]));
        check("ab*ba", "aba", None);
        check("(a.*", "(a.b", Some(&["b"]));
    }

    #[test]
    fn a_name_without_a_star_is_no_pattern() {
        assert_eq!(Pattern::parse("gpt-4o"), None);
    }

    #[test]
    fn the_longest_prefix_ranks_first() {
        let mut names = ["*", "openai/*", "openai/gpt-*", "*-mini", "openai/*-mini"];
        names.sort_by_key(|name| Pattern::parse(name).map(|p| p.rank()));
        assert_eq!(
            names,
            ["openai/gpt-*", "openai/*-mini", "openai/*", "*-mini", "*"]
        );
    }

    #[test]
    fn captured_pieces_fill_the_targets_stars() {
        let check = |model: &str, asked: &str, captures: &[&str], expected: &str| {
            let captures: Captures = captures.iter().map(|c| Box::from(*c)).collect();
            assert_eq!(substitute(model, asked, &captures), expected);
        };
        check("openai/*", "gpt-4o", &["gpt-4o"], "openai/gpt-4o");
        check("openai/fixed", "anything", &["anything"], "openai/fixed");
        check("*/x/*", "a/b", &["a", "b"], "a/x/b");
        check("one/*", "a/b/c", &["a", "b"], "a/b/c");
    }
}
