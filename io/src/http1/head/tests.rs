//! Tables: what a head says when it is accepted, and what it is answered when it is not. Every case is also
//! fed cut at every byte: a front is never complete, and a refused head is never accepted on the way.

use super::*;

/// What a request is read as, in one line.
fn describe_request(bytes: &[u8], head: &RequestHead) -> String {
    let text = |span: Span| String::from_utf8_lossy(span.of(bytes)).into_owned();
    let mut line = format!(
        "{} path={} query={} host={} {:?} 1.{}",
        text(head.method_span),
        text(head.path),
        text(head.query),
        text(head.host),
        head.framing,
        u8::from(head.http11),
    );
    for (flag, word) in [
        (head.keep_alive, " keep"),
        (head.expect_continue, " expect"),
    ] {
        line.push_str(if flag { word } else { "" });
    }
    line
}

fn describe_response(head: &ResponseHead) -> String {
    let keep = if head.keep_alive { " keep" } else { "" };
    format!(
        "{} {:?} 1.{}{keep}",
        head.status,
        head.framing,
        u8::from(head.http11)
    )
}

fn check(input: &str, expected: &str) {
    let bytes = input.as_bytes();
    let limits = Limits::default();
    let mut head = RequestHead::default();
    let verdict = parse_request(bytes, &mut head, &limits);
    let described = match verdict {
        Ok(Parse::Complete) => describe_request(bytes, &head),
        Ok(Parse::Partial) => "partial".to_owned(),
        Err(refusal) => format!("{} {}", refusal.status, refusal.reason),
    };
    let agrees = described == expected || (verdict.is_err() && described.starts_with(expected));
    assert!(
        agrees,
        "{input:?}\n  expected {expected}\n  got      {described}"
    );
    let whole = if verdict == Ok(Parse::Complete) {
        head.len
    } else {
        bytes.len()
    };
    for cut in 0..whole {
        let mut scratch = RequestHead::default();
        let front = parse_request(&bytes[..cut], &mut scratch, &limits);
        match verdict {
            Ok(_) => assert_eq!(front, Ok(Parse::Partial), "{input:?} cut at {cut}"),
            Err(_) => assert_ne!(front, Ok(Parse::Complete), "{input:?} cut at {cut}"),
        }
    }
    let mut reused = head.clone();
    assert_eq!(parse_request(bytes, &mut reused, &limits), verdict);
    assert_eq!(reused, head, "a reused head is filled alike");
}

fn check_response(input: &str, to_head_request: bool, expected: &str) {
    let bytes = input.as_bytes();
    let limits = Limits::default();
    let mut head = ResponseHead::default();
    let verdict = parse_response(bytes, to_head_request, &mut head, &limits);
    let described = match verdict {
        Ok(Parse::Complete) => describe_response(&head),
        Ok(Parse::Partial) => "partial".to_owned(),
        Err(refusal) => format!("{} {}", refusal.status, refusal.reason),
    };
    let agrees = described == expected || (verdict.is_err() && described.starts_with(expected));
    assert!(
        agrees,
        "{input:?}\n  expected {expected}\n  got      {described}"
    );
    let whole = if verdict == Ok(Parse::Complete) {
        head.len
    } else {
        bytes.len()
    };
    for cut in 0..whole {
        let mut scratch = ResponseHead::default();
        let front = parse_response(&bytes[..cut], to_head_request, &mut scratch, &limits);
        match verdict {
            Ok(_) => assert_eq!(front, Ok(Parse::Partial), "{input:?} cut at {cut}"),
            Err(_) => assert_ne!(front, Ok(Parse::Complete), "{input:?} cut at {cut}"),
        }
    }
}

