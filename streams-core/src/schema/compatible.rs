//! Whether a contract still reads what an older form of it wrote.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::OLDER;
use super::rows::{KEYS, OLDER_ROWS};

/// Deeper than any payload.
const DEPTH_MAX: usize = 64;

/// What breaks between two forms of a contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Breaks(
    /// Each of them, in the order of the old form.
    pub Vec<Break>,
);

impl fmt::Display for Breaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, found) in self.0.iter().enumerate() {
            let newline = if place == 0 { "" } else { "\n" };
            write!(f, "{newline}{found}")?;
        }
        Ok(())
    }
}

/// One change that breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Where: the record type, and the field in its payload: `CreateContact.address.street`.
    pub at: String,
    /// What.
    pub change: Change,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.change)
    }
}

/// A change that breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The contract has not this record type any more.
    RemovedRecordType,
    /// The store has not this table any more.
    RemovedTable,
    /// The payload has not this field any more.
    RemovedField,
    /// A field has to be there that old records may lack.
    NewRequiredField,
    /// Values of this type are no values any more.
    ChangedType {
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
    /// Some values are no values any more.
    Narrowed {
        /// Which: `"red"`, or `maximum 255 (was 65535)`.
        what: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemovedRecordType => f.write_str(
                "the record type was removed: old records of it have no handler any more",
            ),
            Self::RemovedTable => f.write_str(
                "the table was removed: the source stops at the first row of it in the changelog; \
                 if it was renamed, give it its former name, `#[table(\"..\")]`",
            ),
            Self::RemovedField => f.write_str(
                "the field was removed: what old records say there is lost, and readers of the old \
                 form miss it in new ones",
            ),
            Self::NewRequiredField => f.write_str(
                "a new required field: old records don't have it; give it `#[serde(default)]`, or \
                 make it an `Option`",
            ),
            Self::ChangedType { old, new } => {
                write!(f, "the type was {old} and is {new}: old records can't be read")
            }
            Self::Narrowed { what } => {
                write!(f, "narrowed, old records may have what is none any more: {what}")
            }
        }
    }
}

/// Whether programs of the `new` form of a contract read all records of the `old` form, and nobody
/// misses a field: both as [`Events::schema`](crate::Events::schema) describes them.
///
/// # Errors
/// What breaks.
///
/// # Examples
/// ```
/// use serde_json::json;
/// use streams_core::schema::check_compatible;
///
/// let contract = |fields, required| {
///     let contact = json!({ "type": "object", "properties": fields, "required": required });
///     json!({ "properties": { "CreateContact": contact } })
/// };
/// let text = json!({ "type": "string" });
/// let old = contract(json!({ "id": text }), json!(["id"]));
/// let new = contract(json!({ "id": text, "email": text }), json!(["id", "email"]));
/// let breaks = check_compatible(&old, &new).unwrap_err().to_string();
/// assert!(breaks.starts_with("CreateContact.email: a new required field"));
/// ```
pub fn check_compatible(old: &Value, new: &Value) -> Result<(), Breaks> {
    let mut check = Check { old, new, breaks: vec![], pairs: vec![] };
    let none = Map::new();
    let new_types = new["properties"].as_object().unwrap_or(&none);
    for (record_type, payload) in old["properties"].as_object().unwrap_or(&none) {
        match new_types.get(record_type) {
            Some(now) if old.get(KEYS).is_some() => check.table(record_type, payload, now),
            None if old.get(KEYS).is_some() => check.report(record_type, Change::RemovedTable),
            Some(now) => check.schema(record_type, payload, now),
            None if new[OLDER].get(record_type).is_some() => {}
            None => check.report(record_type, Change::RemovedRecordType),
        }
    }
    if check.breaks.is_empty() { Ok(()) } else { Err(Breaks(check.breaks)) }
}

struct Check<'a> {
    /// The documents, where references lead to.
    old: &'a Value,
    new: &'a Value,
    breaks: Vec<Break>,
    /// The pairs that are being compared: a type that contains itself is compared once.
    pairs: Vec<(*const Value, *const Value)>,
}

/// Follows references to the end.
fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..DEPTH_MAX {
        let Some(path) = schema.get("$ref").and_then(Value::as_str) else { break };
        let Some(target) = path.strip_prefix('#').and_then(|path| document.pointer(path)) else {
            break;
        };
        schema = target;
    }
    schema
}

impl<'a> Check<'a> {
    fn report(&mut self, at: &str, change: Change) {
        self.breaks.push(Break { at: at.to_owned(), change });
    }

