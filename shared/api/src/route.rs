//! One description of an HTTP route.

use std::fmt;
use std::future::Future;

use axum::routing::{MethodFilter, MethodRouter};
use wire::{ProblemKind, Scope};

use crate::{Failure, Input, Operation, Output, Service};

/// An HTTP method a route may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads. Changes nothing, wakes nothing.
    Get,
    /// Makes, or does.
    Post,
    /// Replaces.
    Put,
    /// Changes in part.
    Patch,
    /// Removes.
    Delete,
}

impl Verb {
    /// As OpenAPI spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Whether it may change something, and so takes an `Idempotency-Key`.
    pub const fn mutates(self) -> bool {
        !matches!(self, Self::Get)
    }

    pub(crate) const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Whoever presents a working key.
    Key,
    /// Whoever presents a working key with this scope.
    Scope(Scope),
}

/// A handler and its signature, named once by [`handler!`](crate::handler).
pub struct Handler<S> {
    /// Says what the signature says.
    pub describe: fn(&mut Operation<'_>),
    /// Mounts it for one method.
    pub mount: fn(MethodFilter) -> MethodRouter<S>,
    /// The status of its reply.
    pub status: u16,
}

impl<S> Clone for Handler<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Handler<S> {}

impl<S> fmt::Debug for Handler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({})", self.status)
    }
}

/// Names a handler once and keeps both its code and its signature.
#[macro_export]
macro_rules! handler {
    ($f:path) => {{
        const DESCRIBED: (fn(&mut $crate::Operation<'_>), u16) = $crate::described(&$f);
        $crate::Handler {
            describe: DESCRIBED.0,
            status: DESCRIBED.1,
            mount: |method| ::axum::routing::on(method, $f),
        }
    }};
}

/// A route: constant data plus its handler.
pub struct Route<S: Service> {
    /// `<area>.<operation>`: the operation id, the function's name, the label in logs and metrics.
    pub id: &'static str,
    /// Its method.
    pub verb: Verb,
    /// Its path, beginning with `/`; variables as `{name}`.
    pub path: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it may touch.
    pub grants: &'static [S::Grant],
    /// The problems it answers with beside those that its signature implies.
    pub problems: &'static [ProblemKind],
    /// The most bytes of its body, where that is bytes and no JSON.
    pub upload: Option<u64>,
    pub(crate) handler: Handler<S>,
}

#[expect(
    clippy::expl_impl_clone_on_copy,
    reason = "derived, it would ask that the service be Clone"
)]
impl<S: Service> Clone for Route<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Service> Copy for Route<S> {}

impl<S: Service> fmt::Debug for Route<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.id, self.verb, self.path)
    }
}

impl<S: Service> Route<S> {
    const fn new(id: &'static str, verb: Verb, path: &'static str, handler: Handler<S>) -> Self {
        Self {
            id,
            verb,
            path,
            summary: "",
            access: Access::Key,
            grants: &[],
            problems: &[],
            upload: None,
            handler,
        }
    }

    /// A route that reads.
    pub const fn get(id: &'static str, path: &'static str, handler: Handler<S>) -> Self {
        Self::new(id, Verb::Get, path, handler)
    }

    /// A route that makes or does.
    pub const fn post(id: &'static str, path: &'static str, handler: Handler<S>) -> Self {
        Self::new(id, Verb::Post, path, handler)
    }

    /// A route that replaces.
    pub const fn put(id: &'static str, path: &'static str, handler: Handler<S>) -> Self {
        Self::new(id, Verb::Put, path, handler)
    }

    /// A route that changes in part.
    pub const fn patch(id: &'static str, path: &'static str, handler: Handler<S>) -> Self {
        Self::new(id, Verb::Patch, path, handler)
    }

    /// A route that removes.
    pub const fn delete(id: &'static str, path: &'static str, handler: Handler<S>) -> Self {
        Self::new(id, Verb::Delete, path, handler)
    }

    /// Says what it does, in a line.
    #[must_use]
    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Lets anybody call it.
    #[must_use]
    pub const fn public(mut self) -> Self {
        self.access = Access::Public;
        self
    }

    /// Lets only keys with `scope` call it.
    #[must_use]
    pub const fn scope(mut self, scope: Scope) -> Self {
        self.access = Access::Scope(scope);
        self
    }

    /// Says what it may touch.
    #[must_use]
    pub const fn grants(mut self, grants: &'static [S::Grant]) -> Self {
        self.grants = grants;
        self
    }

    /// Says which problems it answers with beside those that its signature implies.
    #[must_use]
    pub const fn problems(mut self, problems: &'static [ProblemKind]) -> Self {
        self.problems = problems;
        self
    }

    /// Says that its body is bytes, and at most how many.
    #[must_use]
    pub const fn upload(mut self, most: u64) -> Self {
        self.upload = Some(most);
        self
    }

    /// The status of its reply.
    pub const fn status(&self) -> u16 {
        self.handler.status
    }
}

/// A handler whose whole contract is in its signature.
pub trait Described<Args> {
    /// The status of its reply.
    const STATUS: u16;

    /// Says what the signature says.
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($arg:ident),*) => {
        impl<F, Fut, R, $($arg),*> Described<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> Fut,
            Fut: Future<Output = Result<R, Failure>>,
            R: Output,
            $($arg: Input),*
        {
            const STATUS: u16 = R::STATUS;

            fn describe(operation: &mut Operation<'_>) {
                $($arg::describe(operation);)*
                R::describe(operation);
            }
        }
    };
}
described!();
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
described!(A, B, C, D, E);
described!(A, B, C, D, E, G);

/// The description and the status of a handler.
pub const fn described<H: Described<Args>, Args>(_: &H) -> (fn(&mut Operation<'_>), u16) {
    (H::describe, H::STATUS)
}
