//! Which groups are tried after one that failed.

use super::facts::Facts;
use super::failure::FailureClass;
use super::spec::FallbackTable;
use super::{GroupIx, Router};

/// The names to try after a group failed this way, in order. `asked` is the name the request came
/// under (an alias perhaps), `group` the group itself: entries of either count. A prompt too long
/// or a content refusal has its own table and never the general ones.
#[must_use]
pub fn after<'a>(
    router: &'a Router,
    facts: &'a Facts,
    class: FailureClass,
    asked: &str,
    group: GroupIx,
) -> &'a [String] {
    let settings = router.settings();
    let names = [asked, &router.group(group).name, &router.group(group).label];
    let find = |table: &'a FallbackTable| -> Option<&'a [String]> {
        let own = names.iter().find_map(|name| table.get(*name));
        let bare = || {
            asked
                .split_once('/')
                .and_then(|(_, model)| table.get(model))
        };
        own.or_else(bare)
            .or_else(|| table.get("*"))
            .map(Vec::as_slice)
    };
    let special = match class {
        FailureClass::ContextWindow => Some((
            facts.wishes.context_window_fallbacks.as_ref(),
            &settings.context_window_fallbacks,
        )),
        FailureClass::ContentPolicy => Some((
            facts.wishes.content_policy_fallbacks.as_ref(),
            &settings.content_policy_fallbacks,
        )),
        _ => None,
    };
    let found = match special {
        Some((own, table)) => own.and_then(find).or_else(|| find(table)),
        None => find(&settings.fallbacks).or(Some(&settings.default_fallbacks)),
    };
    found.unwrap_or_default()
}

/// Whether a content refusal in this group has somewhere to go: an answer that ends in
/// `content_filter` counts as one only then.
#[must_use]
pub fn content_policy_has_fallback(
    router: &Router,
    facts: &Facts,
    asked: &str,
    group: GroupIx,
) -> bool {
    !facts.wishes.disable_fallbacks
        && !after(router, facts, FailureClass::ContentPolicy, asked, group).is_empty()
}