#[test]
fn accepted_requests() {
    for (input, expected) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET path=/ query= host=a None 1.1 keep",
        ),
        (
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET path=/ query= host=a None 1.1 keep",
        ),
        (
            "GET /x?a=%2f&b HTTP/1.1\r\nHost: a:1\r\n\r\n",
            "GET path=/x query=a=%2f&b host=a:1 None 1.1 keep",
        ),
        (
            "GET /x? HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET path=/x query= host=a None 1.1 keep",
        ),
        (
            "GET /x??/../ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET path=/x query=?/../ host=a None 1.1 keep",
        ),
        (
            "GET /a.b/...//%20c HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "GET path=/a.b/...//%20c query= host=[::1]:80 None 1.1 keep",
        ),
        (
            "GET /.a/b./%2ec/..d HTTP/1.1\r\nHost:\r\n\r\n",
            "GET path=/.a/b./%2ec/..d query= host= None 1.1 keep",
        ),
        (
            "POST / HTTP/1.1\r\nhost:a\r\ncontent-length:\t 5 \r\n\r\nhello",
            "POST path=/ query= host=a Length(5) 1.1 keep",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "PUT path=/ query= host=a Chunked 1.1 keep",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n",
            "POST path=/ query= host=a Length(5) 1.1 keep expect",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET path=/ query= host=a None 1.1 keep",
        ),
        (
            "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            "POST path=/ query= host= Length(1) 1.0",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "GET path=/ query= host= None 1.0"),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            "GET path=/ query= host= None 1.0 keep",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n",
            "GET path=/ query= host=a None 1.1",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            "GET path=/ query= host=a None 1.1",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "GET path=/ query= host=a None 1.1 keep",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS path=* query= host=a None 1.1 keep",
        ),
        (
            "GET http://a:1/x?y HTTP/1.1\r\nHost: A:1\r\n\r\n",
            "GET path=/x query=y host=a:1 None 1.1 keep",
        ),
        (
            "GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET path= query= host=a None 1.1 keep",
        ),
        (
            "GET http://a?q HTTP/1.0\r\n\r\n",
            "GET path= query=q host=a None 1.0",
        ),
        (
            "PROPFIND / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \u{fc}\t~\r\n\r\n",
            "PROPFIND path=/ query= host=a None 1.1 keep",
        ),
        (
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "get path=/ query= host=a None 1.1 keep",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "POST path=/ query= host=a Length(18446744073709551615) 1.1 keep",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET path=/ query= host=a Length(0) 1.1 keep",
        ),
        ("", "partial"),
    ] {
        check(input, expected);
    }
}

/// A request whose other parts are right.
fn with_header(line: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")
}

#[test]
fn refused_headers() {
    for (line, expected) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "400 send Content-Length or",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "400 send Content-Length or",
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5",
            "400 Content-Length must be given once",
        ),
        (
            "Content-Length: 5\r\ncontent-length: 6",
            "400 Content-Length must be given once",
        ),
        ("Content-Length: 5, 5", "400 Content-Length must be one"),
        ("Content-Length: +5", "400 Content-Length must be one"),
        ("Content-Length: -5", "400 Content-Length must be one"),
        ("Content-Length: 0x5", "400 Content-Length must be one"),
        ("Content-Length: 5 5", "400 Content-Length must be one"),
        ("Content-Length: 5.0", "400 Content-Length must be one"),
        ("Content-Length: ", "400 Content-Length must be one"),
        (
            "Content-Length: 18446744073709551616",
            "400 Content-Length must be one",
        ),
        ("Transfer-Encoding: gzip", "400 Transfer-Encoding"),
        ("Transfer-Encoding: gzip, chunked", "400 Transfer-Encoding"),
        (
            "Transfer-Encoding: chunked, chunked",
            "400 Transfer-Encoding",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "400 Transfer-Encoding",
        ),
        ("Transfer-Encoding: identity", "400 Transfer-Encoding"),
        ("Transfer-Encoding: \"chunked\"", "400 Transfer-Encoding"),
        ("Transfer-Encoding: chunked;q=1", "400 Transfer-Encoding"),
        ("Transfer-Encoding:", "400 Transfer-Encoding"),
        ("Transfer-Encoding: \u{b}chunked", "400 a header value"),
        ("Content_Length: 5", "400 a header name must not resemble"),
        (
            "Transfer--Encoding: chunked",
            "400 a header name must not resemble",
        ),
        ("-content-length: 5", "400 a header name must not resemble"),
        ("X: a\r\n b", "400 a header line"),
        ("X: a\r\n\tb", "400 a header line"),
        ("X : a", "400 a header line"),
        ("X\t: a", "400 a header line"),
        ("X", "400 a header line"),
        (": a", "400 a header line"),
        ("X(y): a", "400 a header line"),
        ("X\u{fc}: a", "400 a header line"),
        ("X: a\0b", "400 a header value"),
        ("X: a\u{1}b", "400 a header value"),
        ("X: a\u{7f}b", "400 a header value"),
        ("X: a\rb", "400 "),
        ("X: a\r\rb", "400 "),
        ("X: a\nY: b", "400 lines of a head"),
        ("X: a\n b", "400 "),
        ("Host: a", "400 a request must have exactly one Host"),
        ("Host: b", "400 a request must have exactly one Host"),
    ] {
        check(&with_header(line), expected);
    }
}

