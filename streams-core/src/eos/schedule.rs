//! When the scheduled interjections of a partition run next.
//!
//! The schedule travels in the metadata of the partition's offset commits, so it is committed or
//! undone together with the runs, and the next owner continues it. A partition without a store has
//! one as well. Times are wall-clock times, because monotonic clocks of two machines differ.

use std::fmt::Write;

/// The longest time that is written: nine digits in base 36, in the year 5188.
const AT_MS_MAX: i64 = 36_i64.pow(9) - 1;
/// What one entry takes in the metadata at most: `,1z141z3=zzzzzzzzz`.
const ENTRY_BYTES_MAX: usize = 18;

/// An interjection, by its name: names travel as 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey(u32);

impl ScheduleKey {
    /// The key of the `nth` interjection with this name (FNV-1a). Two names with one key would
    /// share their time, at a chance of one in four billions.
    pub fn new(name: &str, nth: usize) -> Self {
        let bytes = name.bytes().chain(nth.to_le_bytes().into_iter().filter(|_| nth > 0));
        let hash = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Self(bytes.fold(0x811c_9dc5, hash))
    }
}

/// When each scheduled interjection of a partition runs next, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Vec<(ScheduleKey, i64)>);

impl Schedule {
    /// A schedule without an entry.
    pub const EMPTY: Self = Self(Vec::new());

    /// When the interjection runs next, if that is known.
    pub fn get(&self, key: ScheduleKey) -> Option<i64> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, at_ms)| *at_ms)
    }

    /// Sets when the interjection runs next.
    pub fn set(&mut self, key: ScheduleKey, at_ms: i64) {
        let at_ms = at_ms.clamp(0, AT_MS_MAX);
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = at_ms,
            None => self.0.push((key, at_ms)),
        }
    }

    /// Removes the interjection. Returns when it would have run next, if that was known.
    pub fn remove(&mut self, key: ScheduleKey) -> Option<i64> {
        let place = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.remove(place).1)
    }

    /// The bytes that a schedule of so many interjections takes at most.
    pub const fn bytes_max(interjections: usize) -> usize {
        interjections * ENTRY_BYTES_MAX
    }

    /// How many interjections it has.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes `key=time,key=time` in base 36.
    pub(super) fn write(&self, out: &mut String) {
        for (place, (key, at_ms)) in self.0.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            base36(out, u64::from(key.0));
            out.push('=');
            base36(out, at_ms.unsigned_abs());
        }
    }

    /// Reads what [`Schedule::write`] wrote.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut schedule = Self::EMPTY;
        for entry in text.split(',').filter(|_| !text.is_empty()) {
            let (key, at_ms) = entry
                .split_once('=')
                .and_then(|(key, at)| {
                    Some((u32::from_str_radix(key, 36).ok()?, i64::from_str_radix(at, 36).ok()?))
                })
                .ok_or_else(|| format!("`{entry}` is no interjection's time"))?;
            schedule.set(ScheduleKey(key), at_ms);
        }
        Ok(schedule)
    }
}

/// Writes a number in base 36.
pub(super) fn base36(out: &mut String, number: u64) {
    if number >= 36 {
        base36(out, number / 36);
    }
    let digit = u32::try_from(number % 36).unwrap_or(0);
    let written = write!(out, "{}", char::from_digit(digit, 36).unwrap_or('0'));
    written.expect("writing to a string can't fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_round_trips_within_its_bytes() {
        let mut schedule = Schedule::EMPTY;
        for (nth, at_ms) in [0, 1_767_225_600_000, i64::MAX, -5].into_iter().enumerate() {
            schedule.set(ScheduleKey::new("orders::sweep", nth), at_ms);
        }
        schedule.set(ScheduleKey(u32::MAX), i64::MAX);
        let mut text = String::new();
        schedule.write(&mut text);
        assert_eq!(Schedule::parse(&text), Ok(schedule.clone()));
        assert!(text.len() <= Schedule::bytes_max(schedule.len()), "{text}");
        assert_eq!(schedule.get(ScheduleKey::new("orders::sweep", 1)), Some(1_767_225_600_000));
        assert_eq!(schedule.get(ScheduleKey::new("orders::other", 0)), None);
        assert_eq!(schedule.remove(ScheduleKey(u32::MAX)), Some(AT_MS_MAX));
        assert_eq!((schedule.remove(ScheduleKey(u32::MAX)), schedule.len()), (None, 4));
    }

    #[test]
    fn broken_schedules_are_errors() {
        for broken in ["a", "a=", "=1", "zzzzzzzz=1", "a=1,", "a=zzzzzzzzzzzzzzzz"] {
            assert!(Schedule::parse(broken).is_err(), "{broken}");
        }
    }
}
