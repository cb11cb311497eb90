//! Edits within `messages`, for providers that take less than OpenAI does: `content: null` left out, lists of text parts
//! joined, system prompts under another role. Most requests need none of it, which is seen without walking.

use memchr::memmem;

use crate::dialect::scan::Span;
use crate::dialect::splice::{Edits, Members};
use crate::dialect::walk::{self, FieldList};

/// What happens to lists of content parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flatten {
    /// They stay.
    Never,
    /// They become one text when all parts are text.
    Texts,
    /// They become the text of their text parts; the others are lost.
    All,
}

/// What a provider wants of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRules {
    /// Lists of content parts.
    pub flatten: Flatten,
    /// The role that system messages get instead, as JSON.
    pub system_role: Option<&'static str>,
    /// `developer` becomes `system`, for hosts that copy an older API.
    pub plain_developer: bool,
    /// `"content": null` is left out.
    pub drop_null_content: bool,
    /// Addresses of images end in Fireworks' `#transform=inline`.
    pub inline_images: bool,
}

impl MessageRules {
    /// What LiteLLM does for everybody.
    pub const PLAIN: Self = Self {
        flatten: Flatten::Never,
        system_role: None,
        plain_developer: true,
        drop_null_content: true,
        inline_images: false,
    };
}

/// Writes the edits for the array under `span`; `has_null` says whether the body has a null at all.
pub fn edit(body: &[u8], span: Span, has_null: bool, rules: &MessageRules, edits: &mut Edits) {
    let text = span.of(body);
    let holds = |word: &[u8]| memmem::find(text, word).is_some();
    let walked = rules.system_role.is_some()
        || rules.flatten != Flatten::Never
        || rules.inline_images && holds(b"image_url")
        || rules.drop_null_content && has_null
        || rules.plain_developer && holds(b"\"developer\"");
    if !walked {
        return;
    }
    for message in walk::elements(body, span) {
        edit_message(body, message, rules, edits);
    }
}

fn edit_message(body: &[u8], message: Span, rules: &MessageRules, edits: &mut Edits) {
    let list = FieldList::of(body, message);
    let fields = list.as_slice();
    let mut members = Members::new();
    for (index, field) in fields.iter().enumerate() {
        match walk::name_of(body, *field) {
            b"role" => {
                let role = field.value.of(body);
                let is_developer = role == b"\"developer\"";
                match rules.system_role {
                    Some(other) if is_developer || role == b"\"system\"" => {
                        edits.replace(field.value, other.as_bytes())
                    }
                    None if is_developer && rules.plain_developer => {
                        edits.replace(field.value, b"\"system\"")
                    }
                    _ => {}
                }
            }
            b"content" if rules.drop_null_content && walk::is_null(body, field.value) => {
                members.remove(index);
            }
            b"content" if rules.inline_images => inline_images(body, field.value, edits),
            b"content" if rules.flatten != Flatten::Never => {
                flatten(body, field.value, rules.flatten, edits)
            }
            _ => {}
        }
    }
    members.apply(message, fields, edits);
}

/// Asks Fireworks to hand a model without eyes what is read in an image or a document.
fn inline_images(body: &[u8], content: Span, edits: &mut Edits) {
    const MARK: &[u8] = b"#transform=inline";
    if body.get(content.start as usize) != Some(&b'[') {
        return;
    }
    for part in walk::elements(body, content) {
        let Some(image) = walk::member(body, part, "image_url") else {
            continue;
        };
        let url = match body.get(image.start as usize) {
            Some(b'"') => Some(image),
            _ => walk::member(body, image, "url"),
        };
        if let Some(url) = url
            && let Some(text) = url.of(body).strip_suffix(b"\"")
            && !text.is_empty()
            && !text.ends_with(MARK)
        {
            let end = Span {
                start: url.end - 1,
                end: url.end - 1,
            };
            edits.replace(end, MARK);
        }
    }
}