    /// The rows that may be in the changelog are those of the old form and of its older forms; each
    /// is restored if today's form or one of its older forms reads it.
    fn table(&mut self, table: &str, row: &'a Value, now: &'a Value) {
        let (old, new) = (self.old, self.new);
        if old[KEYS][table] != new[KEYS][table] {
            let (old, new) = (old[KEYS][table].to_string(), new[KEYS][table].to_string());
            self.report(&format!("{table} (its keys)"), Change::ChangedType { old, new });
        }
        let older = |of: &'a Value| of[OLDER_ROWS][table].as_array().into_iter().flatten();
        for former in std::iter::once(row).chain(older(old)) {
            let breaks = self.tried(table, former, now);
            let is_read = |form: &'a Value| self.tried(table, former, form).is_empty();
            if !breaks.is_empty() && !older(new).any(is_read) {
                self.breaks.extend(breaks);
            }
        }
    }

    /// What would break if the one became the other.
    fn tried(&self, at: &str, old: &'a Value, new: &'a Value) -> Vec<Break> {
        let pairs = self.pairs.clone();
        let mut check = Check { old: self.old, new: self.new, breaks: vec![], pairs };
        check.schema(at, old, new);
        check.breaks
    }

    fn schema(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        let pair = (std::ptr::from_ref(old), std::ptr::from_ref(new));
        if self.pairs.contains(&pair) || self.pairs.len() >= DEPTH_MAX {
            return;
        }
        self.pairs.push(pair);
        if !matches!(new, Value::Bool(true)) && !is_empty(new) {
            match (branches(old), branches(new)) {
                (None, None) => self.plain(at, old, new),
                (old_branches, new_branches) => {
                    let old = old_branches.unwrap_or_else(|| vec![old]);
                    let new = new_branches.unwrap_or_else(|| vec![new]);
                    self.alternatives(at, &old, &new);
                }
            }
        }
        self.pairs.pop();
    }

    /// Each of the old alternatives has to be one of the new ones.
    fn alternatives(&mut self, at: &str, old: &[&'a Value], new: &[&'a Value]) {
        for branch in old {
            let tries: Vec<_> = new.iter().map(|now| self.tried(at, branch, now)).collect();
            if tries.iter().any(Vec::is_empty) {
                continue;
            }
            let values = constants(resolve(self.old, branch)).unwrap_or_default();
            if values.len() > 1 {
                // The unit variants of an enum are one alternative.
                for value in values {
                    if !new.iter().any(|now| is_value(resolve(self.new, now), value)) {
                        self.report(at, Change::Narrowed { what: value.to_string() });
                    }
                }
                continue;
            }
            let name = name_of(resolve(self.old, branch));
            let same = new.iter().position(|now| name_of(resolve(self.new, now)) == name);
            match same.or_else(|| (new.len() == 1).then_some(0)).and_then(|at| tries.get(at)) {
                Some(breaks) => self.breaks.extend(breaks.iter().cloned()),
                None => self.report(at, Change::Narrowed { what: name }),
            }
        }
    }

    fn plain(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        let (was, is) = (types(old), types(new));
        let reads = |ty: &String| is.contains(ty) || (ty == "integer" && is.contains("number"));
        let media = |schema: &Value| schema["contentMediaType"].as_str().map(str::to_owned);
        if !is.is_empty() && (was.is_empty() || !was.iter().all(reads)) {
            let (old, new) = (listed(&was), listed(&is));
            return self.report(at, Change::ChangedType { old, new });
        }
        if media(old) != media(new) {
            let name = |media: Option<String>| media.unwrap_or_else(|| "JSON".to_owned());
            let (old, new) = (name(media(old)), name(media(new)));
            return self.report(at, Change::ChangedType { old, new });
        }
        self.values(at, old, new);
        self.limits(at, old, new);
        self.fields(at, old, new);
        for part in ["items", "additionalProperties"] {
            if let (Some(old), Some(new)) = (old.get(part), new.get(part)) {
                self.schema(&format!("{at}[]"), old, new);
            }
        }
        self.tuple(at, old, new);
    }

    fn values(&mut self, at: &str, old: &Value, new: &Value) {
        let Some(now) = constants(new) else { return };
        match constants(old) {
            Some(old) => {
                for value in old.iter().filter(|value| !now.contains(value)) {
                    self.report(at, Change::Narrowed { what: value.to_string() });
                }
            }
            None => {
                let now: Vec<_> = now.iter().map(|value| value.to_string()).collect();
                let what = format!("it is one of {} now", now.join(", "));
                self.report(at, Change::Narrowed { what });
            }
        }
    }