#[test]
fn refused_lines() {
    for (input, expected) in [
        (
            "GET / HTTP/1.1\r\n\r\n",
            "400 a request must have exactly one Host",
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            "400 a request must have exactly one Host",
        ),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 Host must"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 Host must"),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 Host must"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 Host must"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "400 lines of a head"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "400 lines of a head"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "400 lines of a head"),
        ("GET / HTTP/1.1\nHost: a\n\n", "400 lines of a head"),
        ("GET / HTTP/1.0\n\n", "400 lines of a head"),
        ("GET / HTTP/1.0\r\n\n", "400 lines of a head"),
        ("GET / HTTP/1.0\n\r\n", "400 lines of a head"),
        ("\nGET / HTTP/1.0\r\n\r\n", "400 lines of a head"),
        ("\r\n\r\nGET / HTTP/1.0\r\n\r\n", "400 lines of a head"),
        ("\r\n\nGET / HTTP/1.0\r\n\r\n", "400 lines of a head"),
        ("\rGET / HTTP/1.0\r\n\r\n", "400 "),
        (" GET / HTTP/1.0\r\n\r\n", "400 the request line"),
        ("GET  / HTTP/1.0\r\n\r\n", "400 the request line"),
        ("GET /  HTTP/1.0\r\n\r\n", "400 the request line"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400 "),
        ("GET\t/ HTTP/1.0\r\n\r\n", "400 the request line"),
        ("GET /a b HTTP/1.0\r\n\r\n", "400 the request line"),
        ("GET /\r\n\r\n", "400 the request line"),
        ("G(T / HTTP/1.0\r\n\r\n", "400 the request line"),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", "400 the request line"),
        ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", "400 "),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 "),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 "),
        ("GET / HTTP/0.9\r\n\r\n", "505 "),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 HTTP/2"),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400 Transfer-Encoding needs",
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "501 "),
        (
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 the request target",
        ),
        (
            "OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 the request target",
        ),
        (
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 the request target",
        ),
        (
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 the request target",
        ),
        (
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 the request target",
        ),
        (
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "400 the request target",
        ),
        (
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "400 Host must agree",
        ),
        (
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "400 a request must have exactly one Host",
        ),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0", "400 the request line"),
    ] {
        check(input, expected);
    }
}

#[test]
fn refused_paths() {
    for (path, expected) in [
        ("/a%2fb", "400 the path must not hold an encoded slash"),
        ("/a%2Fb", "400 the path must not hold an encoded slash"),
        ("/a%5cb", "400 the path must not hold an encoded slash"),
        ("/a\\b", "400 the path must not hold a backslash"),
        ("/.", "400 the path must not hold . or .."),
        ("/..", "400 the path must not hold . or .."),
        ("/a/./b", "400 the path must not hold . or .."),
        ("/a/../b", "400 the path must not hold . or .."),
        ("/%2e/b", "400 the path must not hold . or .."),
        ("/%2e%2E/b", "400 the path must not hold . or .."),
        ("/.%2e", "400 the path must not hold . or .."),
        ("/a/%2e.?x", "400 the path must not hold . or .."),
        ("/%00", "400 the path must not hold encoded control"),
        ("/%0d%0a", "400 the path must not hold encoded control"),
        ("/%7f", "400 the path must not hold encoded control"),
        ("/%", "400 a % in the path"),
        ("/%2", "400 a % in the path"),
        ("/%zz", "400 a % in the path"),
        ("/%+1", "400 a % in the path"),
        ("/a#b", "400 the request target may hold"),
        ("/a?b#c", "400 the request target may hold"),
        ("/\u{fc}", "400 the request target may hold"),
        ("/a?\u{fc}", "400 the request target may hold"),
        ("/a\u{1}", "400 the request line"),
        ("/a\0", "400 the request line"),
        ("/a\u{7f}", "400 the request line"),
        ("/a?\u{1}", "400 the request line"),
        ("http://a/x/..", "400 the path must not hold . or .."),
    ] {
        check(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), expected);
    }
}

