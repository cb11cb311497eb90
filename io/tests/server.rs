//! The server loop on real sockets, on both drivers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shardgate_io::buffer::Buf;
use shardgate_io::driver::{DriverChoice, sleep_until, spawn};
use shardgate_io::http1::drain::Drain;
use shardgate_io::http1::head::Refusal;
use shardgate_io::http1::server::{
    After, Connection, Handler, Party, Request, Settings, Woke, serve,
};
use shardgate_io::net::{Gate, Listener, Stream, bind};
use shardgate_io::shard::start;

static GONE: AtomicUsize = AtomicUsize::new(0);

struct Echo;

impl Handler for Echo {
    async fn handle(&self, connection: &mut Connection, mut request: Box<Request>) -> After {
        let path = String::from_utf8_lossy(request.head.path.of(&request.bytes)).into_owned();
        assert!(path != "/panic", "as asked");
        if connection.read_body(&mut request, 1 << 20).await.is_err() {
            return After::Close;
        }
        if path == "/slow" {
            let work = sleep_until(Instant::now() + Duration::from_millis(400));
            let far = Instant::now() + Duration::from_secs(9);
            if connection.wait_for(work, far).await == Err(Woke::Gone) {
                GONE.fetch_add(1, Ordering::SeqCst);
                return After::Abort;
            }
        }
        let body = request.body();
        let mut answer = Buf::small();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        answer.extend_from_slice(head.as_bytes());
        answer.extend_from_slice(body);
        match connection.send(answer, 0).await {
            Ok(_) if request.head.keep_alive => After::KeepAlive,
            Ok(_) => After::Close,
            Err(_) => After::Abort,
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Vec<u8> {
        format!(
            "HTTP/1.1 {} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            refusal.status
        )
        .into_bytes()
    }
}

fn server(choice: DriverChoice) -> SocketAddr {
    let listener = bind(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let body = move || async move {
        let listener = Listener::new(listener).unwrap();
        let gate = Gate::for_files(1024);
        let drain = Rc::new(Drain::default());
        let settings = Rc::new(Settings {
            head_timeout: Duration::from_millis(300),
            ..Settings::default()
        });
        while let Some((socket, peer)) = listener.next(&gate).await {
            let stream = Stream::plain(socket);
            let connection = Connection::new(stream, peer, settings.clone(), &drain);
            spawn("connection", async move {
                serve(connection, Rc::new(Echo), &|| {}).await
            });
        }
    };
    start(0, None, choice, body).unwrap();
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

const POST: &str = "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str = "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
                       connection: close\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";

fn battery(choice: DriverChoice) {
    let address = server(choice);
    // Pipelined, then split at every byte.
    let mut stream = connect(address);
    stream
        .write_all(format!("{POST}{POST}{CHUNKED}").as_bytes())
        .unwrap();
    let text = rest(stream);
    assert_eq!(text.matches("hello").count(), 2, "{text}");
    assert!(text.ends_with("abc0123456789abcdef"), "{text}");
    for at in 1..CHUNKED.len() {
        let mut stream = connect(address);
        stream.set_nodelay(true).unwrap();
        stream.write_all(&CHUNKED.as_bytes()[..at]).unwrap();
        if at % 7 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        stream.write_all(&CHUNKED.as_bytes()[at..]).unwrap();
        assert!(rest(stream).ends_with("abc0123456789abcdef"), "cut at {at}");
    }
    // Refused and closed; a slow head too.
    let mut stream = connect(address);
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost : x\r\n\r\n")
        .unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 400"));
    let mut stream = connect(address);
    stream.write_all(b"GET / HT").unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 408"));
    // A panic is answered and harms nobody.
    let mut stream = connect(address);
    stream
        .write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 500"));
    half_close_and_leave(address);
}

fn half_close_and_leave(address: SocketAddr) {
    let slow = "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stream = connect(address);
    stream.write_all(slow.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let text = rest(stream);
    assert!(
        text.ends_with("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        "{text}"
    );
    let before = GONE.load(Ordering::SeqCst);
    let mut stream = connect(address);
    stream.write_all(slow.as_bytes()).unwrap();
    drop(stream);
    let began = Instant::now();
    while GONE.load(Ordering::SeqCst) == before && began.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        began.elapsed() < Duration::from_millis(350),
        "seen after {:?}",
        began.elapsed()
    );
}

#[test]
fn on_the_best_driver() {
    battery(DriverChoice::Auto);
}

#[test]
fn on_epoll() {
    battery(DriverChoice::Epoll);
}
