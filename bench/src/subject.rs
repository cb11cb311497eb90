//! Servers under test: how each is configured and started on a core of its own, what it costs, how
//! it is stopped. All are given the same job: take the client's key, put the upstream's in its
//! place, keep connections alive both ways, never hold an event back.

use std::fmt;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cpu;
use crate::load::{self, Question};

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(10);

/// How long a server may work after the load has ended.
const REST_MAX: Duration = Duration::from_secs(60);
/// No work for so long is rest.
const QUIET: Duration = Duration::from_millis(100);
/// The same for one that writes its rows once a second.
const GUARDED_QUIET: Duration = Duration::from_millis(1500);
/// Who may make keys.
const MASTER_KEY: &str = "sk-bench-master";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// No proxy: the mock upstream itself.
    Direct,
    Nginx,
    Haproxy,
    /// As a proxy: no keys, no accounts.
    Shardgate,
    /// Shardgate with keys, three limits, a budget, and a row in the database for each request.
    Guarded,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Direct,
        Self::Nginx,
        Self::Haproxy,
        Self::Shardgate,
        Self::Guarded,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Shardgate => "shardgate",
            Self::Guarded => "guarded",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a start needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) upstream: SocketAddr,
    /// Cores of the server, as `taskset -c` takes them.
    pub(crate) cores: String,
    pub(crate) shardgate: PathBuf,
    pub(crate) shards: usize,
    /// Extra flags of Shardgate.
    pub(crate) shardgate_flags: Vec<String>,
    /// For configuration files and logs.
    pub(crate) folder: PathBuf,
    pub(crate) models: Vec<String>,
}

/// A server that runs.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// For answers in one piece.
    pub(crate) address: SocketAddr,
    /// For streams: nginx is told not to buffer them.
    pub(crate) stream_address: SocketAddr,
    child: Option<Child>,
}

impl Subject {
    /// Starts a server and waits until it has answered a request.
    pub(crate) fn start(kind: Kind, setting: &Setting) -> io::Result<Self> {
        if kind == Kind::Direct {
            let (address, stream_address) = (setting.upstream, setting.upstream);
            return Ok(Self {
                kind,
                address,
                stream_address,
                child: None,
            });
        }
        fs::create_dir_all(&setting.folder)?;
        let (address, stream_address) = (free_address()?, free_address()?);
        let file = setting
            .folder
            .join(format!("{kind}-{}.conf", address.port()));
        let log = fs::File::create(
            setting
                .folder
                .join(format!("{kind}-{}.log", address.port())),
        )?;
        let mut command = Command::new("taskset");
        command.args(["-c", &setting.cores]);
        let text = match kind {
            Kind::Nginx => {
                command.args([find("nginx")?.as_os_str(), "-c".as_ref(), file.as_os_str()]);
                nginx_config(setting, address, stream_address)
            }
            Kind::Haproxy => {
                command.args([find("haproxy")?.as_os_str(), "-db".as_ref(), "-f".as_ref()]);
                command.arg(&file);
                haproxy_config(setting, address, stream_address)
            }
            Kind::Shardgate | Kind::Guarded | Kind::Direct => {
                // Its database belongs into the folder that goes away, and to it alone.
                let own = setting.folder.join(format!("{kind}-{}", address.port()));
                fs::create_dir_all(&own)?;
                command.current_dir(&own);
                let program = std::path::absolute(&setting.shardgate)?;
                command.arg(program).arg("--config").arg(&file);
                command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
                command.env("NUM_WORKERS", setting.shards.to_string());
                command.args(&setting.shardgate_flags);
                shardgate_config(setting, kind)
            }
        };
        fs::write(&file, text)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let one_port = matches!(kind, Kind::Shardgate | Kind::Guarded);
        let stream_address = if one_port { address } else { stream_address };
        let mut subject = Self {
            kind,
            address,
            stream_address,
            child: Some(child),
        };
        subject.wait(&setting.models).map_err(|error| {
            let log = format!("{}/{kind}-{}.log", setting.folder.display(), address.port());
            let text = fs::read_to_string(&log).unwrap_or_default();
            let tail = text.lines().last().unwrap_or_default().to_owned();
            io::Error::other(format!(
                "{kind} does not start: {error}; {log} ends: {tail}"
            ))
        })?;
        Ok(subject)
    }

