//! The table of endpoints: what can be called, by path and method.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::LazyLock;

use api_types::access::Privilege;
use hyper::Method;

use super::answer::Answer;
use super::call::Call;
use super::endpoint::Param;
use super::error::RestError;

/// A handler at work.
pub type Handled = Pin<Box<dyn Future<Output = Result<Answer, RestError>> + Send>>;

/// A path and a method, and all there is to know about what they do.
#[derive(Debug)]
pub struct Endpoint {
    /// GET, PUT, POST or DELETE.
    pub method: Method,
    /// Below `/api2/<format>`: `/admin/datastore/{store}/status`.
    pub path: &'static str,
    /// For the documentation: one line.
    pub about: &'static str,
    /// The parameters, those in the path included.
    pub params: &'static [Param],
    /// Who may call it.
    pub access: Access,
    /// What becomes of the body.
    pub body: BodyUse,
    /// What it does.
    pub handler: fn(Call) -> Handled,
}

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Everybody, without credentials.
    World,
    /// Every user and token.
    Anybody,
    /// Who has one of these privileges on a path, into which the parameters of the endpoint's path
    /// are filled: `/datastore/{store}`.
    Privileges {
        /// The path.
        path: &'static str,
        /// The privileges.
        any: &'static [Privilege],
    },
    /// Every user and token as far as the table is concerned: the handler looks closer.
    ByHandler,
}

/// What becomes of the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyUse {
    /// Parameters are read from it: a form or JSON.
    #[default]
    Parameters,
    /// The handler reads it; parameters are in the query only.
    Stream,
}

/// All endpoints: each module of the interface has its own list.
pub static TABLES: &[&[Endpoint]] = &[
    crate::api::access::acl::ENDPOINTS,
    crate::api::access::domains::ENDPOINTS,
    crate::api::access::password::ENDPOINTS,
    crate::api::access::permissions::ENDPOINTS,
    crate::api::access::tfa::ENDPOINTS,
    crate::api::access::ticket::ENDPOINTS,
    crate::api::access::tokens::ENDPOINTS,
    crate::api::access::users::ENDPOINTS,
    crate::api::certificates::ENDPOINTS,
    crate::api::charts::ENDPOINTS,
    crate::api::admin::catalog::ENDPOINTS,
    crate::api::admin::datastore::ENDPOINTS,
    crate::api::admin::download::ENDPOINTS,
    crate::api::admin::files::ENDPOINTS,
    crate::api::admin::groups::ENDPOINTS,
    crate::api::admin::jobs::ENDPOINTS,
    crate::api::admin::namespaces::ENDPOINTS,
    crate::api::admin::relocate::ENDPOINTS,
    crate::api::admin::s3::ENDPOINTS,
    crate::api::admin::snapshots::ENDPOINTS,
    crate::api::admin::traffic::ENDPOINTS,
    crate::api::admin::work::ENDPOINTS,
    crate::api::config::datastore::ENDPOINTS,
    crate::api::config::jobs::PRUNE_ENDPOINTS,
    crate::api::config::jobs::VERIFY_ENDPOINTS,
    crate::api::config::remotes::ENDPOINTS,
    crate::api::config::s3::ENDPOINTS,
    crate::api::config::scan::ENDPOINTS,
    crate::api::config::sync::ENDPOINTS,
    crate::api::config::traffic::ENDPOINTS,
    crate::api::nodes::config::ENDPOINTS,
    crate::api::nodes::dns::ENDPOINTS,
    crate::api::nodes::node::ENDPOINTS,
    crate::api::nodes::tasks::ENDPOINTS,
    crate::api::status::ENDPOINTS,
    crate::api::push::ENDPOINTS,
    crate::api::ping::ENDPOINTS,
    crate::api::pull::ENDPOINTS,
    crate::api::tape::ENDPOINTS,
    crate::api::version::ENDPOINTS,
    crate::protocol::upgrade::ENDPOINTS,
];

/// The endpoints by their paths.
#[derive(Debug, Default)]
pub struct Table {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    words: BTreeMap<&'static str, Node>,
    parameter: Option<Box<Node>>,
    endpoints: Vec<&'static Endpoint>,
}

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// An endpoint, and the parameters in its path.
    Endpoint(&'static Endpoint, Vec<(&'static str, String)>),
    /// Nothing by itself, but these below it.
    Directory(Vec<&'static str>),
    /// Nothing for this method.
    Nothing,
}

