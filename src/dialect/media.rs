//! Images and documents that a request names by address: where they stand in each client's dialect, and how their bytes
//! stand there instead. Pure: it fetches nothing.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// A file's bytes, as a request carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its media type, without parameters.
    pub media_type: String,
    /// Its bytes in base64.
    pub base64: String,
}

impl File {
    fn data_url(&self) -> Value {
        Value::String(format!("data:{};base64,{}", self.media_type, self.base64))
    }
}

/// Whether an address has to become bytes; the media type is what the request says of it.
pub type Wants<'a> = &'a dyn Fn(&str, Option<&str>) -> bool;

/// The addresses in a request that have to become bytes, each once, in their order.
pub fn addresses(request: &mut Value, wants: Wants<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    walk(request, &mut |url, format| {
        if is_address(url) && wants(url, format) && !found.iter().any(|known| known == url) {
            found.push(url.to_owned());
        }
        None
    });
    found
}

/// Puts files in the places of their addresses.
pub fn put_in(request: &mut Value, files: &HashMap<String, File>) {
    walk(request, &mut |url, format| {
        let mut file = files.get(url)?.clone();
        if let Some(format) = format {
            file.media_type = format.to_owned();
        }
        Some(file)
    });
}

/// Whether it is something to fetch.
fn is_address(url: &str) -> bool {
    let begins = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins("http://") || begins("https://")
}

type Visit<'a> = dyn FnMut(&str, Option<&str>) -> Option<File> + 'a;

/// Shows each address to `visit`; a file that it gives takes the address's place.
fn walk(value: &mut Value, visit: &mut Visit<'_>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, visit)),
        Value::Object(part) => {
            place(part, visit);
            part.values_mut().for_each(|member| walk(member, visit));
        }
        _ => {}
    }
}

/// A part of a message that may name a file, whichever dialect it is of.
fn place(part: &mut Map<String, Value>, visit: &mut Visit<'_>) {
    let kind = part.get("type").and_then(Value::as_str).map(str::to_owned);
    match kind.as_deref() {
        Some("image_url" | "input_image") => url_or_object(part, "image_url", visit),
        Some("video_url") => url_or_object(part, "video_url", visit),
        Some("file") => {
            if let Some(file) = part.get_mut("file").and_then(Value::as_object_mut) {
                let name = ["file_data", "file_id"]
                    .into_iter()
                    .find(|name| file.contains_key(*name));
                if let Some(found) = name.and_then(|name| shown(file, name, "format", visit)) {
                    file.remove("file_id");
                    file.insert("file_data".to_owned(), found.data_url());
                }
            }
        }
        Some("input_file") => {
            if let Some(found) = shown(part, "file_url", "format", visit) {
                part.remove("file_url");
                part.insert("file_data".to_owned(), found.data_url());
            }
        }
        Some("image" | "document") => {
            if let Some(source) = part.get_mut("source").and_then(Value::as_object_mut)
                && let Some(found) = shown(source, "url", "media_type", visit)
            {
                let made =
                    json!({"type": "base64", "media_type": found.media_type, "data": found.base64});
                part.insert("source".to_owned(), made);
            }
        }
        _ => google(part, visit),
    }
}

/// `{"image_url": "..."}` or `{"image_url": {"url": "..."}}`.
fn url_or_object(part: &mut Map<String, Value>, name: &str, visit: &mut Visit<'_>) {
    if let Some(inner) = part.get_mut(name).and_then(Value::as_object_mut) {
        if let Some(found) = shown(inner, "url", "format", visit) {
            inner.insert("url".to_owned(), found.data_url());
        }
    } else if let Some(found) = shown(part, name, "format", visit) {
        part.insert(name.to_owned(), found.data_url());
    }
}

/// `{"fileData": {"fileUri": "...", "mimeType": "..."}}`.
fn google(part: &mut Map<String, Value>, visit: &mut Visit<'_>) {
    for (name, uri, media_type) in [
        ("fileData", "fileUri", "mimeType"),
        ("file_data", "file_uri", "mime_type"),
    ] {
        if let Some(file) = part.get(name).and_then(Value::as_object)
            && let Some(found) = shown(file, uri, media_type, visit)
        {
            part.remove(name);
            let made = json!({"mimeType": found.media_type, "data": found.base64});
            part.insert("inlineData".to_owned(), made);
        }
    }
}

fn shown(
    holder: &Map<String, Value>,
    url: &str,
    format: &str,
    visit: &mut Visit<'_>,
) -> Option<File> {
    let url = holder.get(url)?.as_str()?;
    visit(url, holder.get(format).and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "https://h/cat.png";

    fn check(mut part: Value, expected: Value) {
        let found = addresses(&mut part, &|_, _| true);
        assert_eq!(found, [AT]);
        let file = File {
            media_type: "image/png".to_owned(),
            base64: "AA==".to_owned(),
        };
        put_in(&mut part, &HashMap::from([(AT.to_owned(), file)]));
        assert_eq!(part, expected);
        assert!(addresses(&mut part, &|_, _| true).is_empty());
    }

    #[test]
    fn every_dialect_has_its_place() {
        let data = "data:image/png;base64,AA==";
        check(
            json!({"messages": [{"content": [{"type": "image_url", "image_url": {"url": AT, "detail": "low"}}]}]}),
            json!({"messages": [{"content": [{"type": "image_url", "image_url": {"url": data, "detail": "low"}}]}]}),
        );
        check(
            json!({"type": "image_url", "image_url": AT}),
            json!({"type": "image_url", "image_url": data}),
        );
        check(
            json!({"type": "file", "file": {"file_id": AT, "format": "text/plain"}}),
            json!({"type": "file", "file": {"file_data": "data:text/plain;base64,AA==", "format": "text/plain"}}),
        );
        check(
            json!({"type": "image", "source": {"type": "url", "url": AT}}),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
        );
        check(
            json!({"type": "input_file", "file_url": AT}),
            json!({"type": "input_file", "file_data": data}),
        );
        check(
            json!({"fileData": {"fileUri": AT}}),
            json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
        );
    }

    #[test]
    fn what_is_no_file_stays() {
        for mut part in [
            json!({"type": "text", "text": AT}),
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
            json!({"type": "image_url", "image_url": {"url": "gs://b/cat.png"}}),
            json!({"type": "file", "file": {"file_id": "file-123"}}),
            json!({"url": AT}),
        ] {
            assert!(addresses(&mut part, &|_, _| true).is_empty(), "{part}");
        }
    }
}
