//! The same battery for every store: the embedded one, and a real Postgres that the tests start
//! themselves in a temporary folder.

use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::spend::calls::Calls;
use crate::spend::money::Money;
use crate::spend::record::CallRecord;

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

fn check<F: Future<Output = ()>>(battery: impl Fn(Arc<dyn Store>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(None).unwrap());
        store.migrate().await.unwrap();
        battery(store).await;
        let Some(server) = Server::start() else {
            return;
        };
        let options = PostgresOptions {
            url: server.url(),
            connections_max: 4,
            timeout: Duration::from_secs(10),
        };
        let store: Arc<dyn Store> = Arc::new(Postgres::new(&options).unwrap());
        store.migrate().await.unwrap();
        battery(store).await;
    });
}

/// A Postgres of our own, on a socket in its own folder; gone when dropped.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// `None`, with a line that says so, where Postgres is not installed.
    fn start() -> Option<Server> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("shardgate-pg-{}-{next}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let Some(bin) = installed() else {
            eprintln!("skipped on Postgres: no initdb and postgres on this machine");
            return None;
        };
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let data = folder.join("data");
        let root = Process::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if root {
            // Postgres refuses to run as root.
            let owner = Process::new("chown")
                .arg("nobody")
                .arg(&folder)
                .status()
                .unwrap();
            assert!(owner.success());
        }
        let run = |program: &str| {
            if root {
                let mut process = Process::new("setpriv");
                process.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
                process.arg(bin.join(program));
                process
            } else {
                Process::new(bin.join(program))
            }
        };
        let made = run("initdb")
            .args(["-A", "trust", "-U", "litellm", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let child = run("postgres")
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(&folder)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server { child, folder };
        let socket = server.folder.join(".s.PGSQL.5432");
        for _ in 0..200 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                std::thread::sleep(Duration::from_millis(200));
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("Postgres did not start in {}", server.folder.display());
    }

    fn url(&self) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgresql://litellm@{folder}/postgres?connection_limit=10&schema=public")
    }
}

fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok();
    let packaged = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Process::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn rows_come_back_as_they_were_written() {
    check(|store| async move {
        assert_eq!(store.missing().await.unwrap(), Vec::<String>::new());
        assert_eq!(
            store.migrate().await.unwrap(),
            Vec::<String>::new(),
            "twice does nothing"
        );
        let key = row(json!({
            "token": "a", "key_alias": "first", "models": ["gpt", "claude"], "spend": 0.1,
            "metadata": {"tags": ["x"], "text": "ü\"'"}, "rpm_limit": 5_000_000_000i64,
            "blocked": false, "expires": "2026-11-25T16:31:54.125", "max_budget": null,
            "no_such_column": 1,
        }));
        let stored = store
            .row(Command::Insert(Table::KEYS, key.clone()))
            .await
            .unwrap()
            .unwrap();
        let read = store.get(Table::KEYS, &["a"]).await.unwrap().unwrap();
        assert_eq!(stored, read);
        for (name, value) in key.iter().filter(|(name, _)| *name != "no_such_column") {
            if name == "expires" {
                let text = read[name].as_str().unwrap();
                assert_eq!(
                    crate::auth::calendar::parse(text),
                    crate::auth::calendar::parse("2026-11-25T16:31:54.125")
                );
            } else {
                assert_eq!(&read[name], value, "{name}");
            }
        }
        assert_eq!(read["aliases"], json!({}));
        assert_eq!(read["allowed_routes"], json!([]));
        assert!(read["created_at"].is_string());
        let again = store.row(Command::Insert(Table::KEYS, key)).await.unwrap();
        assert_eq!(again, None, "a key that exists is not made again");
    });
}

