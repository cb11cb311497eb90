//! A client and a server in memory, with a committed certificate; what passes between them is cut in every way.

use std::path::PathBuf;

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls/testdata")).join(name)
}

fn server() -> ServerTls {
    ServerTls::load(&file("server.pem"), &file("server-key.pem")).expect("test certificate")
}

fn client() -> ClientTls {
    ClientTls::with(&ClientOptions {
        extra_roots: vec![file("ca.pem")],
        ..ClientOptions::default()
    })
    .expect("test authority")
}

fn pair() -> (TlsSession, TlsSession) {
    (
        client().session("localhost").expect("client"),
        server().session().expect("server"),
    )
}

/// Moves what `from` has to send to `to` in pieces, reading `to`'s plaintext when it takes no more.
fn pump(
    from: &mut TlsSession,
    to: &mut TlsSession,
    piece: usize,
    plain: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let mut wire = Vec::new();
    from.take_output(&mut wire)?;
    for part in wire.chunks(piece) {
        let mut at = 0;
        while at < part.len() {
            at += to.feed(&part[at..])?;
            to.read_plain(plain, usize::MAX);
        }
    }
    Ok(!wire.is_empty())
}

/// Until neither has anything to send.
fn settle(
    one: &mut TlsSession,
    other: &mut TlsSession,
    piece: usize,
) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut at_one, mut at_other) = (Vec::new(), Vec::new());
    while pump(one, other, piece, &mut at_other)? | pump(other, one, piece, &mut at_one)? {}
    Ok((at_one, at_other))
}

/// Writes all of `plain` while the other end reads along.
fn send(from: &mut TlsSession, to: &mut TlsSession, plain: &[u8], piece: usize) -> Vec<u8> {
    let mut arrived = Vec::new();
    let mut at = 0;
    while at < plain.len() {
        at += from.write_plain(&plain[at..]).expect("written");
        pump(from, to, piece, &mut arrived).expect("sent");
    }
    arrived
}

#[test]
fn data_in_pieces_of_any_size() {
    let text: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    for piece in [1, 2, 5, 100, 4_096, 1_000_000] {
        let (mut client, mut server) = pair();
        assert!(client.handshaking() && client.wants_write());
        settle(&mut client, &mut server, piece).expect("handshake");
        assert!(!client.handshaking() && !server.handshaking());
        assert!(client.wants_read() && !client.wants_write());
        assert_eq!(send(&mut client, &mut server, &text, piece), text);
        assert_eq!(send(&mut server, &mut client, &text, piece), text);
    }
}

#[test]
fn one_cut_anywhere_in_the_handshake() {
    for cut in (0..3_000).step_by(11) {
        let (mut client, mut server) = pair();
        let mut passed = 0;
        client
            .write_plain(b"early")
            .expect("kept until the handshake is over");
        let mut arrived = Vec::new();
        while client.wants_write() || server.wants_write() {
            for swap in [false, true] {
                let (from, to) = if swap {
                    (&mut server, &mut client)
                } else {
                    (&mut client, &mut server)
                };
                let mut wire = Vec::new();
                from.take_output(&mut wire).expect("output");
                let at = usize::clamp(cut, passed, passed + wire.len()) - passed;
                passed += wire.len();
                for part in [&wire[..at], &wire[at..]] {
                    assert_eq!(to.feed(part).expect("fed"), part.len());
                }
                to.read_plain(&mut arrived, usize::MAX);
            }
        }
        assert_eq!(arrived, b"early", "cut at {cut}");
    }
}

#[test]
fn closed_and_truncated() {
    let mut out = Vec::new();
    let (mut client, mut server) = pair();
    settle(&mut client, &mut server, 100).expect("handshake");
    assert_eq!(server.read_plain(&mut out, 10), ReadState::WouldBlock);
    client.write_plain(b"last words").expect("written");
    client.close();
    let mut wire = Vec::new();
    client.take_output(&mut wire).expect("output");
    wire.extend_from_slice(b"what comes behind is dropped");
    assert_eq!(server.feed(&wire).expect("fed"), wire.len());
    assert_eq!(server.read_plain(&mut out, 4), ReadState::Bytes(4));
    assert_eq!(server.read_plain(&mut out, 100), ReadState::Bytes(6));
    assert_eq!(server.read_plain(&mut out, 100), ReadState::Closed);
    assert_eq!(out, b"last words");
    server
        .write_plain(b"answer")
        .expect("the other direction is still open");
    server.take_output(&mut wire).expect("output");

    let (mut client, mut server) = pair();
    settle(&mut client, &mut server, 100).expect("handshake");
    let mut arrived = Vec::new();
    client.write_plain(b"half").expect("written");
    pump(&mut client, &mut server, 100, &mut arrived).expect("sent");
    server.feed_end().expect("end");
    assert_eq!(server.read_plain(&mut arrived, 100), ReadState::Truncated);

    let (mut client, _) = pair();
    assert_eq!(
        client.feed_end().map_err(|e| e.kind()),
        Err(std::io::ErrorKind::UnexpectedEof)
    );
}

