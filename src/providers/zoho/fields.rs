//! Values as the service writes them: ids as digits or in quotes, amounts as numbers, nothing as an empty text.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of a record in their order, each as it came.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'a> Fields<'a> {
    /// Reads the fields of an object.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The fields in their order, as they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// A field as it came; `null` is none.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// A text, or a number as its digits. One that says nothing is none.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let raw = self.raw(name)?.get();
        let text = if raw.starts_with('"') { serde_json::from_str(raw).ok()? } else { raw.to_owned() };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<String, String> {
        self.text(name).ok_or_else(|| format!("no `{name}`"))
    }

    /// An amount, digit by digit as it is written.
    pub(super) fn amount(&self, name: &str) -> Result<Option<Decimal>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let amount = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text));
        amount.map(Some).map_err(|_| format!("`{name}` is {text}, which is no amount"))
    }

    /// A day; what is none is none.
    pub(super) fn date(&self, name: &str) -> Option<NaiveDate> {
        self.text(name)?.parse().ok()
    }

    /// An instant, whose offset may have no colon; what is none is none.
    pub(super) fn instant(&self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        let instant = DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%z");
        instant.or_else(|_| DateTime::parse_from_rfc3339(&text)).ok().map(|at| at.to_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        let text = r#"{"id": 460000000026049, "text_id": "00460", "blank": " ", "empty": "", "nothing": null,
            "total": 1250.50, "small": 0.1, "large": 123456789012345678.99, "in_text": "12.30", "zeros": 10000.0,
            "power": 1e3, "not": "x", "date": "2026-10-01", "no_date": " ", "time": "2013-10-07T18:24:51+0530",
            "colon": "2013-10-07T18:24:51-08:00", "zulu": "2013-10-07T18:24:51Z", "name": " A \u00e4 "}"#;
        let fields = Fields::of(text).expect("an object");
        let texts = ["id", "text_id", "name"].map(|name| fields.text(name).unwrap_or_default());
        assert_eq!(texts, ["460000000026049", "00460", "A ä"]);
        for name in ["blank", "empty", "nothing", "absent"] {
            assert_eq!(fields.text(name), None, "{name}");
            assert_eq!(fields.amount(name), Ok(None), "{name}");
        }
        for (name, amount) in [
            ("total", "1250.50"),
            ("small", "0.1"),
            ("large", "123456789012345678.99"),
            ("in_text", "12.30"),
            ("zeros", "10000.0"),
            ("power", "1000"),
        ] {
            let read = fields.amount(name).expect(name).expect(name);
            assert_eq!(read.to_string(), amount, "{name}");
        }
        assert!(fields.amount("not").is_err());
        assert_eq!(fields.date("date"), NaiveDate::from_ymd_opt(2026, 10, 1));
        assert_eq!(fields.date("no_date"), None);
        let instant = |name| fields.instant(name).map(|at| at.to_rfc3339());
        assert_eq!(instant("time").as_deref(), Some("2013-10-07T12:54:51+00:00"));
        assert_eq!(instant("colon").as_deref(), Some("2013-10-08T02:24:51+00:00"));
        assert_eq!(instant("zulu").as_deref(), Some("2013-10-07T18:24:51+00:00"));
        assert_eq!(instant("name"), None);
    }
}