#[test]
fn an_update_changes_what_it_names() {
    check(|store| async move {
        let team = row(json!({"team_id": "t", "team_alias": "one", "models": ["a"], "spend": 2.5}));
        store
            .row(Command::Insert(Table::TEAMS, team))
            .await
            .unwrap();
        let changes = row(json!({"team_alias": null, "models": ["b", "c"], "tpm_limit": 9}));
        let update = Command::Update(Table::TEAMS, vec!["t".to_owned()], changes);
        let read = store.row(update).await.unwrap().unwrap();
        assert_eq!(read["team_alias"], Value::Null);
        assert_eq!(read["models"], json!(["b", "c"]));
        assert_eq!(read["tpm_limit"], 9);
        assert_eq!(read["spend"], 2.5);
        let nobody = Command::Update(Table::TEAMS, vec!["x".to_owned()], row(json!({"spend": 1})));
        assert_eq!(store.row(nobody).await.unwrap(), None);
        let gone = store
            .row(Command::Delete(Table::TEAMS, vec!["t".to_owned()]))
            .await
            .unwrap();
        assert_eq!(gone.unwrap()["tpm_limit"], 9);
        assert_eq!(store.get(Table::TEAMS, &["t"]).await.unwrap(), None);
    });
}

#[test]
fn lists_filter_and_page() {
    check(|store| async move {
        for (id, team) in [
            ("a", Some("t")),
            ("b", Some("t")),
            ("c", None),
            ("d", Some("'; --")),
        ] {
            let user =
                row(json!({"user_id": id, "team_id": team, "teams": [team.unwrap_or("none")]}));
            store
                .row(Command::Insert(Table::USERS, user))
                .await
                .unwrap();
        }
        let ids = async |filter: Value, limit, offset| {
            let list = Command::List {
                table: Table::USERS,
                filter: row(filter),
                newest: false,
                limit,
                offset,
            };
            let rows = store.rows(list).await.unwrap();
            rows.iter()
                .map(|row| row["user_id"].as_str().unwrap().to_owned())
                .collect::<String>()
        };
        assert_eq!(ids(json!({}), 10, 0).await, "abcd");
        assert_eq!(ids(json!({}), 2, 1).await, "bc");
        assert_eq!(ids(json!({"team_id": "t"}), 10, 0).await, "ab");
        assert_eq!(ids(json!({"team_id": null}), 10, 0).await, "c");
        assert_eq!(ids(json!({"team_id": "'; --"}), 10, 0).await, "d");
        assert_eq!(ids(json!({"teams": "none"}), 10, 0).await, "c");
        let count = Command::Count(Table::USERS, row(json!({"team_id": "t"})));
        assert_eq!(store.row(count).await.unwrap().unwrap()["count"], 2);
    });
}

#[test]
fn commands_take_effect_together_or_not_at_all() {
    check(|store| async move {
        let good = Command::Insert(
            Table::BUDGETS,
            row(json!({"budget_id": "b", "created_by": "x", "updated_by": "x"})),
        );
        let bad = Command::Insert(
            Table::KEYS,
            row(json!({"token": "k", "budget_id": "no such budget"})),
        );
        assert!(matches!(
            store.transact(vec![good, bad]).await,
            Err(StoreError::Refused(_))
        ));
        assert_eq!(store.get(Table::BUDGETS, &["b"]).await.unwrap(), None);
    });
}

