//! The admin API: axum on the coordinator, called in-process.
//!
//! A shard hands over every request that is not an LLM call; the answer goes back to it over the
//! mesh. One file per family of routes in `api/`. Nothing here is on the path of an LLM call.

pub mod api;
pub mod audit;
pub mod desk;
pub mod openapi;
pub mod routes;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use serde_json::json;
use tower::ServiceExt;

use crate::coordinator::Control;
use crate::message::{AdminAnswer, AdminCaller, AdminRequest, Proof};
use desk::Asker;
use routes::Told;

/// Routes that need no key at all.
const PUBLIC: &[&str] = &[
    "/",
    "/routes",
    "/test",
    "/openapi.json",
    "/docs",
    "/public/litellm_model_cost_map",
];

/// All routes.
pub fn router(control: Arc<Control>) -> Router {
    let (_, management) = api::management().into_parts();
    let management = management
        .route_layer(middleware::from_fn(desk::askers_only))
        .with_state(control.desk().clone());
    let (_, governed) = api::governed().into_parts();
    let governed = governed.route_layer(middleware::from_fn(desk::askers_only));
    let (_, served) = api::served().into_parts();
    served
        .merge(governed)
        .merge(management)
        .fallback(|| async { detail(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async {
            detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn_with_state(control.clone(), guard))
        .with_state(control)
}

/// What is told of all routes.
pub fn told() -> Vec<Told> {
    let (mut told, _) = api::served().into_parts();
    told.extend(api::governed().into_parts().0);
    told.extend(api::management().into_parts().0);
    told
}

/// Answers one request.
pub async fn answer(router: Router, request: AdminRequest) -> AdminAnswer {
    let Some(request) = convert(request) else {
        return collect(detail(
            StatusCode::BAD_REQUEST,
            "not a valid request target",
        ))
        .await;
    };
    match router.oneshot(request).await {
        Ok(response) => collect(response).await,
        Err(never) => match never {},
    }
}

fn convert(request: AdminRequest) -> Option<Request> {
    let mut builder = Request::builder()
        .method(Method::from_bytes(request.method.as_bytes()).ok()?)
        .uri(request.target.as_str());
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        builder = builder.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    builder
        .extension(request.caller)
        .extension(request.proof)
        .body(Body::from(request.body))
        .ok()
}

async fn collect(response: Response) -> AdminAnswer {
    const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
    let (parts, body) = response.into_parts();
    let headers = parts
        .headers
        .iter()
        .filter(|(name, _)| *name != "content-length")
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX)
        .await
        .unwrap_or_default();
    AdminAnswer {
        status: parts.status.as_u16(),
        headers,
        body: body.to_vec(),
    }
}

/// Public routes for all; the rest for callers with a key, as LiteLLM answers those without.
async fn guard(
    State(control): State<Arc<Control>>,
    Extension(caller): Extension<AdminCaller>,
    Extension(proof): Extension<Option<Proof>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    if PUBLIC.contains(&path.as_str()) || control.is_public(&path) || caller == AdminCaller::Open {
        return next.run(request).await;
    }
    let asker = match caller {
        AdminCaller::Admin => Asker::master(),
        _ => match desk::identify(&control, request.headers(), proof.as_ref(), &path).await {
            Ok(asker) => asker,
            Err(refusal) => return refusal.into_response(),
        },
    };
    if let Err(refusal) = asker.may_call(&path, request.method() == Method::GET) {
        return refusal.into_response();
    }
    if asker.is_admin() {
        request.extensions_mut().insert(AdminCaller::Admin);
    }
    let named = request.headers().get("litellm-changed-by");
    let named = named
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let who = audit::Who {
        user: named.unwrap_or_else(|| asker.user_id().unwrap_or("").to_owned()),
        token: asker.token(control.desk()),
    };
    request.extensions_mut().insert(asker);
    audit::in_name_of(who, next.run(request)).await
}

/// Refuses all but the master key's holder; `None` when the caller is that.
pub fn admin_only(caller: AdminCaller) -> Option<Response> {
    match caller {
        AdminCaller::Admin => None,
        AdminCaller::Open => Some(refused(
            "Authentication Error, admin routes need general_settings.master_key to be set",
            StatusCode::UNAUTHORIZED,
        )),
        AdminCaller::Unknown => Some(refused(
            "Authentication Error, Only proxy admin can be used to call this route",
            StatusCode::UNAUTHORIZED,
        )),
    }
}

fn refused(message: &str, status: StatusCode) -> Response {
    let code = status.as_u16().to_string();
    let error =
        json!({"error": {"message": message, "type": "auth_error", "param": null, "code": code}});
    (status, Json(error)).into_response()
}

/// FastAPI's form of an error.
pub fn detail(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "detail": text }))).into_response()
}
