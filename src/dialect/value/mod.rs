//! The JSON values that the hub is made of. They are built and thrown away once a call, so they are made for that: names and
//! short texts stand in the value itself, long texts are shared by whoever clones them, numbers keep the digits they were
//! written with, and members keep their order without a table of hashes. Knows no dialect.

mod map;
mod read;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::ops::{Index, IndexMut};

pub use map::{Entry, Iter, Map};
pub use smol_str::SmolStr as Text;

/// Any JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string, decoded.
    String(Text),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Object(Map),
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// A whole one that is not negative.
    Unsigned(u64),
    /// Any other, as it is written.
    Written(Text),
}

impl Number {
    /// The number, if it is whole and not negative.
    pub const fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Written(_) => None,
        }
    }
}

/// What stands where nothing stands.
static NULL: Value = Value::Null;

impl Value {
    /// The member of that name, if this is an object that has one.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.as_object_mut()?.get_mut(name)
    }

    /// The item at that place, if this is a list that is long enough.
    pub fn item(&self, at: usize) -> Option<&Self> {
        self.as_array()?.get(at)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is `true`, if it is one of the two.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that is whole and not negative.
    pub const fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// A number, whole or not.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(Number::Unsigned(number)) => Some(*number as f64),
            Self::Number(Number::Written(digits)) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The items of a list.
    pub const fn as_array(&self) -> Option<&Vec<Self>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The same, to change them.
    pub const fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of an object.
    pub const fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The same, to change them.
    pub const fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether this is a string.
    pub const fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// Whether this is a number.
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// Whether this is a number that is whole and not negative.
    pub const fn is_u64(&self) -> bool {
        self.as_u64().is_some()
    }

    /// Whether this is a list.
    pub const fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// Whether this is an object.
    pub const fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Takes the value and leaves `null`.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// The member of that name; `null` where there is none.
impl Index<&str> for Value {
    type Output = Self;

    fn index(&self, name: &str) -> &Self {
        self.get(name).unwrap_or(&NULL)
    }
}

/// The item at that place; `null` where there is none.
impl Index<usize> for Value {
    type Output = Self;

    fn index(&self, at: usize) -> &Self {
        self.item(at).unwrap_or(&NULL)
    }
}

/// The member of that name, made where there is none. What is no object becomes one.
impl IndexMut<&str> for Value {
    fn index_mut(&mut self, name: &str) -> &mut Self {
        if !self.is_object() {
            *self = Self::Object(Map::new());
        }
        match self {
            Self::Object(members) => members.slot(name),
            other => other,
        }
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, text: &str) -> bool {
        self.as_str() == Some(text)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == Some(*text)
    }
}

impl PartialEq<String> for Value {
    fn eq(&self, text: &String) -> bool {
        self.as_str() == Some(text)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, value: &bool) -> bool {
        self.as_bool() == Some(*value)
    }
}

impl PartialEq<u64> for Value {
    fn eq(&self, number: &u64) -> bool {
        self.as_u64() == Some(*number)
    }
}

/// As JSON, without spaces.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_vec()))
    }
}

impl From<Map> for Value {
    fn from(members: Map) -> Self {
        Self::Object(members)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Number::Unsigned(number))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::Array(items.into_iter().collect())
    }
}

impl FromIterator<String> for Value {
    fn from_iter<I: IntoIterator<Item = String>>(items: I) -> Self {
        items.into_iter().map(Self::from).collect()
    }
}

/// A value out of the configuration.
impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => match number.as_u64() {
                Some(number) => number.into(),
                None => Self::Number(Number::Written(number.to_string().into())),
            },
            serde_json::Value::String(text) => Self::String(text.into()),
            serde_json::Value::Array(items) => items.iter().map(Self::from).collect(),
            serde_json::Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name, Self::from(value)))
                .collect::<Map>()
                .into(),
        }
    }
}

/// What [`json!`] may be given.
pub trait ToValue {
    /// A value of its own.
    fn to_value(&self) -> Value;
}

impl ToValue for Value {
    fn to_value(&self) -> Value {
        self.clone()
    }
}

impl ToValue for Map {
    fn to_value(&self) -> Value {
        Value::Object(self.clone())
    }
}

impl ToValue for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value {
        Value::String(self.into())
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value {
        self.as_str().to_value()
    }
}

