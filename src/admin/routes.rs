//! A table of routes that says what each one is: the router and the OpenAPI document are both made
//! from it, so that no route is mounted without being documented. It knows no handler's meaning.

use axum::Router;
use axum::handler::Handler;
use axum::routing::MethodFilter;
use axum::routing::{MethodRouter, on};

use crate::store::Table;

/// What one route is, for the document.
#[derive(Clone, Debug)]
pub struct Told {
    /// `GET`, `POST`, ...
    pub method: &'static str,
    /// The path as it is mounted: `/key/{key}/regenerate`.
    pub path: String,
    /// What it does, in a sentence.
    pub says: &'static str,
    /// The columns of this table are fields of the body.
    pub row: Option<Table>,
    /// Further fields of the body.
    pub fields: Vec<&'static str>,
    /// Parameters of the query.
    pub query: &'static [&'static str],
    /// Those of either that must be there.
    pub needs: &'static [&'static str],
}

/// Routes and what is told of them.
pub struct Routes<S> {
    router: Router<S>,
    told: Vec<Told>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes {
            router: Router::new(),
            told: Vec::new(),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes.
    pub fn new() -> Routes<S> {
        Routes::default()
    }

    /// `GET path`.
    pub fn get<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        handler: H,
        says: &'static str,
    ) -> Self {
        self.add("GET", path, on(MethodFilter::GET, handler), says)
    }

    /// `POST path`.
    pub fn post<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        handler: H,
        says: &'static str,
    ) -> Self {
        self.add("POST", path, on(MethodFilter::POST, handler), says)
    }

    /// `PATCH path`.
    pub fn patch<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        handler: H,
        says: &'static str,
    ) -> Self {
        self.add("PATCH", path, on(MethodFilter::PATCH, handler), says)
    }

    /// `PUT path`.
    pub fn put<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        handler: H,
        says: &'static str,
    ) -> Self {
        self.add("PUT", path, on(MethodFilter::PUT, handler), says)
    }

    /// `DELETE path`.
    pub fn delete<H: Handler<T, S>, T: 'static>(
        self,
        path: &str,
        handler: H,
        says: &'static str,
    ) -> Self {
        self.add("DELETE", path, on(MethodFilter::DELETE, handler), says)
    }

    fn add(
        mut self,
        method: &'static str,
        path: &str,
        handler: MethodRouter<S>,
        says: &'static str,
    ) -> Self {
        self.router = self.router.route(path, handler);
        self.told.push(Told {
            method,
            path: path.to_owned(),
            says,
            row: None,
            fields: Vec::new(),
            query: &[],
            needs: &[],
        });
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Told)) -> Self {
        if let Some(told) = self.told.last_mut() {
            change(told);
        }
        self
    }

    /// The columns of `table` are fields of the last route's body.
    #[must_use]
    pub fn row(self, table: Table) -> Self {
        self.last(|told| told.row = Some(table))
    }

    /// The last route's body has these fields too.
    #[must_use]
    pub fn fields(self, fields: &'static [&'static str]) -> Self {
        self.last(|told| told.fields.extend(fields))
    }

    /// The last route's query may have these parameters.
    #[must_use]
    pub fn query(self, query: &'static [&'static str]) -> Self {
        self.last(|told| told.query = query)
    }

    /// The last route needs these fields or parameters.
    #[must_use]
    pub fn needs(self, needs: &'static [&'static str]) -> Self {
        self.last(|told| told.needs = needs)
    }

    /// The routes of `other` too.
    #[must_use]
    pub fn merge(mut self, other: Routes<S>) -> Self {
        self.router = self.router.merge(other.router);
        self.told.extend(other.told);
        self
    }

    /// What is told of them, and the router.
    pub fn into_parts(self) -> (Vec<Told>, Router<S>) {
        (self.told, self.router)
    }
}