    fn wait(&mut self, models: &[String]) -> io::Result<()> {
        let model = models.first().map_or("mock-chat", String::as_str);
        if self.kind == Kind::Guarded {
            self.wait_for_200(&new_key(self.address))?;
        }
        self.wait_for_200(&Question::chat(model, false, 400).request(self.address))
    }

    fn wait_for_200(&mut self, request: &[u8]) -> io::Result<()> {
        let end = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten()
            {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            match ask_once(self.address, request) {
                Ok(head) if head.starts_with("HTTP/1.1 200") => return Ok(()),
                outcome if Instant::now() > end => {
                    let said = outcome.unwrap_or_else(|error| error.to_string());
                    let line = said.lines().last().unwrap_or_default().to_owned();
                    return Err(io::Error::other(format!("no 200 in time, but: {line}")));
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// The server's processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let Some(child) = &self.child else {
            return Vec::new();
        };
        let mut list = vec![child.id()];
        list.extend(cpu::children(child.id()));
        list
    }

    /// Processor time of all its threads in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        self.processes().into_iter().map(cpu::process_ns).sum()
    }

    /// Processor time of each thread, by its id.
    pub(crate) fn thread_cpu_ns(&self) -> io::Result<Vec<(u32, u64)>> {
        self.processes()
            .into_iter()
            .map(cpu::threads_ns)
            .try_fold(Vec::new(), |mut all, part| {
                all.extend(part?);
                Ok(all)
            })
    }

    /// Waits until it has nothing left to do: its processor time stands still. Some work comes
    /// later than the answer, such as the rows of a database.
    pub(crate) fn rest(&self) -> io::Result<()> {
        let end = Instant::now() + REST_MAX;
        let quiet_for = match self.kind {
            Kind::Guarded => GUARDED_QUIET,
            _ => QUIET,
        };
        while Instant::now() < end {
            let before = self.cpu_ns()?;
            std::thread::sleep(quiet_for);
            let busy_ns = u128::from(self.cpu_ns()? - before);
            if busy_ns * 200 < quiet_for.as_nanos() {
                return Ok(());
            }
        }
        Err(io::Error::other(format!(
            "{} does not come to rest within {REST_MAX:?}",
            self.kind
        )))
    }

    /// Resident memory of all its processes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.processes().into_iter().map(cpu::resident_bytes).sum()
    }

