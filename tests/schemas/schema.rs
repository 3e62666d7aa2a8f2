//! The schemas of an API server: <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3>.

use serde_json::{Map, Value};
use test_cluster::api::Api;

use crate::shape::Shape;

/// Schemas and operations of the API groups in use.
pub(crate) struct Schemas {
    schemas: Map<String, Value>,
    paths: Map<String, Value>,
}

const GROUPS: [&str; 4] = ["api/v1", "apis/authorization.k8s.io/v1", "apis/coordination.k8s.io/v1", "apis/policy/v1"];

impl Schemas {
    pub(crate) fn of(api: &Api) -> Self {
        let mut all = Self { schemas: Map::new(), paths: Map::new() };
        for group in GROUPS {
            let mut document = api.get(&format!("/openapi/v3/{group}")).ok();
            let take = |value: &mut Value| value.as_object_mut().map(std::mem::take).unwrap_or_default();
            all.schemas.extend(take(&mut document["components"]["schemas"]));
            all.paths.extend(take(&mut document["paths"]));
        }
        assert!(all.schemas.len() > 200 && all.paths.len() > 100, "{} schemas, {} paths", all.schemas.len(), all.paths.len());
        all
    }

    /// Returns the schema of the object that a request of `method` to `path` has.
    pub(crate) fn of_operation(&self, method: &str, path: &str) -> Option<String> {
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == segments.len() && wanted.iter().zip(&segments).all(|(wanted, is)| wanted.starts_with('{') || wanted == is)
        };
        let operation = self.paths.iter().find(|(template, _)| fits(template)).map(|(_, path)| &path[method.to_lowercase()])?;
        let kind = &operation["x-kubernetes-group-version-kind"];
        let is_it =
            |schema: &Value| schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|all| all.len() == 1 && all[0] == *kind);
        self.schemas.iter().find(|(_, schema)| is_it(schema)).map(|(name, _)| name.clone())
    }

    /// Returns what `shape` has and the schema `name` has not.
    pub(crate) fn faults(&self, name: &str, shape: &Shape) -> Vec<String> {
        let mut faults = Vec::new();
        self.compare(self.named(name), shape, name, &mut faults);
        faults
    }

    fn compare(&self, schema: &Value, shape: &Shape, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        let wanted = match shape {
            Shape::Ignored => return,
            Shape::Flag => "boolean",
            Shape::List(_) => "array",
            Shape::Map(_) | Shape::Object(_) => "object",
            Shape::Number => "integer",
            Shape::Moment | Shape::Text => "string",
        };
        if schema["type"] != wanted {
            return faults.push(format!("{at}: is {}, not {wanted}", schema["type"].as_str().unwrap_or("something else")));
        }
        let of_any_name = &schema["additionalProperties"];
        match shape {
            Shape::Moment if schema["format"] != "date-time" => faults.push(format!("{at}: is any text, not a moment")),
            Shape::List(items) => items.iter().for_each(|item| self.compare(&schema["items"], item, &format!("{at}[]"), faults)),
            Shape::Map(of) => self.compare(of_any_name, of, &format!("{at}[*]"), faults),
            // Some keys of a map, as of the annotations.
            Shape::Object(fields) if of_any_name.is_object() => {
                fields.iter().for_each(|(name, shape)| self.compare(of_any_name, shape, &format!("{at}[{name}]"), faults));
            }
            // The schema leaves these keys open: they are those of another schema with `f:` before them.
            Shape::Object(_) if at.ends_with(".fieldsV1") => {}
            Shape::Object(fields) => {
                for (name, shape) in fields {
                    let at = format!("{at}.{name}");
                    match schema["properties"].get(name) {
                        Some(field) => self.compare(field, shape, &at, faults),
                        None => faults.push(format!("{at}: there is no such field")),
                    }
                }
            }
            Shape::Flag | Shape::Ignored | Shape::Moment | Shape::Number | Shape::Text => {}
        }
    }

    fn named(&self, name: &str) -> &Value {
        self.schemas.get(name).unwrap_or_else(|| panic!("there is no schema {name}"))
    }

    /// Follows a reference to another schema, alone or as the only one of `allOf`.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").or_else(|| schema["allOf"][0].get("$ref"));
        match reference.and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
            Some(name) => self.named(name),
            None => schema,
        }
    }
}
