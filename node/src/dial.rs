//! When this node does less, on the side thread: reads its signals each second, has `tailwater_dial` say what follows, and has all
//! cores follow that. Every step is logged, and shown by the admin endpoint.
//!
//! ```text
//! books of the cores --signals--> machine --dial--> Control::Dial --> cores
//!            admin endpoint --wish-----^   \--services--> Control::Watch --> cores
//! ```

mod query;
mod signals;
mod told;

pub use query::{Query, QueryError};
pub use told::SHOWN_WINDOW;

use crate::control::{Control, Cores};
use crate::reload::Reloader;
use async_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use signals::Signals;
use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_dial::{Cause, Dial, Machine, Setting, Step};
use tailwater_runtime::clock::{monotonic_nanos, unix_nanos};
use tailwater_runtime::executor::{spawn, timeout};

/// How often signals are read.
const INTERVAL: Duration = Duration::from_secs(1);
/// Wishes that wait for the one being carried out.
/// At the bound: whoever asks waits.
const WISHES_MAX: usize = 4;

/// What somebody wants done by hand.
enum Wish {
    /// These settings, for so long.
    Set(Vec<Setting>, Duration, Sender<()>),
    /// None of them any more.
    Clear(Sender<()>),
}

/// Has the cores do less, or as much as ever.
pub struct Dialer {
    cores: Cores,
    reloader: Rc<Reloader>,
    machine: RefCell<Machine>,
    signals: RefCell<Signals>,
    wish: Sender<Wish>,
    wishes: Receiver<Wish>,
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_nanos())
}

impl Dialer {
    /// For a node that starts now.
    pub fn new(cores: Cores, reloader: Rc<Reloader>) -> Rc<Self> {
        let (wish, wishes) = bounded(WISHES_MAX);
        let plan = reloader.state().config.control.plan();
        let signals = RefCell::new(Signals::new(cores.shards));
        Rc::new(Self { cores, reloader, machine: RefCell::new(Machine::new(plan)), signals, wish, wishes })
    }

    /// Begins to watch. Wishes made before wait for this.
    pub fn start(self: &Rc<Self>) {
        spawn(self.clone().watch());
    }

    /// How it stands. Not to be held across an await.
    pub fn machine(&self) -> Ref<'_, Machine> {
        self.machine.borrow()
    }

    /// All of it as JSON.
    pub fn told(&self) -> Value {
        told::all(&self.machine.borrow(), now(), unix_nanos())
    }

    /// Does what a query says, or says what would come of it; returns when all cores follow.
    pub async fn ask(&self, query: Query) -> Result<Value, QueryError> {
        let Query { settings, lasts, is_dry_run } = query;
        {
            let state = self.reloader.state();
            query::check(&settings, &state.config)?;
        }
        let preview = self.machine.borrow().preview(&settings)?;
        let mut said = if is_dry_run {
            self.told()
        } else {
            let (answer, done) = bounded(1);
            // The worker lives as long as this thread.
            _ = self.wish.send(Wish::Set(settings, lasts, answer)).await;
            _ = done.recv().await;
            self.told()
        };
        if is_dry_run {
            said["would_be_in_force"] = told::dial(&preview);
        }
        Ok(said)
    }

    /// Takes back all that was set by hand; returns when all cores follow.
    pub async fn clear(&self) -> Value {
        let (answer, done) = bounded(1);
        _ = self.wish.send(Wish::Clear(answer)).await;
        _ = done.recv().await;
        self.told()
    }

    async fn watch(self: Rc<Self>) {
        let (mut sent, mut logged, mut watched) = (Dial::default(), 0, Vec::new());
        let mut next = now();
        loop {
            let wish = timeout(next.saturating_sub(now()), self.wishes.recv()).await;
            let answer = match wish {
                Ok(Ok(wish)) => Some(self.carry_out(wish)),
                Ok(Err(_)) => return,
                Err(_) => {
                    next = now() + INTERVAL;
                    self.configure(&mut watched).await;
                    self.read().await;
                    None
                }
            };
            logged = self.log_since(logged);
            let dial = self.machine.borrow().in_force().clone();
            if dial != sent {
                let told = Arc::new(dial.clone());
                self.cores.ask(|answer| Control::Dial(told.clone(), answer)).await;
                sent = dial;
            }
            if let Some(answer) = answer {
                // Whoever asked may have gone.
                _ = answer.try_send(());
            }
        }
    }

    fn carry_out(&self, wish: Wish) -> Sender<()> {
        let mut machine = self.machine.borrow_mut();
        match wish {
            Wish::Set(settings, lasts, answer) => {
                for setting in settings {
                    if let Err(error) = machine.set(now(), setting, lasts) {
                        // It was there when it was asked for; the configuration has changed since.
                        tracing::warn!(%error, "what was to be set is not");
                    }
                }
                answer
            }
            Wish::Clear(answer) => {
                machine.clear(now());
                answer
            }
        }
    }

    /// Has the plan of the configuration in force followed, and its services watched.
    async fn configure(&self, watched: &mut Vec<String>) {
        let plan = self.reloader.state().config.control.plan();
        let services = {
            let mut machine = self.machine.borrow_mut();
            machine.configure(plan, now());
            machine.services()
        };
        if services != *watched {
            let names: Arc<[Arc<str>]> = services.iter().map(|name| Arc::from(name.as_str())).collect();
            self.cores.ask(|answer| Control::Watch(names.clone(), answer)).await;
            *watched = services;
        }
    }

    /// Reads the signals and follows them; nothing is read where nothing depends on it.
    async fn read(&self) {
        if self.machine.borrow().is_idle() {
            self.signals.borrow_mut().forget();
            return self.machine.borrow_mut().pause();
        }
        let snapshots = self.cores.snapshots().await;
        let mut machine = self.machine.borrow_mut();
        if snapshots.is_empty() {
            return machine.expire(now());
        }
        let reading = self.signals.borrow_mut().read(now(), unix_nanos(), &snapshots);
        machine.follow(now(), reading);
    }

    /// Logs the steps since so many; returns how many there are.
    fn log_since(&self, before: u64) -> u64 {
        let machine = self.machine.borrow();
        machine.steps_since(before).for_each(log);
        machine.steps_total()
    }
}

fn log(step: &Step) {
    let (cause, before, after) = (step.cause.word(), step.before.to_string(), step.after.to_string());
    let dry_run = step.is_dry_run;
    match &step.cause {
        Cause::Trigger { name, signal, service, value, level, .. } => {
            let (signal, value) = (signal.word(), value.unwrap_or(f64::NAN));
            let service = service.as_deref();
            tracing::info!(trigger = name, cause, signal, service, value, level, before, after, dry_run, "control");
        }
        Cause::Set(setting, lasts) => {
            let (set, to, seconds) = (setting.subject(), setting.value(), lasts.as_secs_f64());
            tracing::info!(cause, set, to, seconds, before, after, dry_run, "control");
        }
        Cause::Expired(setting) => {
            let set = setting.subject();
            tracing::info!(cause, set, before, after, dry_run, "control");
        }
        Cause::Cleared | Cause::Approached | Cause::Configured => {
            tracing::info!(cause, before, after, dry_run, "control")
        }
    }
}