    pub(crate) fn open_files(&self) -> io::Result<usize> {
        self.processes().into_iter().map(cpu::open_files).sum()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // nginx's master takes its worker with it when it is asked; the others have no children.
        if self.kind == Kind::Nginx
            && let Ok(Some(pid)) = i32::try_from(child.id()).map(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
            let end = Instant::now() + Duration::from_secs(3);
            while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The mock upstream as a process of its own.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Upstream {
    /// Starts it on the given cores.
    pub(crate) fn start(cores: &str) -> io::Result<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", cores])
            .arg(std::env::current_exe()?)
            .args(["upstream", "--port", "0", "--log", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .and_then(|text| text.parse().ok());
        match address {
            Some(address) => Ok(Self { address, child }),
            None => {
                let _ = child.kill();
                Err(io::Error::other(
                    "the mock upstream did not say its address",
                ))
            }
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a Debian package puts its server.
fn find(name: &str) -> io::Result<PathBuf> {
    ["/usr/sbin", "/usr/local/sbin", "/usr/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| {
            io::Error::other(format!(
                "{name} is not installed; type: apt-get install {name}"
            ))
        })
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// One request on a connection of its own; the beginning of the answer.
fn ask_once(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request)?;
    let mut scratch = [0; 4096];
    let count = stream.read(&mut scratch)?;
    Ok(String::from_utf8_lossy(&scratch[..count]).into_owned())
}

/// Connections that the proxies are told to allow: each has two sides.
fn connections_max() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (limit.maximum.unwrap_or(65_536).saturating_sub(500) / 2).clamp(500, 16_000)
}

fn nginx_config(setting: &Setting, address: SocketAddr, stream_address: SocketAddr) -> String {
    let folder = setting.folder.display();
    let upstream = setting.upstream;
    let server = |listen: SocketAddr, buffering: &str| {
        format!(
            "server {{ listen {listen} backlog=16384; keepalive_requests 1000000000; \
             keepalive_timeout 600s; location / {{ proxy_pass http://upstream; \
             proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header Authorization \"Bearer sk-upstream\"; \
             proxy_buffering {buffering}; proxy_read_timeout 600s; }} }}\n"
        )
    };
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx-{port}.pid;\n\
         error_log stderr error;\nevents {{ worker_connections {connections}; }}\n\
         http {{\naccess_log off;\ntcp_nodelay on;\nclient_body_buffer_size 128k;\n\
         client_max_body_size 100m;\nclient_body_temp_path {folder}/nginx-body;\n\
         proxy_temp_path {folder}/nginx-proxy;\nfastcgi_temp_path {folder}/nginx-fastcgi;\n\
         uwsgi_temp_path {folder}/nginx-uwsgi;\nscgi_temp_path {folder}/nginx-scgi;\n\
         upstream upstream {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; \
         keepalive_timeout 600s; }}\n{}{}}}\n",
        server(address, "on"),
        server(stream_address, "off"),
        port = address.port(),
        connections = 2 * connections_max(),
    )
}

fn haproxy_config(setting: &Setting, address: SocketAddr, stream_address: SocketAddr) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn {max}\ndefaults\n  mode http\n  timeout connect 10s\n  \
         timeout client 600s\n  timeout server 600s\n  timeout http-keep-alive 600s\n  \
         option http-keep-alive\n  option http-no-delay\n  http-reuse always\nfrontend clients\n  \
         bind {address} backlog 16384\n  bind {stream_address} backlog 16384\n  \
         http-request set-header Authorization \"Bearer sk-upstream\"\n  default_backend upstream\n\
         backend upstream\n  server upstream {} maxconn {max} pool-max-conn -1\n",
        setting.upstream,
        max = connections_max(),
    )
}

/// The same file as a user would write it.
fn shardgate_config(setting: &Setting, kind: Kind) -> String {
    let prices = match kind {
        Kind::Guarded => {
            "      input_cost_per_token: 0.000001\n      output_cost_per_token: 0.000002\n"
        }
        _ => "",
    };
    let mut text = String::from("model_list:\n");
    for model in &setting.models {
        text.push_str(&format!(
            "  - model_name: {model}\n    litellm_params:\n      model: openai/{model}\n      \
             api_base: http://{}/v1\n      api_key: sk-upstream\n{prices}",
            setting.upstream
        ));
    }
    // Nobody else is asked for a line per request.
    text.push_str("general_settings:\n  access_log: false\n");
    if kind == Kind::Guarded {
        text.push_str(&format!(
            "  master_key: {MASTER_KEY}\n  proxy_batch_write_at: 1\n"
        ));
    }
    text
}

/// Makes the load's key, with limits and a budget that it does not reach.
fn new_key(address: SocketAddr) -> Vec<u8> {
    let body = format!(
        "{{\"key\":\"{}\",\"rpm_limit\":1000000000,\"tpm_limit\":1000000000000,\
         \"max_parallel_requests\":1000000,\"max_budget\":1000000}}",
        load::KEY
    );
    format!(
        "POST /key/generate HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {MASTER_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
