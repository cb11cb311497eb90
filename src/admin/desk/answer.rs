//! Answers and refusals of the management API, in the forms that LiteLLM's clients know.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::auth::caller::Denied;
use crate::store::schema::Kind;
use crate::store::{Row, StoreError, Table};

/// What a handler answers.
pub type Answer = Result<Json<Value>, Refusal>;

/// Why a handler refuses.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    kind: &'static str,
    param: Option<String>,
    text: String,
}

impl Refusal {
    /// 400: the request asks for something wrong.
    pub fn bad(text: impl Into<String>) -> Refusal {
        Refusal {
            status: 400,
            kind: "bad_request_error",
            param: None,
            text: text.into(),
        }
    }

    /// 404: there is no such thing.
    pub fn not_found(text: impl Into<String>) -> Refusal {
        Refusal {
            status: 404,
            kind: "not_found_error",
            param: None,
            text: text.into(),
        }
    }

    /// 403: not for this caller.
    pub fn forbidden(text: impl Into<String>) -> Refusal {
        Refusal {
            status: 403,
            kind: "auth_error",
            param: None,
            text: text.into(),
        }
    }

    /// 401: not for this caller's role.
    pub fn unauthorized(text: impl Into<String>) -> Refusal {
        Refusal {
            status: 401,
            kind: "auth_error",
            param: None,
            text: text.into(),
        }
    }

    /// 409: it exists.
    pub fn exists(text: impl Into<String>) -> Refusal {
        Refusal {
            status: 409,
            kind: "bad_request_error",
            param: None,
            text: text.into(),
        }
    }

    /// 500: ours.
    pub fn internal(text: impl Into<String>) -> Refusal {
        Refusal {
            status: 500,
            kind: "internal_server_error",
            param: None,
            text: text.into(),
        }
    }

    /// The field that is wrong.
    #[must_use]
    pub fn at(mut self, param: &str) -> Refusal {
        self.param = Some(param.to_owned());
        self
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let (status, kind) = match error {
            StoreError::Unavailable(_) => (503, "no_db_connection"),
            StoreError::Refused(_) => (400, "bad_request_error"),
        };
        Refusal {
            status,
            kind,
            param: None,
            text: error.to_string(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let param = denied.param.map(str::to_owned);
        Refusal {
            status: denied.status,
            kind: denied.kind,
            param,
            text: denied.text,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.status.to_string();
        let error = json!({"error": {
            "message": self.text, "type": self.kind, "param": self.param, "code": code,
        }});
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, Json(error)).into_response()
    }
}

/// A request's JSON body; an empty one has no fields.
pub struct Fields(pub Row);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Fields, Response> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Fields(Row::new()));
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(other) => Err(unprocessable("Input should be a valid dictionary", &other)),
            Err(error) => Err(unprocessable(
                &format!("JSON decode error: {error}"),
                &Value::Null,
            )),
        }
    }
}

/// FastAPI's form of a body that does not fit.
fn unprocessable(text: &str, input: &Value) -> Response {
    let detail = json!({"detail": [
        {"type": "dict_type", "loc": ["body"], "msg": text, "input": input},
    ]});
    (StatusCode::UNPROCESSABLE_ENTITY, Json(detail)).into_response()
}

/// A row as an answer shows it: its times with their zone.
pub fn shown(table: Table, mut row: Row) -> Row {
    for column in table
        .shape()
        .known()
        .filter(|column| column.kind == Kind::Time)
    {
        if let Some(Value::String(time)) = row.get_mut(&column.name)
            && !time.ends_with('Z')
        {
            time.push('Z');
        }
    }
    row
}

/// Rows as an answer shows them.
pub fn shown_all(table: Table, rows: Vec<Row>) -> Value {
    rows.into_iter()
        .map(|row| Value::Object(shown(table, row)))
        .collect()
}
