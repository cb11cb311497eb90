//! The decoder of watsonx's events: see `decoder`.
#![no_main]

decoder::fuzz!(r#"{"model": "watsonx/ibm/granite", "token": "t", "project_id": "p"}"#);