#[test]
fn both_sides_are_bounded() {
    let (mut client, mut server) = pair();
    settle(&mut client, &mut server, 100).expect("handshake");
    let much = vec![7; 1_000_000];
    let taken = client.write_plain(&much).expect("written");
    assert!(
        (1..=70_000).contains(&taken),
        "{taken} bytes taken without output being fetched"
    );
    assert_eq!(client.write_plain(&much).expect("written"), 0);
    let mut wire = Vec::new();
    client.take_output(&mut wire).expect("output");
    let fed = server.feed(&wire).expect("fed");
    assert!(
        fed < wire.len() && fed <= 40_000,
        "{fed} bytes taken without plaintext being read"
    );
    let mut plain = Vec::new();
    assert!(matches!(
        server.read_plain(&mut plain, 1_000_000),
        ReadState::Bytes(_)
    ));
    assert!(server.feed(&wire[fed..]).expect("fed") > 0);
}

#[test]
fn sessions_are_resumed() {
    let (client, server) = (client(), server());
    for (tls, expected) in [
        (&client, false),
        (&client, true),
        (&client.per_shard(), false),
    ] {
        let mut one = tls.session("localhost").expect("client");
        let mut other = server.session().expect("server");
        settle(&mut one, &mut other, 1_000).expect("handshake");
        assert_eq!(one.resumed(), expected);
    }
}

/// How the handshake of a client ends.
fn check_trust(client: &ClientTls, host: &str, expected: Result<(), &str>) {
    let mut one = client.session(host).expect("client");
    let mut other = server().session().expect("server");
    match (settle(&mut one, &mut other, 1_000), expected) {
        (Ok(_), Ok(())) => assert!(!one.handshaking()),
        (Err(error), Err(part)) => {
            let text = error.to_string();
            assert!(text.contains(part), "{text}");
            assert!(
                one.wants_write() || other.wants_write(),
                "an alert is to be sent"
            );
        }
        (got, expected) => panic!("{host}: expected {expected:?}, got {got:?}"),
    }
}

#[test]
fn trust() {
    let known = client();
    check_trust(&known, "localhost", Ok(()));
    check_trust(&known, "127.0.0.1", Ok(()));
    check_trust(&known, "[::1]", Ok(()));
    check_trust(&known, "example.org", Err("set ssl_verify: false"));
    let stranger = ClientOptions {
        extra_roots: vec![file("server.pem")],
        ..ClientOptions::default()
    };
    let stranger = ClientTls::with(&stranger).expect("roots");
    check_trust(&stranger, "localhost", Err("UnknownIssuer"));
    let anybody = ClientTls::new(false).expect("no roots needed");
    check_trust(&anybody, "example.org", Ok(()));
    assert!(known.session("no host").is_err());
}

#[test]
fn only_http11_is_negotiated() {
    let mut h2 = client();
    std::sync::Arc::make_mut(&mut h2.config).alpn_protocols = vec![b"h2".to_vec()];
    check_trust(&h2, "localhost", Err("known protocol"));
    let mut silent = client();
    std::sync::Arc::make_mut(&mut silent.config)
        .alpn_protocols
        .clear();
    check_trust(&silent, "localhost", Ok(()));
}

#[test]
fn plain_http_is_an_error_with_an_alert() {
    let mut session = server().session().expect("server");
    let error = session
        .feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect_err("not TLS");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(session.wants_write());
}

#[test]
fn load_errors_name_setting_and_file() {
    let check = |certificate: &str, key: &str, parts: &[&str]| {
        let text = ServerTls::load(&file(certificate), &file(key)).expect_err("refused");
        for part in parts {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    };
    check(
        "none.pem",
        "server-key.pem",
        &["--ssl_certfile_path", "none.pem", "cannot be read"],
    );
    check(
        "server.pem",
        "none.pem",
        &["--ssl_keyfile_path", "none.pem", "cannot be read"],
    );
    check(
        "server-key.pem",
        "server-key.pem",
        &["--ssl_certfile_path", "no PEM certificate"],
    );
    check(
        "server.pem",
        "server.pem",
        &["--ssl_keyfile_path", "no PEM private key"],
    );
    check(
        "ca.pem",
        "server-key.pem",
        &[
            "--ssl_certfile_path",
            "--ssl_keyfile_path",
            "do not go together",
        ],
    );
    let absent = ClientOptions {
        extra_roots: vec![file("none.pem")],
        ..ClientOptions::default()
    };
    let text = ClientTls::with(&absent).map(|_| ()).expect_err("refused");
    assert!(
        text.contains("ssl_verify") && text.contains("none.pem"),
        "{text}"
    );
}