/// Puts the joined text of a list's text parts in the list's place.
fn flatten(body: &[u8], content: Span, how: Flatten, edits: &mut Edits) {
    if body.get(content.start as usize) != Some(&b'[') {
        return;
    }
    let mut texts = Vec::new();
    for part in walk::elements(body, content) {
        let is_text =
            walk::member(body, part, "type").is_some_and(|kind| kind.of(body) == b"\"text\"");
        match walk::member(body, part, "text").filter(|_| is_text) {
            Some(text) => texts.push(text),
            None if how == Flatten::Texts => return,
            None => {}
        }
    }
    edits.replace_with(content, |out| {
        out.push(b'"');
        for text in texts {
            let raw = text.of(body);
            out.extend_from_slice(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default());
        }
        out.push(b'"');
    });
}

/// Leaves members of those names out, anywhere in the array under `span`. A schema's property that happens to have such a
/// name, below `properties`, stays.
pub fn edit_tools(body: &[u8], span: Span, drops: &[&str], edits: &mut Edits) {
    let text = span.of(body);
    if !drops
        .iter()
        .any(|name| memmem::find(text, name.as_bytes()).is_some())
    {
        return;
    }
    let mut open = vec![(span, false)];
    while let Some((value, is_properties)) = open.pop() {
        match body.get(value.start as usize) {
            Some(b'[') => open.extend(walk::elements(body, value).map(|item| (item, false))),
            Some(b'{') => {
                let list = FieldList::of(body, value);
                let fields = list.as_slice();
                let mut members = Members::new();
                for (index, field) in fields.iter().enumerate() {
                    let name = walk::name_of(body, *field);
                    if !is_properties && drops.iter().any(|drop| drop.as_bytes() == name) {
                        members.remove(index);
                    } else {
                        open.push((field.value, name == b"properties"));
                    }
                }
                members.apply(value, fields, edits);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: MessageRules, messages: &str, expected: &str) {
        let mut edits = Edits::new();
        edit(
            messages.as_bytes(),
            Span::new(0, messages.len()),
            true,
            &rules,
            &mut edits,
        );
        let mut out = Vec::new();
        edits.copy_into(messages.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn null_content_is_left_out() {
        check(
            MessageRules::PLAIN,
            r#"[{"role":"user","content":"null"},{"role":"assistant","content":null,"tool_calls":[]}]"#,
            r#"[{"role":"user","content":"null"},{"role":"assistant","tool_calls":[]}]"#,
        );
    }

    #[test]
    fn addresses_of_images_are_marked() {
        let rules = MessageRules {
            inline_images: true,
            ..MessageRules::PLAIN
        };
        check(
            rules,
            r#"[{"content":"image_url"},{"content":[{"image_url":{"url":"a"}},{"image_url":"b"},{"image_url":{"url":"c#transform=inline"}}]}]"#,
            r#"[{"content":"image_url"},{"content":[{"image_url":{"url":"a#transform=inline"}},{"image_url":"b#transform=inline"},{"image_url":{"url":"c#transform=inline"}}]}]"#,
        );
    }

    #[test]
    fn lists_of_parts_are_joined() {
        let list = r#"[{"role":"user","content":[{"type":"text","text":"a\n"},{"type":"text","text":"b"}]}]"#;
        let image =
            r#"[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]}]"#;
        let rules = |flatten| MessageRules {
            flatten,
            ..MessageRules::PLAIN
        };
        check(
            rules(Flatten::Texts),
            list,
            r#"[{"role":"user","content":"a\nb"}]"#,
        );
        check(rules(Flatten::Texts), image, image);
        check(rules(Flatten::All), image, r#"[{"content":"a"}]"#);
    }

    #[test]
    fn system_prompts_change_roles() {
        check(
            MessageRules {
                system_role: Some("\"user\""),
                ..MessageRules::PLAIN
            },
            r#"[{"role":"system","content":"x"},{"role":"user","content":"system"}]"#,
            r#"[{"role":"user","content":"x"},{"role":"user","content":"system"}]"#,
        );
    }
}
