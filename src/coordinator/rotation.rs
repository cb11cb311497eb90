//! Keys with `auto_rotate` are renewed when their `rotation_interval` is over, where
//! `LITELLM_KEY_ROTATION_ENABLED` is `true`. Of several instances one takes each key: it moves the time
//! on before it begins, and another one finds the key again only when that did not come to its end.

use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::admin::api::key_renewal::{BY_ITSELF, rotate};
use crate::admin::audit;
use crate::auth::calendar::{self, SECOND_US, Span};
use crate::directory::text;
use crate::log;
use crate::store::{Command, StoreError, now_text, now_us, query};

/// When keys are looked at, and how long an old one works on.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    every: Duration,
    grace: Option<String>,
}

/// The environment's schedule; none where keys are not renewed by themselves.
///
/// # Errors
/// A value that means nothing, with its variable.
pub(super) fn schedule(env: impl Fn(&str) -> Option<String>) -> Result<Option<Schedule>, String> {
    const ENABLED: &str = "LITELLM_KEY_ROTATION_ENABLED";
    const EVERY: &str = "LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS";
    const GRACE: &str = "LITELLM_KEY_ROTATION_GRACE_PERIOD";
    const DAY_S: f64 = 86_400.0;
    let is_on = env(ENABLED).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1");
    if !is_on {
        return Ok(None);
    }
    let seconds = match env(EVERY).filter(|text| !text.is_empty()) {
        None => DAY_S,
        Some(text) => {
            let number = text.parse::<f64>().ok().filter(|number| *number >= 0.1);
            number.ok_or(format!(
                "{EVERY}: a number of seconds, 0.1 or more, is expected; got {text}"
            ))?
        }
    };
    let grace = env(GRACE).filter(|text| !text.is_empty());
    if let Some(text) = &grace {
        text.parse::<Span>()
            .map_err(|why| format!("{GRACE}: {why}"))?;
    }
    let every = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(Some(Schedule { every, grace }))
}

/// Renews keys as long as the process lives.
pub(super) async fn keep(control: Arc<Control>, schedule: Schedule) {
    loop {
        tokio::time::sleep(schedule.every).await;
        let who = audit::Who {
            user: BY_ITSELF.to_owned(),
            token: BY_ITSELF.to_owned(),
        };
        let turn = renew_due(&control, schedule.grace.as_deref());
        if let Err(error) = audit::in_name_of(who, turn).await {
            log!(
                control.log,
                Error,
                "keys",
                what = "renewals have to wait",
                why = error
            );
        }
    }
}

async fn renew_due(control: &Control, grace: Option<&str>) -> Result<(), StoreError> {
    /// Until another instance may try it again.
    const PATIENCE_US: i64 = 600 * SECOND_US;
    let desk = control.desk();
    loop {
        let again = calendar::text(now_us() + PATIENCE_US);
        let take = Command::Ask(&query::TAKE_ROTATIONS, vec![Some(now_text()), Some(again)]);
        let taken = desk.directory.store.rows(take).await?;
        if taken.is_empty() {
            return Ok(());
        }
        for old in taken.iter().filter_map(|row| text(row, "id")) {
            match rotate(desk, &old, grace).await {
                Ok((_, row)) => {
                    let (alias, new) = (text(&row, "key_alias"), text(&row, "token"));
                    log!(
                        control.log,
                        Info,
                        "key_rotated",
                        token = old,
                        by = new.unwrap_or_default(),
                        alias = alias.unwrap_or_default()
                    );
                }
                Err(refusal) => log!(
                    control.log,
                    Error,
                    "keys",
                    what = "a key could not be renewed",
                    token = old,
                    why = refusal.text()
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Schedule>, String> {
        schedule(|name| {
            let found = pairs.iter().find(|(have, _)| *have == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn keys_are_renewed_only_where_that_is_asked_for() {
        assert!(read(&[]).unwrap().is_none());
        assert!(
            read(&[("LITELLM_KEY_ROTATION_ENABLED", "false")])
                .unwrap()
                .is_none()
        );
        let on = ("LITELLM_KEY_ROTATION_ENABLED", "true");
        assert_eq!(
            read(&[on]).unwrap().unwrap().every,
            Duration::from_secs(86_400)
        );
        let every = |text| ("LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS", text);
        assert_eq!(
            read(&[on, every("2")]).unwrap().unwrap().every,
            Duration::from_secs(2)
        );
        assert!(read(&[on, every("often")]).is_err());
        assert!(read(&[on, ("LITELLM_KEY_ROTATION_GRACE_PERIOD", "soon")]).is_err());
    }
}
