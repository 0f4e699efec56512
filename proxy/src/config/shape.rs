//! The first look at a file: is it TOML, does it have only known keys, is each value of the
//! right type. What is not is reported and left out, so that the rest can still be read and
//! its errors reported in the same run.

use std::ops::Range;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    errors::Problems,
    file::{self, File},
};

/// Keys that the format's sketch names and that a later version brings.
const LATER: &[&str] = &["outbound.inspect", "egress.names", "egress.address"];

/// Reads `text`; `None` if there is nothing to go on with. Notes the line of every key.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<File> {
    let (mut root, syntax) = DeTable::parse_recoverable(text);
    let schema = file::schema().to_value();
    let mut walk = Walk {
        text,
        line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        schema: &schema,
        problems,
    };
    if !syntax.is_empty() {
        for error in syntax {
            walk.syntax(&error);
        }
        return None;
    }
    if !walk.version(root.get_ref()) {
        return None;
    }
    walk.table("", "", &schema, root.get_mut());
    match File::deserialize(toml::de::Deserializer::from(root)) {
        Ok(file) => Some(file),
        Err(error) => {
            walk.syntax(&error);
            None
        }
    }
}

struct Walk<'a> {
    text: &'a str,
    line_ends: Vec<usize>,
    schema: &'a Value,
    problems: &'a mut Problems,
}

