//! Heads of requests and responses: whatever comes in, what is accepted is whole, in bounds, read the same from
//! its own bytes alone, and holds nothing that could end a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shardgate_io::http1::encode;
use shardgate_io::http1::head::{
    Framing, Header, Limits, Parse, RequestHead, ResponseHead, Span, is_token, parse_request,
    parse_response,
};

fuzz_target!(|data: &[u8]| {
    request(data);
    response(data);
});

fn request(data: &[u8]) {
    let mut head = RequestHead::default();
    if parse_request(data, &mut head, &Limits::default()) != Ok(Parse::Complete) {
        return;
    }
    let own = &data[..head.len];
    let mut again = RequestHead::default();
    assert_eq!(
        parse_request(own, &mut again, &Limits::default()),
        Ok(Parse::Complete)
    );
    assert_eq!(again, head);
    let mut short = RequestHead::default();
    assert_eq!(
        parse_request(&own[..own.len() - 1], &mut short, &Limits::default()),
        Ok(Parse::Partial)
    );
    check_lines(own, &head.headers);
    for span in [
        head.method_span,
        head.target,
        head.path,
        head.query,
        head.host,
    ] {
        check_span(own, span);
    }
    let path = head.path.of(own);
    let lower = path.to_ascii_lowercase();
    assert!(path.is_empty() || path == b"*" || path[0] == b'/');
    assert!(!contains(&lower, b"%2f") && !contains(&lower, b"%5c") && !contains(&lower, b"\\"));
    assert!(!contains(&lower, b"/../") && !contains(&lower, b"/./") && !contains(&lower, b"%00"));
    let named = |name: &str| {
        head.each(own)
            .filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .count()
    };
    assert!(named("content-length") + named("transfer-encoding") <= 1);
    assert!(named("host") == 1 || (named("host") == 0 && !head.http11));
    assert_ne!(head.framing, Framing::UntilClose);
    rebuilt(own, &head);
}

/// Written out again by our encoder and read again, it says the same.
fn rebuilt(own: &[u8], head: &RequestHead) {
    if !head.http11 {
        return;
    }
    let text = |span: Span| String::from_utf8_lossy(span.of(own)).into_owned();
    let mut out = Vec::new();
    encode::request_line(&mut out, &text(head.method_span), &text(head.target));
    head.each(own)
        .for_each(|(name, value)| encode::header(&mut out, name, value));
    encode::end_head(&mut out);
    let mut again = RequestHead::default();
    assert_eq!(
        parse_request(&out, &mut again, &Limits::default()),
        Ok(Parse::Complete)
    );
    assert_eq!(again.len, out.len());
    assert!(again.each(&out).eq(head.each(own)));
    assert_eq!(
        (again.framing, again.keep_alive),
        (head.framing, head.keep_alive)
    );
}

fn response(data: &[u8]) {
    let Some((&flag, data)) = data.split_first() else {
        return;
    };
    let to_head = flag == 0;
    let mut head = ResponseHead::default();
    if parse_response(data, to_head, &mut head, &Limits::default()) != Ok(Parse::Complete) {
        return;
    }
    let own = &data[..head.len];
    let mut again = ResponseHead::default();
    assert_eq!(
        parse_response(own, to_head, &mut again, &Limits::default()),
        Ok(Parse::Complete)
    );
    assert_eq!(again, head);
    check_lines(own, &head.headers);
    assert!(head.status >= 100);
    assert!(!to_head || head.framing == Framing::None);
    assert!(!head.keep_alive || head.framing != Framing::UntilClose);
}

/// As many lines as headers say, each ended by CR LF, no other CR, LF or NUL anywhere.
fn check_lines(own: &[u8], headers: &[Header]) {
    let text = own.strip_prefix(b"\r\n").unwrap_or(own);
    assert!(text.ends_with(b"\r\n\r\n"));
    let lines: Vec<&[u8]> = text[..text.len() - 4].split(|&b| b == b'\n').collect();
    assert_eq!(lines.len(), headers.len() + 1);
    for (at, line) in lines.iter().enumerate() {
        let line = if at + 1 < lines.len() {
            line.strip_suffix(b"\r").expect("CR")
        } else {
            line
        };
        assert!(!line.iter().any(|b| matches!(b, b'\r' | 0)));
    }
    for (header, line) in headers.iter().zip(&lines[1..]) {
        check_span(own, header.name);
        check_span(own, header.value);
        assert!(is_token(header.name.of(own)));
        assert!(line.starts_with(header.name.of(own)));
    }
}

fn check_span(own: &[u8], span: Span) {
    assert!(span.start <= span.end && span.end as usize <= own.len());
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
