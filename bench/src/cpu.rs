//! What a process costs: processor time, resident memory, open files, read from /proc. Linux only.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Processor time in nanoseconds of all threads of `pid`, the kernel's part included.
pub(crate) fn process_ns(pid: u32) -> io::Result<u64> {
    Ok(threads_ns(pid)?.into_iter().map(|(_, ns)| ns).sum())
}

/// The same for each thread, with its id.
pub(crate) fn threads_ns(pid: u32) -> io::Result<Vec<(u32, u64)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let id = task
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .unwrap_or(0);
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
            threads.push((id, first_number(&text)));
        }
    }
    Ok(threads)
}

/// Processor time in nanoseconds of the calling thread.
pub(crate) fn thread_ns() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat").map_or(0, |text| first_number(&text))
}

/// Resident memory in bytes.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    Ok(first_number(line.trim_start_matches("VmRSS:")) * 1024)
}

/// Open file descriptors.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Sockets of `pid` that are connected to `port` on 127.0.0.1.
pub(crate) fn sockets_to(pid: u32, port: u16) -> io::Result<usize> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let remote = format!("0100007F:{port:04X}");
    let connected = |line: &&str| line.split_whitespace().nth(2) == Some(remote.as_str());
    let inodes: HashSet<&str> = table
        .lines()
        .filter(connected)
        .filter_map(|line| line.split_whitespace().nth(9))
        .collect();
    let is_one = |link: &PathBuf| {
        let name = link.to_string_lossy().into_owned();
        name.strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inode| inodes.contains(inode))
    };
    let links = fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(links
        .flatten()
        .filter_map(|link| fs::read_link(link.path()).ok())
        .filter(is_one)
        .count())
}

/// The children of `pid`, for servers that fork their worker.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
