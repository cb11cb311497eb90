//! Budgets while an instance cannot reach Redis: what all have spent is read from the database, and
//! who is there is told through it.
//!
//! An instance that is alone says so once a second; the others answer that they are there, so that each
//! knows how many share a budget, and who still reaches Redis leaves the silent ones their part.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::Control;
use super::part::Part;
use super::{Keeper, LIFE};
use crate::limit::{Micros, Nano};

/// Between two questions to the database for the same budget.
pub(super) const RENEW: Duration = Duration::from_secs(1);
/// What the database has not answered by then it does not know.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// After so long everybody who can be heard through the database has been heard.
const LISTENED: Duration = Duration::from_secs(3);
/// A row is written so long after `proxy_batch_write_at` at the latest, as far as can be expected.
pub(super) const WRITING: Duration = Duration::from_secs(3);
/// Budgets of one round of questions, and questions at once.
const ROUND_MAX: usize = 1024;
const AT_ONCE: usize = 8;
/// Instances that are remembered.
const PEERS_MAX: usize = 1024;
/// Looks at what was settled that are remembered of one budget.
const LOOKS_MAX: usize = 64;

/// Budgets that others spend of which are remembered until they are looked at.
const SPENT_MAX: usize = 4096;
/// Bytes of an announcement: the database takes 8000.
const WORD_MAX: usize = 6000;

/// How an instance says that it is there, how one that cannot reach Redis does, and how the latter says of
/// which budgets it spends.
const HERE: &str = "here:";
const ALONE: &str = "alone:";
const SPENT: &str = "spent:";

/// Instances that were heard through the database of late, but for this one.
#[derive(Default)]
pub(in super::super) struct Peers {
    heard: Mutex<HashMap<String, (Instant, bool)>>,
    spent: Mutex<HashSet<String>>,
}

impl Peers {
    /// Takes an announcement; false where it is about something else.
    pub(in super::super) fn heard(&self, text: &str) -> bool {
        if let Some(names) = text.strip_prefix(SPENT) {
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            let room = SPENT_MAX.saturating_sub(spent.len());
            spent.extend(names.split('\n').take(room).map(str::to_owned));
            return true;
        }
        let alone = text.strip_prefix(ALONE).map(|who| (who, true));
        let Some((who, is_alone)) = alone.or(text.strip_prefix(HERE).map(|who| (who, false)))
        else {
            return false;
        };
        let mut peers = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() < PEERS_MAX || peers.contains_key(who) {
            peers.insert(who.to_owned(), (Instant::now(), is_alone));
        }
        true
    }

    /// How many there are, and how many of them are alone.
    fn count(&self) -> (u64, u64) {
        let mut peers = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, (heard, _)| heard.elapsed() < LIFE);
        let alone = peers.values().filter(|(_, is_alone)| *is_alone).count();
        (peers.len() as u64, alone as u64)
    }

    /// Budgets that others have said they spend of, since this was asked last.
    fn spent(&self) -> HashSet<String> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *spent)
    }
}

/// What was settled here of late, and may not stand in the database yet.
#[derive(Default)]
pub(super) struct Late(VecDeque<(Micros, Nano)>);

impl Late {
    /// What was settled up to now is known to the others.
    pub(super) fn begin(&mut self, settled: Nano, now: Micros) {
        self.0.clear();
        self.0.push_back((now, settled));
    }

    /// What was settled within `within` before `now`, of `settled` in all; rather more than less.
    pub(super) fn since(&mut self, settled: Nano, now: Micros, within: Duration) -> Nano {
        if self.0.len() < LOOKS_MAX {
            self.0.push_back((now, settled));
        }
        while self
            .0
            .get(1)
            .is_some_and(|(at, _)| now.since(*at) >= within)
        {
            self.0.pop_front();
        }
        let before = self.0.front().map_or(0, |(_, settled)| *settled);
        settled.saturating_sub(before).max(0)
    }
}

/// A budget's number, and what the database has of it; `None` where it cannot be asked.
pub(super) type Recorded = (u32, Option<Nano>);

/// The questions of an instance that somebody cannot hear, or that cannot hear anybody.
pub(super) struct Asking {
    told: tokio::sync::mpsc::Receiver<Vec<Recorded>>,
    tell: tokio::sync::mpsc::Sender<Vec<Recorded>>,
    is_out: bool,
    asked: Option<Instant>,
    announced: Option<Instant>,
    /// Since when this instance is alone.
    since: Option<Instant>,
    /// Somebody else is alone.
    leaves_parts: bool,
}

impl Default for Asking {
    fn default() -> Asking {
        let (tell, told) = tokio::sync::mpsc::channel(1);
        Asking {
            told,
            tell,
            is_out: false,
            asked: None,
            announced: None,
            since: None,
            leaves_parts: false,
        }
    }
}

