//! Every route and every other function there is: what the gateway of one machine mounts, what is generated from, and what
//! every sweep goes through.

use gate::{Function, Route};

/// Every route, by area.
pub fn routes() -> Vec<Route> {
    [
        agents::ROUTES,
        containers::ROUTES,
        files::ROUTES,
        keys::ROUTES,
        realms::ROUTES,
        registry::ROUTES,
        runs::ROUTES,
        sessions::ROUTES,
        stream::ROUTES,
        system::ROUTES,
        templates::ROUTES,
    ]
    .concat()
}

/// Every function that no request of the HTTP API invokes.
pub fn functions() -> Vec<Function> {
    [sessions::FUNCTIONS, sockets::FUNCTIONS, system::FUNCTIONS, workers::FUNCTIONS].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use api::Access;

    use super::*;

    #[test]
    fn each_route_is_there_once() {
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for route in routes() {
            assert!(ids.insert(route.id), "{} is there twice", route.id);
            assert!(places.insert((route.path, route.verb)), "{route:?} has another's place");
        }
    }

    #[test]
    fn each_function_is_there_once_and_has_what_invokes_it() {
        let mut ids: BTreeSet<&str> = routes().iter().map(|route| route.id).collect();
        for function in functions() {
            assert!(ids.insert(function.id), "{} is there twice", function.id);
            assert!(!function.triggers.is_empty(), "nothing invokes {}", function.id);
            assert!(!function.summary.is_empty(), "nobody says what {} does", function.id);
            assert!((1..=900).contains(&function.timeout), "{}", function.id);
        }
    }

    /// The router takes two names for one variable without a word; whoever reads the paths does not.
    #[test]
    fn a_path_has_one_variable_at_a_place_and_no_literal_beside_it() {
        let mut nodes = BTreeMap::<String, BTreeSet<&str>>::new();
        for route in routes() {
            let mut node = String::new();
            for segment in route.path.split('/').skip(1) {
                nodes.entry(node.clone()).or_default().insert(segment);
                node = format!("{node}/{segment}");
            }
        }
        for (node, children) in nodes {
            let variables = children.iter().filter(|child| child.starts_with('{')).count();
            assert!(variables == 0 || children.len() == 1, "below {node}: {children:?}");
        }
    }

    #[test]
    fn whoever_may_call_a_route_is_said_in_full() {
        for route in routes() {
            let stated = match route.access {
                Access::Public => !route.verb.mutates() && route.grants.is_empty(),
                Access::Key => route.id == "keys.me",
                Access::Scope(_) => !route.grants.is_empty(),
            };
            assert!(stated, "{route:?} is open to more than it should be, or touches nothing");
        }
    }

    #[test]
    fn reading_routes_declare_no_write() {
        for route in routes().iter().filter(|route| !route.verb.mutates()) {
            assert!(!route.grants.contains(&app::Grant::TableWrite), "{route:?}");
            assert!(!route.grants.contains(&app::Grant::ComputeStart), "{route:?}");
            assert!(!route.grants.contains(&app::Grant::ComputeStop), "{route:?}");
            assert!(!route.grants.contains(&app::Grant::BlobWrite), "{route:?}");
            assert!(!route.grants.contains(&app::Grant::WorkspaceWrite), "{route:?}");
        }
    }
}
