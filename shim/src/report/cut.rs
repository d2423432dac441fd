//! Cutting the data of an event that is longer than a frame bears: valid JSON, marked as cut.

use serde_json::Value;
use serde_json::value::RawValue;
use wire::shim::MAX_EVENT;

/// `data` if it fits, else what is left of it when its longest texts are shortened and, where that
/// is not enough, its longest lists, with `"truncated": true`.
pub(crate) fn to_fit(data: Box<RawValue>) -> Box<RawValue> {
    if data.get().len() <= MAX_EVENT {
        return data;
    }
    let mut value: Value = serde_json::from_str(data.get()).unwrap_or(Value::Null);
    drop(data);
    let mut most = MAX_EVENT / 2;
    while most >= 16 {
        shorten(&mut value, most);
        if let Value::Object(fields) = &mut value {
            fields.insert("truncated".to_owned(), Value::Bool(true));
        }
        if let Ok(text) = serde_json::value::to_raw_value(&value)
            && text.get().len() <= MAX_EVENT
        {
            return text;
        }
        most /= 2;
    }
    marked_empty()
}

fn marked_empty() -> Box<RawValue> {
    RawValue::from_string(r#"{"truncated":true}"#.to_owned()).unwrap_or_default()
}

fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) => {
            if text.len() > most {
                text.truncate(text.floor_char_boundary(most));
                text.push('…');
            }
        }
        Value::Array(items) => {
            items.truncate(most);
            for item in items {
                shorten(item, most);
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| shorten(field, most)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `text` as one line of at most `most` bytes.
pub(crate) fn line(text: &str, most: usize) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    line.truncate(line.floor_char_boundary(most));
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_alone() {
        let raw = RawValue::from_string(r#"{ "a" : 1 }"#.to_owned()).unwrap();
        assert_eq!(to_fit(raw).get(), r#"{ "a" : 1 }"#);
    }

    #[test]
    fn what_is_too_long_is_cut_and_marked() {
        for value in [
            serde_json::json!({"title": "t", "content": [{"text": "ä".repeat(1_000_000)}]}),
            serde_json::json!({"title": "t", "list": vec!["\u{1}".repeat(40); 100_000]}),
            serde_json::json!({"title": "t", "map": (0..50_000).map(|n| (n.to_string(), Value::Null)).collect::<serde_json::Map<_, _>>()}),
        ] {
            let cut = to_fit(serde_json::value::to_raw_value(&value).unwrap());
            assert!(cut.get().len() <= MAX_EVENT, "{}", cut.get().len());
            let read: Value = serde_json::from_str(cut.get()).unwrap();
            assert_eq!(read["truncated"], true);
        }
    }
}