/// Calls with these ids that cost so many dollars.
fn paid(calls: &[(&str, &str)]) -> Calls {
    let mut held = Calls::default();
    for (id, dollars) in calls {
        let own_id = format!("own-{id}-{dollars}");
        let record = CallRecord {
            request_id: id,
            own_id: &own_id,
            call_type: "acompletion",
            api_key: "k",
            team: "t",
            end_user: "customer",
            cost: Money::parse(dollars).unwrap(),
            prompt_tokens: 2,
            completion_tokens: 3,
            total_tokens: 5,
            started_us: 1_764_064_800_000_000,
            duration_us: 1_000_000,
            model: "openai/gpt",
            group: "gpt",
            provider: "openai",
            tags: "blue",
            ..CallRecord::default()
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert!(held.push(&bytes));
    }
    held
}

#[test]
fn spend_counts_once() {
    check(|store| async move {
        let add = async |table, value| {
            store
                .row(Command::Insert(table, row(value)))
                .await
                .unwrap()
                .unwrap();
        };
        add(Table::KEYS, json!({"token": "k"})).await;
        add(Table::TEAMS, json!({"team_id": "t"})).await;
        let batch = |calls: &[(&str, &str)], mark: i64| {
            Command::Spend(spend::Batch {
                calls: Arc::new(paid(calls)),
                keep_rows: true,
                end_users: true,
                totals: true,
                mark: spend::Mark {
                    writer: "here".to_owned(),
                    from: mark - 2,
                    to: mark,
                },
            })
        };
        let first = [("1", "0.25"), ("2", "0.5")];
        for (calls, mark, answered) in [(&first[..], 2, 0), (&first, 2, 1), (&[("3", "1")], 4, 0)] {
            let rows = store.rows(batch(calls, mark)).await.unwrap();
            assert_eq!(rows.len(), answered, "{mark}");
        }
        let spent = async |table, id: &str| {
            store.get(table, &[id]).await.unwrap().unwrap()["spend"]
                .as_f64()
                .unwrap()
        };
        assert_eq!(spent(Table::KEYS, "k").await, 1.75);
        assert_eq!(spent(Table::TEAMS, "t").await, 1.75);
        assert_eq!(spent(Table::END_USERS, "customer").await, 1.75);
        // An upstream may use an id twice: with the journal's position both calls are paid.
        let twice = [("3", "0.75"), ("4", "0.125"), ("4", "0.125")];
        for (mark, answered) in [(7, 0), (7, 1), (8, 1)] {
            // A batch that is there already, in whole or in part, changes nothing and is told.
            let rows = store.rows(batch(&twice, mark)).await.unwrap();
            assert_eq!(rows.len(), answered, "{mark}");
        }
        assert_eq!(spent(Table::KEYS, "k").await, 2.75);
        let renamed = store.get(Table::SPEND_LOGS, &["own-3-0.75"]).await.unwrap();
        assert_eq!(renamed.unwrap()["spend"], 0.75);
        let days = store
            .find(Table::DAILY_TEAMS, "team_id", "t")
            .await
            .unwrap();
        assert_eq!(days.len(), 1, "{days:?}");
        assert_eq!(days[0]["spend"], 2.75);
        assert_eq!(days[0]["api_requests"], 6);
        assert_eq!(
            store.find(Table::DAILY_TAGS, "tag", "blue").await.unwrap()[0]["prompt_tokens"],
            12
        );
        let rows = store.find(Table::SPEND_LOGS, "api_key", "k").await.unwrap();
        assert_eq!(rows.len(), 6);
    });
}

#[test]
fn a_change_reaches_the_other_instance() {
    let Some(server) = Server::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = PostgresOptions {
            url: server.url(),
            connections_max: 2,
            timeout: Duration::from_secs(10),
        };
        let (one, two) = (
            Postgres::new(&options).unwrap(),
            Postgres::new(&options).unwrap(),
        );
        let heard = async {
            loop {
                one.announce("key:abc".to_owned()).await.unwrap();
                let next = tokio::time::timeout(Duration::from_millis(100), two.next_change());
                if let Ok(change) = next.await
                    && change.as_deref() != Some("*")
                {
                    return change;
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(10), heard)
            .await
            .unwrap();
        assert_eq!(heard.as_deref(), Some("key:abc"));
    });
}

#[test]
fn every_question_is_understood() {
    check(|store| async move {
        for (query, count) in query::EVERY {
            let parameters = ["2026-01-01", "2026-12-31", "", "", "", "", "10", "0", "0"];
            let mut asked: Vec<Option<String>> = parameters[..count]
                .iter()
                .map(|text| Some((*text).to_owned()))
                .collect();
            if query.postgres.contains("LIMIT $1") {
                asked[0] = Some("10".to_owned());
            }
            if query.postgres.contains("$5::text::float8") {
                asked[4] = Some("10".to_owned());
            }
            if query.postgres.contains("LIMIT $5") {
                asked[4..6].fill(Some("10".to_owned()));
            }
            if query.postgres.contains("LIMIT $2") {
                asked[1] = Some("10".to_owned());
            }
            store.rows(Command::Ask(query, asked)).await.unwrap();
        }
    });
}