impl Table {
    /// The table of these endpoints.
    #[must_use]
    pub fn new(tables: &[&'static [Endpoint]]) -> Self {
        let mut root = Node::default();
        for endpoint in tables.iter().copied().flatten() {
            words(endpoint.path)
                .fold(&mut root, |node, word| match parameter(word) {
                    Some(_) => node.parameter.get_or_insert_default(),
                    None => node.words.entry(word).or_default(),
                })
                .endpoints
                .push(endpoint);
        }
        Self { root }
    }

    /// All of [`TABLES`].
    #[must_use]
    pub fn global() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(TABLES));
        &TABLE
    }

    /// What is at the path of these components. A word goes before a parameter.
    #[must_use]
    pub fn find(&self, method: &Method, components: &[String]) -> Found {
        let node = components.iter().try_fold(&self.root, |node, component| {
            node.words
                .get(component.as_str())
                .or(node.parameter.as_deref())
        });
        let Some(node) = node else {
            return Found::Nothing;
        };
        if let Some(endpoint) = node.endpoints.iter().find(|e| e.method == *method) {
            let in_path = words(endpoint.path)
                .zip(components)
                .filter_map(|(word, component)| Some((parameter(word)?, component.clone())))
                .collect();
            return Found::Endpoint(endpoint, in_path);
        }
        if *method == Method::GET && !node.words.is_empty() {
            return Found::Directory(node.words.keys().copied().collect());
        }
        Found::Nothing
    }
}

fn words(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter(|word| !word.is_empty())
}

/// The name in `{name}`.
pub(super) fn parameter(word: &str) -> Option<&str> {
    word.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rest::schema::Schema;

    const NAME: &[Param] = &[Param::required("name", "a name", Schema::ANY_TEXT)];

    const fn endpoint(method: Method, path: &'static str, params: &'static [Param]) -> Endpoint {
        Endpoint {
            method,
            path,
            about: "a test",
            params,
            access: Access::Anybody,
            body: BodyUse::Parameters,
            handler: |_| Box::pin(async { Ok(Answer::null()) }),
        }
    }

    static TESTED: &[Endpoint] = &[
        endpoint(Method::GET, "/a/b", &[]),
        endpoint(Method::GET, "/a/{name}", NAME),
        endpoint(Method::PUT, "/a/{name}", NAME),
        endpoint(Method::GET, "/a/{name}/c", NAME),
    ];

    fn found(method: &Method, path: &[&str]) -> String {
        let components: Vec<_> = path.iter().map(|word| (*word).to_owned()).collect();
        match Table::new(&[TESTED]).find(method, &components) {
            Found::Endpoint(endpoint, in_path) => format!("{} {in_path:?}", endpoint.path),
            Found::Directory(below) => format!("{below:?}"),
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn words_before_parameters_and_directories_last() {
        assert_eq!(found(&Method::GET, &["a", "b"]), "/a/b []");
        assert_eq!(
            found(&Method::GET, &["a", "x/y"]),
            r#"/a/{name} [("name", "x/y")]"#
        );
        assert_eq!(
            found(&Method::PUT, &["a", "z"]),
            r#"/a/{name} [("name", "z")]"#
        );
        assert_eq!(found(&Method::GET, &["a"]), r#"["b"]"#);
        assert_eq!(found(&Method::GET, &[]), r#"["a"]"#);
        assert_eq!(found(&Method::POST, &["a", "z"]), "nothing");
        assert_eq!(found(&Method::POST, &["a"]), "nothing");
        assert_eq!(found(&Method::GET, &["a", "z", "c", "d"]), "nothing");
    }

    #[test]
    fn the_table_is_consistent() {
        let mut seen = HashSet::new();
        for endpoint in TABLES.iter().copied().flatten() {
            let place = format!("{} {}", endpoint.method, endpoint.path);
            // Two parameters at one place are one place.
            let shape: Vec<_> = words(endpoint.path)
                .map(|word| parameter(word).map_or(word, |_| "{}"))
                .collect();
            assert!(
                seen.insert((endpoint.method.clone(), shape)),
                "{place}: twice"
            );
            let mut names = HashSet::new();
            for param in endpoint.params {
                assert!(names.insert(param.name), "{place}: {} twice", param.name);
            }
            for name in words(endpoint.path).filter_map(parameter) {
                assert!(names.contains(name), "{place}: {name} is not declared");
            }
            if let Access::Privileges { path, any } = endpoint.access {
                assert!(!any.is_empty(), "{place}: nobody may call it");
                for name in words(path).filter_map(parameter) {
                    assert!(
                        words(endpoint.path).any(|word| parameter(word) == Some(name)),
                        "{place}: access depends on {name}, which is not in the path"
                    );
                }
            }
        }
    }
}