#[test]
fn responses() {
    for (input, to_head, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            false,
            "200 Length(5) 1.1 keep",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            true,
            "200 None 1.1 keep",
        ),
        (
            "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            "200 Chunked 1.1 keep",
        ),
        ("HTTP/1.1 200 \r\n\r\n", false, "200 UntilClose 1.1"),
        ("HTTP/1.1 200 OK\r\n\r\n", true, "200 None 1.1 keep"),
        (
            "HTTP/1.1 204 No\r\nConnection: close\r\n\r\n",
            false,
            "204 None 1.1",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            false,
            "304 None 1.1 keep",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", false, "100 None 1.1 keep"),
        (
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
            false,
            "103 None 1.1 keep",
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            false,
            "200 Length(5) 1.0",
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
            false,
            "200 Length(5) 1.0 keep",
        ),
        (
            "HTTP/1.1 200 \u{fc}ber\r\nContent-Length: 0\r\n\r\n",
            false,
            "200 Length(0) 1.1 keep",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            "502 send Content-Length or",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            false,
            "502 Content-Length must be given once",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            false,
            "502 Transfer-Encoding",
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            "502 Transfer-Encoding needs",
        ),
        (
            "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n",
            false,
            "502 lines",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\n\n",
            false,
            "502 lines",
        ),
        ("HTTP/1.1 200 OK\n\r\n", false, "502 lines"),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            false,
            "502 a header line",
        ),
        (
            "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            false,
            "502 a header line",
        ),
        ("HTTP/1.1 20 OK\r\n\r\n", false, "502 the status line"),
        ("HTTP/1.1 099 OK\r\n\r\n", false, "502 the status line"),
        ("HTTP/1.1  200 OK\r\n\r\n", false, "502 the status line"),
        ("HTTP/2 200 OK\r\n\r\n", false, "502 the version"),
        ("220 mail ESMTP\r\n", false, "502 "),
    ] {
        check_response(input, to_head, expected);
    }
}

#[test]
fn bounds() {
    let limits = Limits {
        head_bytes_max: 100,
        headers_max: 3,
    };
    let status = |input: &str| {
        parse_request(input.as_bytes(), &mut RequestHead::default(), &limits)
            .map_err(|refusal| refusal.status)
    };
    let long = "x".repeat(200);
    assert_eq!(status(&format!("GET /{long}")), Err(414));
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}")),
        Err(431)
    );
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{long}")),
        Ok(Parse::Complete)
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nY: a\r\n\r\n"),
        Ok(Parse::Complete)
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nY: a\r\nZ: a\r\n\r\n"),
        Err(431)
    );
    let exact = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(100 - 32)
    );
    assert_eq!(exact.len(), 100);
    assert_eq!(status(&exact), Ok(Parse::Complete));
    assert_eq!(status(&format!("{exact}body")), Ok(Parse::Complete));
    assert_eq!(status(&exact[..99]), Ok(Parse::Partial));
    assert_eq!(status(&exact.replace("X: x", "X: xx")), Err(431));
}

#[test]
fn long_heads_are_not_parsed_again_and_again() {
    let limits = Limits::default();
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\nrest",
        "x".repeat(20_000)
    );
    let mut head = RequestHead::default();
    for cut in 0..long.len() - 4 {
        let front = parse_request(&long.as_bytes()[..cut], &mut head, &limits);
        assert_eq!(front, Ok(Parse::Partial), "cut at {cut}");
    }
    assert_eq!(
        parse_request(long.as_bytes(), &mut head, &limits),
        Ok(Parse::Complete)
    );
    assert_eq!(head.len, long.len() - 4);
    let bare = long.replace("\r\n", "\n");
    assert_eq!(
        parse_request(bare.as_bytes(), &mut head, &limits),
        Err(LINE_END)
    );
}

#[test]
fn headers_by_name_and_hop() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX-One:  1 \r\nx-one: 2\r\nConnection: X-One , close\r\nTe: x\r\n\r\n";
    let mut head = RequestHead::default();
    assert_eq!(
        parse_request(bytes, &mut head, &Limits::default()),
        Ok(Parse::Complete)
    );
    assert_eq!(head.header(bytes, "x-one"), Some(&b"1"[..]));
    assert_eq!(head.header(bytes, "x-two"), None);
    let all: Vec<_> = head.each(bytes).map(|(name, _)| name).collect();
    assert_eq!(
        all,
        [&b"Host"[..], b"X-One", b"x-one", b"Connection", b"Te"]
    );
    let hops = head.connection_tokens(bytes);
    assert!(hops.contains(b"x-one") && !hops.contains(b"x-on") && !hops.contains(b"host"));
    assert!(
        is_hop_by_hop(b"TE") && is_hop_by_hop(b"Keep-Alive") && !is_hop_by_hop(b"content-length")
    );
}

#[test]
fn spans_of_another_buffer_are_empty() {
    let span = Span { start: 3, end: 9 };
    assert_eq!(span.of(b"short"), b"");
    assert_eq!(span.len(), 6);
    assert!(Span::default().is_empty());
}