impl Keeper {
    /// Goes on with what is done without Redis until `work` is done.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.wake.notified() => self.ask(false),
                Some(round) = self.asking.told.recv() => self.take_recorded(round),
                () = tokio::time::sleep(RENEW) => {}
            }
            self.keep_asking();
        }
    }

    /// Takes what was answered meanwhile, and asks again when that is due.
    pub(super) fn keep_asking(&mut self) {
        while let Ok(round) = self.asking.told.try_recv() {
            self.take_recorded(round);
        }
        if self.is_up {
            self.asking.since = None;
        } else if self.asking.since.is_none() {
            self.asking.since = Some(Instant::now());
        }
        let is_due = |last: Option<Instant>| last.is_none_or(|last| last.elapsed() >= RENEW);
        if !is_due(self.asking.announced) {
            return;
        }
        self.asking.announced = Some(Instant::now());
        let (peers, alone) = self.control.peers.count();
        if self.is_up && alone == 0 {
            if std::mem::take(&mut self.asking.leaves_parts) {
                self.parts.values_mut().for_each(Part::leave_nothing);
            }
            return;
        }
        self.asking.leaves_parts = self.is_up;
        if self.is_up {
            // Of the fewer the share is the larger.
            let members = (self.members + alone).min(peers + 1);
            let parts = self.parts.values_mut();
            parts.for_each(|part| part.leave(alone, members));
        }
        let word = if self.is_up { HERE } else { ALONE };
        announce(self.control.clone(), format!("{word}{}", self.instance));
        if is_due(self.asking.asked) {
            self.asking.asked = Some(Instant::now());
            self.ask(true);
        }
    }

    /// Asks the database for the budgets that somebody waits for, and for all that are in use when that is
    /// due; one round at a time.
    pub(super) fn ask(&mut self, is_due: bool) {
        if self.asking.is_out {
            return;
        }
        self.enter_new();
        if !self.is_up {
            while let Some(number) = self.roll.bell.next() {
                if let Some(part) = self.parts.get_mut(&number) {
                    part.ring();
                }
            }
        }
        let mut wanted: Vec<(u32, String)> = Vec::new();
        let spent = self.control.peers.spent();
        for (number, part) in &mut self.parts {
            let is_wanted = part.asks_for_record(is_due) || spent.contains(&part.name);
            if is_wanted && wanted.len() < ROUND_MAX {
                wanted.push((*number, part.name.clone()));
            }
        }
        if is_due && !self.is_up {
            tell_spent(&self.control, &wanted);
        }
        if wanted.is_empty() {
            return;
        }
        self.asking.is_out = true;
        let (control, tell) = (self.control.clone(), self.asking.tell.clone());
        tokio::spawn(async move {
            // The keeper lives as long as the process.
            let _ = tell.send(read(&control, wanted).await).await;
        });
    }

    fn take_recorded(&mut self, round: Vec<Recorded>) {
        self.asking.is_out = false;
        let now = self.control.now();
        let (peers, _) = self.control.peers.count();
        let members = self.members_alone(peers);
        for (number, recorded) in round {
            let Some(part) = self.parts.get_mut(&number) else {
                continue;
            };
            match self.is_up {
                true => part.others_spend(recorded),
                false => part.renew(recorded, members, now, self.late),
            }
        }
        if !self.is_up {
            self.wake_shards();
        }
    }

    /// How many share what is left, as far as can be known without Redis; 0 where nobody can say.
    fn members_alone(&self, peers: u64) -> u64 {
        let listened = self.asking.since.is_some_and(|at| at.elapsed() > LISTENED);
        match self.members {
            0 if !listened => 0,
            known => known.max(peers + 1),
        }
    }
}

fn announce(control: Arc<Control>, word: String) {
    tokio::spawn(async move {
        let store = &control.desk.directory.store;
        // Without the database nobody hears it.
        let _ = tokio::time::timeout(ANSWER_WITHIN, store.announce(word)).await;
    });
}

/// Says of which budgets this instance spends, so that the others look at what was recorded.
fn tell_spent(control: &Arc<Control>, spent: &[(u32, String)]) {
    let mut word = SPENT.to_owned();
    for (_, name) in spent {
        if word.len() + name.len() > WORD_MAX {
            announce(
                control.clone(),
                std::mem::replace(&mut word, SPENT.to_owned()),
            );
        }
        if word.len() > SPENT.len() {
            word.push('\n');
        }
        word.push_str(name);
    }
    if word.len() > SPENT.len() {
        announce(control.clone(), word);
    }
}

/// What the database has of these budgets.
async fn read(control: &Arc<Control>, wanted: Vec<(u32, String)>) -> Vec<Recorded> {
    let mut all = Vec::with_capacity(wanted.len());
    for few in wanted.chunks(AT_ONCE) {
        let mut asked = tokio::task::JoinSet::new();
        for (number, name) in few {
            let (number, name, control) = (*number, name.clone(), control.clone());
            asked.spawn(async move {
                let answer = control.desk.directory.recorded(&name);
                let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await;
                (number, answer.ok().and_then(Result::ok).flatten())
            });
        }
        all.extend(asked.join_all().await);
    }
    all
}