impl ToValue for Text {
    fn to_value(&self) -> Value {
        Value::String(self.clone())
    }
}

impl ToValue for Cow<'_, str> {
    fn to_value(&self) -> Value {
        self.as_ref().to_value()
    }
}

impl ToValue for u64 {
    fn to_value(&self) -> Value {
        (*self).into()
    }
}

impl ToValue for u32 {
    fn to_value(&self) -> Value {
        u64::from(*self).into()
    }
}

impl ToValue for usize {
    fn to_value(&self) -> Value {
        (*self as u64).into()
    }
}

impl ToValue for i32 {
    fn to_value(&self) -> Value {
        match u64::try_from(*self) {
            Ok(number) => number.into(),
            Err(_) => Value::Number(Number::Written(self.to_string().into())),
        }
    }
}

/// What no number of JSON's can say becomes `null`.
impl ToValue for f64 {
    fn to_value(&self) -> Value {
        if self.is_finite() {
            Value::Number(Number::Written(format!("{self:?}").into()))
        } else {
            Value::Null
        }
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl<T: ToValue> ToValue for [T] {
    fn to_value(&self) -> Value {
        self.iter().map(ToValue::to_value).collect()
    }
}

impl<T: ToValue> ToValue for Vec<T> {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl<T: ToValue, const N: usize> ToValue for [T; N] {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

/// A value as it is written in JSON; any [`ToValue`] may stand in the place of a value.
macro_rules! json {
    (null) => { $crate::dialect::value::Value::Null };
    ([$($items:tt)*]) => {
        $crate::dialect::value::Value::Array($crate::dialect::value::json!(@items [] $($items)*))
    };
    ({}) => { $crate::dialect::value::Value::Object($crate::dialect::value::Map::new()) };
    ({$($members:tt)+}) => {{
        let mut map = $crate::dialect::value::Map::new();
        $crate::dialect::value::json!(@members map $($members)+);
        $crate::dialect::value::Value::Object(map)
    }};
    (@items [$($done:expr,)*]) => { vec![$($done,)*] };
    (@items [$($done:expr,)*] null $(, $($rest:tt)*)?) => {
        $crate::dialect::value::json!(@items [$($done,)* $crate::dialect::value::json!(null),] $($($rest)*)?)
    };
    (@items [$($done:expr,)*] {$($value:tt)*} $(, $($rest:tt)*)?) => {
        $crate::dialect::value::json!(@items [$($done,)* $crate::dialect::value::json!({$($value)*}),] $($($rest)*)?)
    };
    (@items [$($done:expr,)*] [$($value:tt)*] $(, $($rest:tt)*)?) => {
        $crate::dialect::value::json!(@items [$($done,)* $crate::dialect::value::json!([$($value)*]),] $($($rest)*)?)
    };
    (@items [$($done:expr,)*] $value:expr $(, $($rest:tt)*)?) => {
        $crate::dialect::value::json!(@items [$($done,)* $crate::dialect::value::json!($value),] $($($rest)*)?)
    };
    (@members $map:ident) => {};
    (@members $map:ident $name:literal: null $(, $($rest:tt)*)?) => {
        $map.push_new($name, $crate::dialect::value::json!(null));
        $crate::dialect::value::json!(@members $map $($($rest)*)?);
    };
    (@members $map:ident $name:literal: {$($value:tt)*} $(, $($rest:tt)*)?) => {
        $map.push_new($name, $crate::dialect::value::json!({$($value)*}));
        $crate::dialect::value::json!(@members $map $($($rest)*)?);
    };
    (@members $map:ident $name:literal: [$($value:tt)*] $(, $($rest:tt)*)?) => {
        $map.push_new($name, $crate::dialect::value::json!([$($value)*]));
        $crate::dialect::value::json!(@members $map $($($rest)*)?);
    };
    (@members $map:ident $name:literal: $value:expr $(, $($rest:tt)*)?) => {
        $map.push_new($name, $crate::dialect::value::json!($value));
        $crate::dialect::value::json!(@members $map $($($rest)*)?);
    };
    ($value:expr) => { $crate::dialect::value::ToValue::to_value(&$value) };
}
pub(crate) use json;

#[cfg(test)]
mod tests;