    fn limits(&mut self, at: &str, old: &Value, new: &Value) {
        const LOWER: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
        const UPPER: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];
        let limit = |schema: &Value, name: &str| limit(schema, name);
        for (name, is_lower) in
            LOWER.iter().map(|name| (*name, true)).chain(UPPER.iter().map(|name| (*name, false)))
        {
            let Some(now) = limit(new, name) else { continue };
            let was = limit(old, name);
            let is_tighter = was.is_none_or(|was| if is_lower { now > was } else { now < was });
            if is_tighter {
                let was = was.map_or_else(|| "none".to_owned(), |was| was.to_string());
                self.report(at, Change::Narrowed { what: format!("{name} {now} (was {was})") });
            }
        }
        if new.get("pattern").is_some() && new.get("pattern") != old.get("pattern") {
            let what = format!("the pattern is {}", new["pattern"]);
            self.report(at, Change::Narrowed { what });
        }
    }

    fn fields(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        let was = old["properties"].as_object().unwrap_or(&NONE);
        let is = new["properties"].as_object().unwrap_or(&NONE);
        let is_map = new.get("additionalProperties").is_some_and(|rest| rest != false);
        for (name, field) in was {
            let at = format!("{at}.{name}");
            match is.get(name) {
                Some(now) => self.schema(&at, field, now),
                None if is_map => {}
                None => self.report(&at, Change::RemovedField),
            }
        }
        let required_before = required(old);
        for name in required(new).difference(&required_before) {
            self.report(&format!("{at}.{name}"), Change::NewRequiredField);
        }
    }

    fn tuple(&mut self, at: &str, old: &'a Value, new: &'a Value) {
        let (Some(was), Some(is)) = (old["prefixItems"].as_array(), new["prefixItems"].as_array())
        else {
            return;
        };
        if was.len() != is.len() {
            let tuple = |items: &Vec<Value>| format!("a tuple of {}", items.len());
            let (old, new) = (tuple(was), tuple(is));
            return self.report(at, Change::ChangedType { old, new });
        }
        for (place, (old, new)) in was.iter().zip(is).enumerate() {
            self.schema(&format!("{at}.{place}"), old, new);
        }
    }
}

fn is_empty(schema: &Value) -> bool {
    schema.as_object().is_some_and(Map::is_empty)
}

fn branches(schema: &Value) -> Option<Vec<&Value>> {
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"))?;
    Some(branches.as_array()?.iter().collect())
}

/// A limit that is written, or that the format of an integer has.
#[expect(clippy::cast_precision_loss, reason = "limits are compared, not counted with")]
fn limit(schema: &Value, name: &str) -> Option<f64> {
    if let Some(limit) = schema.get(name).and_then(Value::as_f64) {
        return Some(limit);
    }
    let range = match schema["format"].as_str()? {
        "int8" => (i64::from(i8::MIN), i64::from(i8::MAX) as f64),
        "int16" => (i64::from(i16::MIN), i64::from(i16::MAX) as f64),
        "int32" => (i64::from(i32::MIN), i64::from(i32::MAX) as f64),
        "int64" => (i64::MIN, i64::MAX as f64),
        "uint8" => (0, f64::from(u8::MAX)),
        "uint16" => (0, f64::from(u16::MAX)),
        "uint32" => (0, f64::from(u32::MAX)),
        "uint64" => (0, u64::MAX as f64),
        _ => return None,
    };
    match name {
        "minimum" => Some(range.0 as f64),
        "maximum" => Some(range.1),
        _ => None,
    }
}

fn types(schema: &Value) -> BTreeSet<String> {
    match &schema["type"] {
        Value::String(one) => BTreeSet::from([one.clone()]),
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => BTreeSet::new(),
    }
}

fn listed(types: &BTreeSet<String>) -> String {
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    if types.is_empty() { "anything".to_owned() } else { types.join(" or ") }
}

fn constants(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// Whether `value` is one of those that the schema lists.
fn is_value(schema: &Value, value: &Value) -> bool {
    constants(schema).is_some_and(|values| values.contains(&value))
}

fn required(schema: &Value) -> BTreeSet<&str> {
    let names = schema["required"].as_array();
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What an alternative is called: the value it is, the field that it must have, or its type.
fn name_of(schema: &Value) -> String {
    if let Some(values) = constants(schema) {
        let values: Vec<_> = values.iter().map(|value| value.to_string()).collect();
        return values.join(", ");
    }
    let is_tag = |name: &&str| schema["properties"][*name].get("const").is_some();
    let required = required(schema);
    if let Some(tag) = required.iter().find(|name| is_tag(name)) {
        return schema["properties"][*tag]["const"].to_string();
    }
    match required.first() {
        Some(field) if required.len() == 1 => format!("\"{field}\""),
        _ => listed(&types(schema)),
    }
}
