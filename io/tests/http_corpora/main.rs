//! What others call right and wrong: http-desync-guardian's tiers, llhttp's verdicts, recorded event streams. The data is not part
//! of this repository; without it these tests say that they skipped. It is looked for in `SHARDGATE_CORPORA`,
//! else in `../shared/corpora` beside the repository.

#[cfg(test)]
mod desync;
#[cfg(test)]
mod llhttp;
#[cfg(test)]
mod sse;

#[cfg(test)]
fn corpora() -> Option<std::path::PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora");
    let path = std::env::var_os("SHARDGATE_CORPORA")
        .map_or_else(|| beside.into(), std::path::PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!(
        "skipped: no corpora in {} (set SHARDGATE_CORPORA)",
        path.display()
    );
    None
}
