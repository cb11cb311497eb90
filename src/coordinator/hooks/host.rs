//! The child process itself: started, asked, and started again when it ends.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::{Call, Functions};
use crate::log;
use crate::observe::log::Log;

/// The program that the child runs.
const PROGRAM: &str = include_str!("host.py");
/// One answer, at most.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long modules may take to load.
const LOADING: Duration = Duration::from_secs(60);
/// Until a child that ended is started again; twice that after each further end.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A child that has loaded the functions.
pub(super) struct Child {
    process: std::process::Child,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that ended already cannot be killed, and is waited for all the same.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Child {
    /// Starts one.
    ///
    /// # Errors
    /// Why it could not be, in words for the log.
    pub(super) async fn start(functions: &Functions) -> Result<Child, String> {
        let python = std::env::var("SHARDGATE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()
            .map_err(|error| format!("a socket for {python}: {error}"))?;
        ours.set_nonblocking(true)
            .map_err(|error| format!("a socket for {python}: {error}"))?;
        let process = Command::new(&python)
            .args(["-u", "-c", PROGRAM, &functions.told()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|error| {
                let names: Vec<&str> = functions.named.keys().copied().collect();
                format!(
                    "{} needs Python, and {python} cannot be started: {error}; install python3 or name \
                     an interpreter in SHARDGATE_PYTHON",
                    names.join(", ")
                )
            })?;
        let stream = UnixStream::from_std(ours).map_err(|error| format!("its socket: {error}"))?;
        let (reader, writer) = stream.into_split();
        let mut child = Child {
            process,
            reader: BufReader::new(reader),
            writer,
        };
        match tokio::time::timeout(LOADING, line(&mut child.reader)).await {
            Ok(Some(told)) if told["ready"] == true => Ok(child),
            Ok(Some(told)) => Err(told["failed"].as_str().unwrap_or("no answer").to_owned()),
            Ok(None) => Err("the process that loads Python functions ended".to_owned()),
            Err(_) => Err("loading Python functions took more than 60 s".to_owned()),
        }
    }
}

/// The next line; none at the end, or where it is not what we speak.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> Option<Value> {
    let mut bytes = Vec::new();
    let mut bounded = reader.take(LINE_BYTES_MAX);
    match bounded.read_until(b'\n', &mut bytes).await {
        Ok(_) if bytes.ends_with(b"\n") => serde_json::from_slice(&bytes).ok(),
        _ => None,
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// Serves calls as long as somebody may make one.
pub(super) async fn keep(
    child: Child,
    functions: Functions,
    mut calls: mpsc::Receiver<Call>,
    log: Log,
) {
    let mut child = Some(child);
    let mut pause = PAUSE_MIN;
    loop {
        match child.take() {
            Some(running) => {
                if serve(running, &mut calls).await.is_none() {
                    return;
                }
                log!(log, Error, "python_ended", again_ms = pause.as_millis());
            }
            None => match Child::start(&functions).await {
                Ok(started) => {
                    child = Some(started);
                    continue;
                }
                Err(why) => log!(log, Error, "python_not_started", why = why),
            },
        }
        if refuse_for(pause, &mut calls).await.is_none() {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Refuses whoever asks meanwhile. `None`: nobody will ask any more.
async fn refuse_for(pause: Duration, calls: &mut mpsc::Receiver<Call>) -> Option<()> {
    let until = tokio::time::sleep(pause);
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return Some(()),
            // A call whose answer is dropped hears that the child is away.
            call = calls.recv() => drop(call?),
        }
    }
}

/// Passes calls to a child until it ends. `None`: nobody will ask any more.
async fn serve(mut child: Child, calls: &mut mpsc::Receiver<Call>) -> Option<()> {
    let waiting = Waiting::default();
    let of = |waiting: &Waiting, id: u64| {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has waited too long has left.
        waiting.retain(|_, answer| !answer.is_closed());
        waiting.remove(&id)
    };
    let answers = async {
        while let Some(told) = line(&mut child.reader).await {
            let answer = told["id"].as_u64().and_then(|id| of(&waiting, id));
            if let Some(answer) = answer {
                let _ = answer.send(told);
            }
        }
    };
    let questions = async {
        while let Some(call) = calls.recv().await {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(call.id, call.answer);
            if child.writer.write_all(call.line.as_bytes()).await.is_err() {
                return Some(());
            }
        }
        None
    };
    tokio::select! {
        () = answers => Some(()),
        left = questions => left,
    }
}
