//! The decoder of Bedrock's binary event stream: see `decoder`.
#![no_main]

decoder::fuzz!(
    r#"{"model": "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws_access_key_id": "a", "aws_secret_access_key": "s"}"#
);
