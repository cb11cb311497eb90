//! Accounts on the embedded store: every call once, over restarts and a store that is away.

use std::pin::Pin;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::spend::money::Money;
use crate::spend::record::CallRecord;
use crate::store::{Answers, Sqlite, Table};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("accounts-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn options(&self, shards: usize) -> Options {
        Options {
            ring_bytes: ring::CAPACITY_BYTES_MIN,
            write_every: Duration::from_millis(5),
            ..Options::new(self.0.clone(), shards)
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store that is away at first, and whose answers are lost now and then.
struct Shaky {
    inner: Sqlite,
    calls: AtomicU32,
}

type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

impl Store for Shaky {
    fn transact(&self, commands: Vec<Command>) -> Doing<'_, Answers> {
        Box::pin(async move {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let away = || StoreError::Unavailable("shaky".into());
            if call == 0 {
                return Err(away());
            }
            let answers = self.inner.transact(commands).await?;
            if call == 2 { Err(away()) } else { Ok(answers) }
        })
    }

    fn missing(&self) -> Doing<'_, Vec<String>> {
        self.inner.missing()
    }

    fn migrate(&self) -> Doing<'_, Vec<String>> {
        self.inner.migrate()
    }

    fn next_change(&self) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>> {
        self.inner.next_change()
    }

    fn announce(&self, change: String) -> Doing<'_, ()> {
        self.inner.announce(change)
    }

    fn name(&self) -> &'static str {
        "shaky"
    }
}

fn free(_: &str, _: u64) -> Money {
    Money::default()
}

fn push(writer: &mut RingWriter, id: &str) {
    let record = CallRecord {
        request_id: id,
        api_key: "k",
        started_us: 1_764_066_000_000_000,
        cost: Money::parse("0.25").unwrap(),
        ..CallRecord::default()
    };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let slot = writer.reserve().unwrap();
    writer.push(slot, &bytes);
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

async fn store() -> Arc<dyn Store> {
    let inner = Sqlite::open(None).unwrap();
    let store: Arc<dyn Store> = Arc::new(Shaky {
        inner,
        calls: AtomicU32::new(u32::MAX / 2),
    });
    store.migrate().await.unwrap();
    let key = serde_json::json!({"token": "k"})
        .as_object()
        .unwrap()
        .clone();
    store.row(Command::Insert(Table::KEYS, key)).await.unwrap();
    store
}

async fn rows(store: &dyn Store) -> (usize, f64) {
    let rows = store
        .find(Table::SPEND_LOGS, "api_key", "k")
        .await
        .unwrap()
        .len();
    let key = store.get(Table::KEYS, &["k"]).await.unwrap().unwrap();
    (rows, key["spend"].as_f64().unwrap())
}

#[test]
fn calls_reach_the_store_once_over_restarts() {
    run(async {
        let (folder, store) = (Folder::new("once"), store().await);
        let (log, _writer) = Log::start(false).unwrap();
        for (round, shards) in [3, 1, 2].into_iter().enumerate() {
            let (mut writers, accounts, stop) =
                open(folder.options(shards), log.clone(), &|_, _| {
                    Money::default()
                })
                .unwrap();
            assert_eq!(writers.len(), shards);
            for (shard, writer) in writers.iter_mut().enumerate() {
                for n in 0..10 {
                    push(&mut writer.0, &format!("{round}-{shard}-{n}"));
                }
            }
            stop.stop();
            accounts.run(Arc::clone(&store), log.clone()).await;
        }
        assert_eq!(rows(store.as_ref()).await, (60, 15.0));
    });
}

#[test]
fn a_process_that_dies_leaves_its_records_to_the_next() {
    run(async {
        let (folder, store) = (Folder::new("dies"), store().await);
        let (log, _writer) = Log::start(false).unwrap();
        let (mut writers, accounts, _stop) = open(folder.options(2), log.clone(), &free).unwrap();
        push(&mut writers[1].0, "left");
        let begun = begun::Begun {
            id: b"cut",
            api_key: "k",
            prompt_tokens: 8,
            ..begun::Begun::default()
        };
        let [_under_way, over] = [0, 1].map(|shard| {
            let open = &mut writers[shard].1;
            let place = open.take().unwrap();
            open.begin(&place, |out| begun.encode(out));
            place
        });
        writers[1].1.free(over);
        // The coordinator is gone before it wrote anything.
        let Accounts {
            thread,
            answers,
            work,
            ..
        } = accounts;
        drop((answers, work));
        thread.join().unwrap();
        drop(writers);
        let price = |_: &str, tokens| Money::parse("0.125").unwrap().times(tokens);
        let (_writers, accounts, stop) = open(folder.options(1), log.clone(), &price).unwrap();
        stop.stop();
        accounts.run(Arc::clone(&store), log).await;
        assert_eq!(
            rows(store.as_ref()).await,
            (2, 1.25),
            "one cut call of 8 tokens"
        );
    });
}

#[test]
fn a_store_that_is_away_or_loses_its_answer_counts_once() {
    run(async {
        let folder = Folder::new("away");
        let (log, _writer) = Log::start(false).unwrap();
        let inner = Sqlite::open(None).unwrap();
        inner.migrate().await.unwrap();
        let key = serde_json::json!({"token": "k"})
            .as_object()
            .unwrap()
            .clone();
        inner
            .transact(vec![Command::Insert(Table::KEYS, key)])
            .await
            .unwrap();
        let store: Arc<dyn Store> = Arc::new(Shaky {
            inner,
            calls: AtomicU32::new(0),
        });
        let (mut writers, accounts, stop) = open(folder.options(1), log.clone(), &free).unwrap();
        for n in 0..5 {
            push(&mut writers[0].0, &n.to_string());
        }
        stop.stop();
        accounts.run(Arc::clone(&store), log).await;
        assert_eq!(rows(store.as_ref()).await, (5, 1.25));
    });
}

#[test]
fn one_gateway_a_folder() {
    let folder = Folder::new("shared");
    let (log, _writer) = Log::start(false).unwrap();
    let held = open(folder.options(1), log.clone(), &free).unwrap();
    let error = open(folder.options(1), log, &free).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(held);
}
