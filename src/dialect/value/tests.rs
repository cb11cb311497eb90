//! Values beside serde_json's.

use super::*;

fn same(text: &str) -> Value {
    let value = Value::read(text.as_bytes()).unwrap();
    let oracle: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(value, Value::from(&oracle), "{text}");
    assert_eq!(value.to_string(), oracle.to_string());
    value
}

#[test]
fn values_are_read_and_written_as_serde_json_does() {
    for text in [
        r#"{"a":[1,-2,"x",null,true,false,{"b":{}},[]],"c":"q\"\\\n\té日😀","d":1.5}"#,
        r#"" \u00e9\ud83d\ude00\u0001""#,
        "[]",
        "{}",
        "0",
        "18446744073709551615",
        r#"{"":{"":[[[]]]}}"#,
    ] {
        same(text);
    }
}

#[test]
fn numbers_keep_their_digits() {
    for text in [
        "1.0",
        "1e400",
        "-0",
        "0.10",
        "123456789012345678901234567890",
    ] {
        assert_eq!(Value::read(text.as_bytes()).unwrap().to_string(), text);
    }
    assert_eq!(Value::read(b"12").unwrap().as_u64(), Some(12));
    assert_eq!(Value::read(b"-12").unwrap().as_u64(), None);
    assert_eq!(Value::read(b"-1.25").unwrap().as_f64(), Some(-1.25));
    assert_eq!(json!(f64::NAN), Value::Null);
    assert_eq!(json!([0.5, -3, 7]).to_string(), "[0.5,-3,7]");
}

#[test]
fn the_second_of_two_members_counts_and_stands_where_the_first_stood() {
    let value = Value::read(br#"{"a":1,"b":2,"a":3}"#).unwrap();
    assert_eq!(value.to_string(), r#"{"a":3,"b":2}"#);
}

#[test]
fn what_is_no_json_is_refused() {
    let deep = "[".repeat(100_000);
    for text in [
        "", "{", "[1,]", "{\"a\"}", "nul", "01", "\"\n\"", "1 2", &deep,
    ] {
        assert!(Value::read(text.as_bytes()).is_err(), "{text:.20}");
    }
    assert!(Map::read(b"[]").is_err());
}

#[test]
fn a_large_object_is_as_a_small_one() {
    let mut map = Map::new();
    let name = |number: usize| format!("name {number}");
    for number in 0..1000 {
        assert_eq!(map.insert(name(number), json!(number)), None);
        assert_eq!(
            map.insert(name(number / 2), json!(number / 2)),
            Some(json!(number / 2))
        );
    }
    assert_eq!(map.remove(&name(3)), Some(json!(3)));
    assert_eq!(map.remove(&name(3)), None);
    assert_eq!(map.get(&name(999)), Some(&json!(999)));
    map.retain(|_, value| value.as_u64().is_some_and(|number| number % 100 == 7));
    assert_eq!(map.len(), 10);
    assert_eq!(map.get(&name(907)), Some(&json!(907)));
    assert_eq!(map.get(&name(908)), None);
    *map.entry(name(908)).or_insert(json!(1)) = json!(2);
    assert_eq!(map.entry(name(908)).or_insert(json!(3)), &json!(2));
    let numbers: Vec<_> = map.values().filter_map(Value::as_u64).collect();
    assert_eq!(numbers, [7, 107, 207, 307, 407, 507, 607, 707, 807, 907, 2]);
}

#[test]
fn the_order_of_members_does_not_count() {
    assert_eq!(json!({"a": 1, "b": [2]}), json!({"b": [2], "a": 1}));
    assert_ne!(json!({"a": 1}), json!({"a": 1, "b": null}));
    assert_ne!(json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}));
}

#[test]
fn places_that_are_not_there_are_null_or_made() {
    let mut value = json!({"a": ["x", null, {"b": {}}], "n": null});
    assert_eq!(value["a"][0], "x");
    assert!(value["a"][9]["no"]["where"].is_null());
    value["n"]["new"]["deep"] = json!("y");
    value["a"] = json!(Some(true));
    assert_eq!(value.to_string(), r#"{"a":true,"n":{"new":{"deep":"y"}}}"#);
}
