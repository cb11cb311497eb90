//! The directory over an embedded store.

use serde_json::{Value, json};

use super::*;
use crate::limit::nano;
use crate::store::{Command, Row, Sqlite, Table};

fn row(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

type Pushed = Arc<Mutex<Vec<(String, bool)>>>;

async fn directory() -> (Directory, Pushed) {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(None).unwrap());
    store.migrate().await.unwrap();
    let pushed = Pushed::default();
    let log = pushed.clone();
    let push: Push = Box::new(move |token, account, _| {
        log.lock()
            .unwrap()
            .push((token.to_owned(), account.is_some()));
    });
    let insert = async |table, value| {
        store
            .row(Command::Insert(table, row(value)))
            .await
            .unwrap()
            .unwrap();
    };
    insert(
        Table::BUDGETS,
        json!({"budget_id": "b", "max_budget": 7.0, "rpm_limit": 5,
        "created_by": "x", "updated_by": "x"}),
    )
    .await;
    insert(
        Table::ORGANIZATIONS,
        json!({"organization_id": "o", "organization_alias": "O",
        "budget_id": "b", "models": ["gpt"], "spend": 1.5, "created_by": "x", "updated_by": "x"}),
    )
    .await;
    insert(
        Table::TEAMS,
        json!({"team_id": "t", "organization_id": "o", "max_budget": 3.0,
        "spend": 1.0, "tpm_limit": 100, "metadata": {"model_rpm_limit": {"gpt": 2}}}),
    )
    .await;
    insert(
        Table::USERS,
        json!({"user_id": "u", "user_role": "internal_user", "max_budget": 1.0}),
    )
    .await;
    insert(
        Table::TEAM_MEMBERS,
        json!({"user_id": "u", "team_id": "t", "budget_id": "b"}),
    )
    .await;
    insert(
        Table::KEYS,
        json!({"token": "k", "user_id": "u", "team_id": "t", "max_budget": 2.0,
        "rpm_limit": 9, "key_name": "sk-...abcd", "models": ["gpt"], "aliases": {"a": "gpt"}}),
    )
    .await;
    (Directory::new(store, "salt", 2, push, None), pushed)
}

fn run(test: impl AsyncFn(Directory, Pushed)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (directory, pushed) = directory().await;
        test(directory, pushed).await;
    });
}

#[test]
fn an_account_has_everything_that_binds_it() {
    run(async |directory, _| {
        let account = directory.look_up("k").await.unwrap().unwrap();
        assert_eq!(account.caller.role, crate::auth::caller::Role::InternalUser);
        assert_eq!(account.caller.organization_id.as_deref(), Some("o"));
        assert_eq!(account.caller.resolve("a"), "gpt");
        let scopes: Vec<&str> = account.limits.iter().map(|limit| limit.scope).collect();
        assert_eq!(
            scopes,
            [
                "api_key",
                "team_member",
                "team",
                "organization",
                "model_per_team"
            ]
        );
        let payers: Vec<&Payer> = account.budgets.iter().map(|budget| &budget.payer).collect();
        assert!(matches!(payers[0], Payer::Key(name) if name == "key (sk-...abcd)"));
        assert_eq!(payers[1], &Payer::Member("u".to_owned(), "t".to_owned()));
        assert_eq!(payers[2], &Payer::Team("t".to_owned()));
        assert_eq!(payers[3], &Payer::Organization("o".to_owned()));
        assert_eq!(
            payers.len(),
            4,
            "a team's key does not bind its owner's personal budget"
        );
        assert_eq!(account.budgets[2].meter.spent(), nano(1.0));
        assert!(directory.look_up("nobody").await.unwrap().is_none());
    });
}

#[test]
fn a_change_reaches_the_shards_and_keeps_the_counters() {
    run(async |directory, pushed| {
        let before = directory.look_up("k").await.unwrap().unwrap();
        let changes = row(json!({"blocked": true}));
        let update = Command::Update(Table::TEAMS, vec!["t".to_owned()], changes);
        directory.store.rows(update).await.unwrap();
        directory.changed(Change::Team("t".to_owned())).await;
        assert_eq!(pushed.lock().unwrap().as_slice(), [("k".to_owned(), true)]);
        let after = directory.look_up("k").await.unwrap().unwrap();
        assert!(after.caller.team_blocked);
        assert!(Arc::ptr_eq(&before.spend, &after.spend));
        directory
            .store
            .rows(Command::Delete(Table::KEYS, vec!["k".to_owned()]))
            .await
            .unwrap();
        directory.changed(Change::Key("k".to_owned())).await;
        assert_eq!(
            pushed.lock().unwrap().last(),
            Some(&("k".to_owned(), false))
        );
    });
}

#[test]
fn changes_have_a_text() {
    for change in [Change::Key("a:b".to_owned()), Change::Models, Change::All] {
        assert_eq!(Change::parse(&change.to_string()), change);
    }
}