impl Walk<'_> {
    fn line(&self, span: Range<usize>) -> usize {
        1 + self.line_ends.partition_point(|end| *end < span.start)
    }

    fn syntax(&mut self, error: &toml::de::Error) {
        let line = error.span().map(|span| self.line(span));
        let reason = match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().into(),
        };
        self.problems
            .missing("", reason, "compare https://toml.io/en/v1.0.0");
    }

    /// Whether the file may be of the version that this code reads. In a file of another
    /// version every line may be right, so nothing but the version is reported then.
    fn version(&mut self, root: &DeTable<'_>) -> bool {
        let Some(value) = root.get("version") else {
            self.problems.missing(
                "version",
                "the file does not say which version of the format it is written in",
                "begin it with version = 1",
            );
            return true;
        };
        let DeValue::Integer(number) = value.get_ref() else {
            return true;
        };
        if number.as_str() == "1" {
            return true;
        }
        let line = self.line(value.span());
        self.problems.lines.insert("version".into(), line);
        self.problems.dropped(
            "version",
            Some(number.to_string()),
            "this version of sidetrack reads only version 1 of the format",
            "write version = 1, or run the sidetrack that the file was written for",
        );
        false
    }

    /// `key` is the path with indices and names, `kind` the path without.
    fn table(&mut self, key: &str, kind: &str, schema: &Value, table: &mut DeTable<'_>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let any = schema
            .get("additionalProperties")
            .filter(|any| any.is_object());
        let mut refused = Vec::new();
        for (name, value) in table.iter_mut() {
            let name_text = name.get_ref().as_ref();
            let child = join(key, name_text);
            let child_kind = match any {
                Some(_) => join(kind, "*"),
                None => join(kind, name_text),
            };
            let line = self.line(name.span());
            self.problems.lines.insert(child.clone(), line);
            let known = properties.and_then(|known| known.get(name_text)).or(any);
            let keep = match known {
                Some(known) => self.value(&child, &child_kind, known, value),
                None => {
                    self.unknown(&child, &child_kind, name_text, properties);
                    false
                }
            };
            if !keep {
                refused.push(name_text.to_owned());
            }
        }
        for name in refused {
            table.remove(name.as_str());
        }
    }

    /// Whether the value has a shape that serde will take.
    fn value(
        &mut self,
        key: &str,
        kind: &str,
        schema: &Value,
        value: &mut Spanned<DeValue<'_>>,
    ) -> bool {
        let found = json_type(value.get_ref());
        let mut allowed = Vec::new();
        alternatives(self.schema, schema, &mut allowed);
        let Some(schema) = allowed.iter().find(|one| type_is(one, found)) else {
            let wanted = type_names(&allowed);
            let written = self.text.get(value.span()).map(str::to_owned);
            self.problems.dropped(
                key,
                written,
                format!("this is {}, but {wanted} is needed", article(found)),
                "",
            );
            return false;
        };
        match value.get_mut() {
            DeValue::Table(table) => self.table(key, kind, schema, table),
            DeValue::Array(items) => {
                let of = schema.get("items").unwrap_or(&Value::Null);
                let mut whole = true;
                for (index, item) in items.iter_mut().enumerate() {
                    let child = element(key, index, item.get_ref());
                    let line = self.line(item.span());
                    self.problems.lines.insert(child.clone(), line);
                    whole &= self.value(&child, kind, of, item);
                }
                if !whole {
                    self.problems.ignore(key);
                    return false;
                }
            }
            DeValue::Integer(number)
                if i64::from_str_radix(number.as_str(), number.radix()).is_err() =>
            {
                let written = number.to_string();
                self.problems
                    .dropped(key, Some(written), "the number is too large", "");
                return false;
            }
            _ => {}
        }
        true
    }

    fn unknown(&mut self, key: &str, kind: &str, name: &str, known: Option<&Map<String, Value>>) {
        if LATER.contains(&kind) {
            self.problems.dropped(
                key,
                None,
                "this version does not have this key yet; a later one brings it",
                "leave it out",
            );
            return;
        }
        if kind.starts_with("select.") && matches!(name, "comm" | "command") {
            self.problems.dropped(
                key,
                None,
                "a task names itself, and any other can take the same name",
                "select by unit, cgroup, container, exe or user",
            );
            return;
        }
        let names = || {
            known
                .into_iter()
                .flat_map(|known| known.keys().map(String::as_str))
        };
        let fix = match closest(name, names()) {
            Some(close) => format!("did you mean {close:?}?"),
            None => format!("known here: {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.problems.dropped(key, None, "unknown key", fix);
    }
}

/// The known name that a typing mistake probably meant.
pub(super) fn closest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Names are short; anything longer cannot be close, and the distance costs its square.
    let typed: String = typed.chars().take(64).collect();
    let slips = (typed.len() / 3).max(1);
    known
        .map(|name| (strsim::osa_distance(&typed, name), name))
        .filter(|(distance, name)| {
            // Swapped or missing letters, or a beginning that fits.
            *distance <= slips || strsim::jaro_winkler(&typed, name) > 0.8
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Appends a key to a path, quoted where TOML would need it.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let name = if bare {
        name.into()
    } else {
        format!("{name:?}")
    };
    match path {
        "" => name,
        _ => format!("{path}.{name}"),
    }
}

/// `outbound[1] "api"`: the index finds it, the name is what people know it by.
fn element(key: &str, index: usize, value: &DeValue<'_>) -> String {
    let name = value
        .as_table()
        .and_then(|table| table.get("name"))
        .and_then(|name| name.get_ref().as_str());
    rule_key(key, index, name)
}

/// The key of a rule, as in every message.
pub(super) fn rule_key(list: &str, index: usize, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{list}[{index}] {name:?}"),
        None => format!("{list}[{index}]"),
    }
}

/// The schemas that a value may have, with references followed.
fn alternatives<'s>(root: &'s Value, schema: &'s Value, found: &mut Vec<&'s Value>) {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = path.strip_prefix('#').and_then(|path| root.pointer(path));
        if let Some(target) = target {
            alternatives(root, target, found);
        }
    } else if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        any.iter().for_each(|one| alternatives(root, one, found));
    } else {
        found.push(schema);
    }
}

fn type_is(schema: &Value, found: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == found,
        Some(Value::Array(names)) => names.iter().any(|name| name == found),
        _ => false,
    }
}

fn type_names(allowed: &[&Value]) -> String {
    ["string", "integer", "boolean", "array", "object"]
        .into_iter()
        .filter(|name| allowed.iter().any(|schema| type_is(schema, name)))
        .map(article)
        .collect::<Vec<_>>()
        .join(" or ")
}

fn json_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn article(json_type: &str) -> &'static str {
    match json_type {
        "string" => "a text in quotes",
        "integer" => "a whole number",
        "number" => "a number with a fraction",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "a date",
    }
}
