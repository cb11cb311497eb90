//! The members of an object in their order. Objects of a few members, which is nearly all, are looked through; one that
//! grows beyond that gets an index, so that a body of a million names costs no more than reading it.

use std::collections::BTreeMap;
use std::ops::Index;

use super::{NULL, Text, Value};

/// Members that are looked through without an index.
const SCANNED_MAX: usize = 24;

/// The members of an object, each name once, in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Map {
    members: Vec<(Text, Value)>,
    /// Once there are more than [`SCANNED_MAX`].
    places: Option<Box<Places>>,
}

/// Where each name stands; in a box of its own, since few objects have it and all are moved about.
#[derive(Clone, Debug)]
struct Places(BTreeMap<Text, usize>);

impl Map {
    /// No members.
    pub const fn new() -> Self {
        Self {
            members: Vec::new(),
            places: None,
        }
    }

    /// No members, with room for that many.
    pub fn with_capacity(members: usize) -> Self {
        Self {
            members: Vec::with_capacity(members),
            places: None,
        }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether there is one of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.position(name)?;
        self.members.get(at).map(|(_, value)| value)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.position(name)?;
        self.members.get_mut(at).map(|(_, value)| value)
    }

    /// Puts a value under a name, in the place of the one that is there; returns that.
    pub fn insert(&mut self, name: impl Into<Text>, value: Value) -> Option<Value> {
        let name = name.into();
        match self.get_mut(&name) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.push(name, value);
                None
            }
        }
    }

    /// Takes a member out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.position(name)?;
        let (_, value) = self.members.remove(at);
        self.note_places();
        Some(value)
    }

    /// Keeps the members that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&Text, &mut Value) -> bool) {
        self.members.retain_mut(|(name, value)| keep(name, value));
        self.note_places();
    }

    /// The place of that name, to be filled where it is empty.
    pub fn entry(&mut self, name: impl Into<Text>) -> Entry<'_> {
        Entry {
            map: self,
            name: name.into(),
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> Iter<'_> {
        self.into_iter()
    }

    /// Values in order, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.members.iter_mut().map(|(_, value)| value)
    }

    /// Values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.members.iter().map(|(_, value)| value)
    }

    /// Names in order.
    pub fn keys(&self) -> impl Iterator<Item = &Text> {
        self.members.iter().map(|(name, _)| name)
    }

    /// The value of that name; `null` is put there when there is none.
    pub(super) fn slot(&mut self, name: &str) -> &mut Value {
        let at = match self.position(name) {
            Some(at) => at,
            None => {
                self.push(name.into(), Value::Null);
                self.members.len() - 1
            }
        };
        &mut self.members[at].1
    }

    /// Adds a member of an object that is written out, whose names differ.
    pub(crate) fn push_new(&mut self, name: &'static str, value: Value) {
        debug_assert!(!self.contains_key(name), "{name} is there");
        self.push(Text::new_static(name), value);
    }

    fn push(&mut self, name: Text, value: Value) {
        if let Some(places) = &mut self.places {
            places.0.insert(name.clone(), self.members.len());
        }
        self.members.push((name, value));
        if self.places.is_none() && self.members.len() > SCANNED_MAX {
            self.note_places();
        }
    }

    /// Notes anew where each name stands, if there are enough for that.
    fn note_places(&mut self) {
        self.places = (self.members.len() > SCANNED_MAX).then(|| {
            let names = self.members.iter().enumerate();
            Box::new(Places(
                names.map(|(at, (name, _))| (name.clone(), at)).collect(),
            ))
        });
    }

    fn position(&self, name: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.0.get(name).copied(),
            None => self.members.iter().position(|(other, _)| other == name),
        }
    }
}

/// The order of the members does not count.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(name, value)| other.get(name) == Some(value))
    }
}

/// The value of that name; `null` where there is none.
impl Index<&str> for Map {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

impl<N: Into<Text>> Extend<(N, Value)> for Map {
    fn extend<I: IntoIterator<Item = (N, Value)>>(&mut self, members: I) {
        for (name, value) in members {
            self.insert(name, value);
        }
    }
}

impl<N: Into<Text>> FromIterator<(N, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(members: I) -> Self {
        let mut map = Self::new();
        map.extend(members);
        map
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

/// See [`Map::iter`].
pub type Iter<'a> = std::iter::Map<
    std::slice::Iter<'a, (Text, Value)>,
    fn(&'a (Text, Value)) -> (&'a Text, &'a Value),
>;

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter().map(|(name, value)| (name, value))
    }
}

/// See [`Map::entry`].
#[derive(Debug)]
pub struct Entry<'a> {
    map: &'a mut Map,
    name: Text,
}

impl<'a> Entry<'a> {
    /// The value that is there, or this one.
    pub fn or_insert(self, value: Value) -> &'a mut Value {
        self.or_insert_with(|| value)
    }

    /// The value that is there, or what `make` makes.
    pub fn or_insert_with(self, make: impl FnOnce() -> Value) -> &'a mut Value {
        let at = match self.map.position(&self.name) {
            Some(at) => at,
            None => {
                self.map.push(self.name, make());
                self.map.len() - 1
            }
        };
        &mut self.map.members[at].1
    }
}
