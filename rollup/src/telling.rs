//! Series as they are told from window to window: all since their start, or what came since the window before; until nothing
//! comes for them any more. Past a bound new ones are told as one, until others have expired.

use std::collections::BTreeMap;

/// What is counted in one series.
pub trait Counted {
    /// Adds another of the same series.
    fn merge(&mut self, other: &Self);
    /// When the first of it came, nanoseconds since the Unix epoch.
    fn first_unix_nano(&self) -> u64;
    /// How many were counted.
    fn number(&self) -> u64;
}

/// A series as it is told.
#[derive(Debug)]
pub struct Told<R> {
    pub row: R,
    pub start_unix_nano: u64,
    /// Windows in which nothing came.
    idle_windows: u32,
}

/// All series that are told, by their names.
#[derive(Debug)]
pub struct Telling<R> {
    told: BTreeMap<Box<[u8]>, Told<R>>,
    is_delta: bool,
    expires_after_windows: u32,
    /// Most series, but for those of what is past the bound.
    series_max: usize,
    /// The end of the window before.
    before_unix_nano: u64,
    /// Series that went for want of news.
    expired: u64,
    /// What was counted for series that there was no room for.
    overflowed: u64,
    /// Whether cumulative series that nothing came for are told again.
    tells_idle: bool,
}

impl<R: Counted> Telling<R> {
    /// Nothing told yet. Series expire after so many windows in which nothing came; 0 is never.
    pub fn new(is_delta: bool, expires_after_windows: u32, series_max: usize) -> Self {
        let told = BTreeMap::new();
        Self {
            told,
            is_delta,
            expires_after_windows,
            series_max,
            before_unix_nano: 0,
            expired: 0,
            overflowed: 0,
            tells_idle: true,
        }
    }

    /// Series that are told.
    pub fn len(&self) -> usize {
        self.told.len()
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.told.keys().map(|name| &**name)
    }

    /// Series that are not told any more.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// What counts for no series of its own: cores have found more than there is room for.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Whether cumulative series that nothing came for are told again: what was delivered once is known.
    pub fn tell_idle(&mut self, tells_idle: bool) {
        self.tells_idle = tells_idle;
    }

    /// A window is over that came to these rows. What is to be told, in the order of names; `overflow` is what a series is
    /// told as that there is no room for.
    pub fn take(
        &mut self,
        rows: BTreeMap<Box<[u8]>, R>,
        now_unix_nano: u64,
        overflow: impl Fn(&[u8]) -> Box<[u8]>,
    ) -> Vec<(&[u8], &Told<R>)> {
        if self.is_delta {
            self.told.clear();
        }
        self.told.values_mut().for_each(|told| told.idle_windows += 1);
        let mut new = Vec::new();
        for (name, row) in rows {
            match self.told.get_mut(&name) {
                Some(told) => told.add(&row),
                None => new.push((name, row)),
            }
        }
        let most = self.expires_after_windows;
        let before = self.told.len();
        self.told.retain(|_, told| most == 0 || told.idle_windows <= most);
        self.expired += (before - self.told.len()) as u64;
        for (name, row) in new {
            self.begin(name, row, now_unix_nano, &overflow);
        }
        self.before_unix_nano = now_unix_nano;
        let is_shown = |(_, told): &(_, &Told<R>)| self.tells_idle || told.idle_windows == 0;
        self.told.iter().filter(is_shown).map(|(name, told)| (&**name, told)).collect()
    }

    fn begin(&mut self, mut name: Box<[u8]>, row: R, now_unix_nano: u64, overflow: impl Fn(&[u8]) -> Box<[u8]>) {
        if self.told.len() >= self.series_max {
            let all = overflow(&name);
            // What cores have counted for it was counted as such there.
            self.overflowed += if all == name { 0 } else { row.number() };
            name = all;
            if let Some(told) = self.told.get_mut(&name) {
                return told.add(&row);
            }
        }
        // What a former run has counted came before this window.
        let (earliest, first) = (self.before_unix_nano.max(1), row.first_unix_nano());
        let is_known = self.is_delta && self.before_unix_nano > 0;
        let start = if is_known { earliest.min(first) } else { first };
        let start_unix_nano = start.min(now_unix_nano);
        self.told.insert(name, Told { row, start_unix_nano, idle_windows: 0 });
    }
}

impl<R: Counted> Told<R> {
    fn add(&mut self, row: &R) {
        self.row.merge(row);
        self.idle_windows = 0;
    }
}
